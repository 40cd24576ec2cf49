// What Prometheus scrapes of the coordinator. docs/metrics.md lists the series. Labels are bounded: no job
// ids, no prompts.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/core/advance.h"

namespace ovi {

// Thread-safe, except that OnEvent and SetGauges are for one thread.
class Metrics {
 public:
  // `address` "127.0.0.1:9700"; "" serves nothing but still counts. UNAVAILABLE when the port is taken.
  static absl::StatusOr<std::unique_ptr<Metrics>> Create(const std::string& address);
  ~Metrics();

  // Counts what `event` led to. `state` is as it is afterwards.
  void OnEvent(const core::Event& event, const core::Outcome& outcome, const core::State& state);
  void SetGauges(const core::State& state);
  void OnCommit(double seconds, std::size_t changes);
  // From the arrival of a submit, of one job or several, to its answer. `refused`: how many jobs it refused.
  void OnSubmit(double seconds, std::size_t refused);

  // The exposition text, as scraped.
  std::string Text() const;

 private:
  struct Series;
  explicit Metrics(std::unique_ptr<Series> series);
  std::unique_ptr<Series> series_;
};

}  // namespace ovi
