// Weight files in one byte a value or less, made from one of 16 or 32 bits and kept.
//
// Every linear layer of the blocks becomes F8_E4M3 or I8 with a scale a row, max|w| / 448 or max|w| / 127, q
// = round(w / scale), or takes the low-rank form (compress.h). Every other tensor becomes bf16 (as it is
// where it is bf16 already). Which is which follows from names and shapes (quantised_layout.h), so that no
// model's configuration is needed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/weights/compressed_matrix.h"
#include "worker/weights/quantised_layout.h"

namespace ovi {

struct QuantiseRequest {
  std::string source_path;
  QuantisedFormat format = QuantisedFormat::kFp8;
  std::int64_t rank = kDefaultRank;  // of the low-rank form (RankOf), 1 to kRankMax
};

// How much of the file is there. Called when everything that can be checked beforehand has been and after
// every tensor, and about ten times a second while another process makes the file; not at all where it is
// found. An error ends the work and is returned; what is done is kept for the next time.
using QuantiseProgress = std::function<absl::Status(std::int64_t bytes_done, std::int64_t bytes_total)>;

// The file of this source and format in `cache_dir` (created where missing), made now or found: its name is a
// hash of the source's FileIdentity, the format with its rank, and kConvertVersion. Whoever asks for the same
// one at the same time waits for it; one that was left half-done is gone on with; one that is not what it
// should be is made anew.
//
// Holds one tensor in memory at a time. Errors: as OpenWeights; INVALID_ARGUMENT for a source that is
// quantised already or has a value that is not finite; RESOURCE_EXHAUSTED with bytes_needed and bytes_free
// for a disk too small, FAILED_PRECONDITION for a folder that cannot be written to, UNAVAILABLE for a disk
// that fails or a source that was replaced meanwhile.
absl::StatusOr<std::string> EnsureQuantised(const QuantiseRequest& request, const std::string& cache_dir,
                                            const QuantiseProgress& progress);

// The same as a file of the caller's choice, which may not be the source itself. Replaces what is there,
// unless it is what would be written.
absl::Status WriteQuantised(const QuantiseRequest& request, const std::string& path,
                            const QuantiseProgress& progress);

// The path of EnsureQuantised's file where it is there and whole, else nothing. Errors: as OpenWeights, and
// for a source that cannot be converted.
absl::StatusOr<std::optional<std::string>> FindQuantised(const QuantiseRequest& request,
                                                         const std::string& cache_dir);

// Roughly how long two cores take to bring these tensors into the low-rank form of the default rank.
double LowRankSecondsOf(const std::vector<TensorInfo>& source);

}  // namespace ovi
