// Looks at the node again and again, on a thread of its own: a driver call on a dying GPU may take seconds or
// never come back, and the agent must go on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "ovi/v1/node.pb.h"
#include "worker/agent/gpu_reader.h"
#include "worker/agent/groups.h"

namespace ovi {

// Thread-safe.
class NodeProbe {
 public:
  using Clock = std::chrono::steady_clock;

  struct Parts {
    std::unique_ptr<GpuReader> gpus;
    std::string disk_path;
    std::function<std::vector<LivingGroup>()> living;  // called on the probe's thread
    std::function<void()> news;  // likewise: Latest() has something the coordinator should hear now
  };

  // The first look is taken before this returns.
  explicit NodeProbe(Parts parts);
  ~NodeProbe();
  NodeProbe(const NodeProbe&) = delete;
  NodeProbe& operator=(const NodeProbe&) = delete;

  void Start(std::chrono::milliseconds pause = std::chrono::milliseconds(1000));
  // False when its thread has not come back from the driver within `patience`: then the object must not be
  // destroyed, and the program can only end without cleaning up.
  bool Stop(std::chrono::milliseconds patience);

  // The last look. When it is too old, because the driver hangs, its real GPUs are FAULTY and say so.
  v1::NodeReport Latest(Clock::time_point now = Clock::now()) const;

 private:
  v1::NodeReport Look();
  void Run(std::chrono::milliseconds pause);

  const Parts parts_;
  std::thread thread_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  v1::NodeReport latest_;
  Clock::time_point looked_at_;
  bool stop_ = false;
  bool ended_ = true;
};

}  // namespace ovi
