// Which tensors of a model are held in one byte a value or less, and where everything lies in a file of them.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/weights/weight_source.h"

namespace ovi {

enum class QuantisedFormat { kFp8, kInt8, kLowRank };

// "fp8", "int8", "low_rank": the words of users and of the file's metadata.
std::string_view QuantisedFormatName(QuantisedFormat format);
// What a quantised matrix is stored as; in the low-rank form, its 4 bits two to a byte.
DType QuantisedDType(QuantisedFormat format);

// True for the linear layers of blocks, which are what a vram_mode quantises as well, so that a converted
// file gives the clips that the original gives in that mode. The rest keeps 16 bits: it is a sixteenth of the
// real model, and every token depends on it.
bool IsQuantised(const TensorInfo& info);

// One tensor of the source, as it is in the file.
struct QuantisedPiece {
  std::string name;
  Shape shape;
  bool is_quantised = false;  // else bf16
  std::int64_t data_at = 0;   // in the file
  std::int64_t scale_at = 0;  // of a quantised one: (shape[0]) f32, or compressed_matrix.h's
  std::int64_t up_at = 0;     // in the low-rank form
  std::int64_t down_at = 0;
  std::int64_t rank = 0;
  std::int64_t bytes = 0;  // of all these
};

// Scales are in front, so that opening the file reads one run of it and not a page at every matrix; then what
// is bf16, then the matrices: like this everything is aligned.
struct QuantisedLayout {
  std::string head;                    // the file's first bytes, up to the data
  std::vector<QuantisedPiece> pieces;  // by name
  std::int64_t bytes = 0;              // of the file
};

// `rank`: in the low-rank form, of a matrix of kRankedSide (RankOf); it and `source_id` (file_identity.h) go
// into the metadata. INVALID_ARGUMENT, naming the tensor, for a source that has 8 bits already or integers or
// is compressed: quantising it again would lose more.
absl::StatusOr<QuantisedLayout> LayOutQuantised(const std::vector<TensorInfo>& source, QuantisedFormat format,
                                                std::int64_t rank, const std::string& source_id);

// Of a file's metadata.
inline constexpr std::string_view kFormatKey = "ovi.format";
inline constexpr std::string_view kRankKey = "ovi.rank";

// With another way to quantise or to lay out, this number changes, and files are made anew.
inline constexpr std::string_view kConvertVersion = "2";

}  // namespace ovi
