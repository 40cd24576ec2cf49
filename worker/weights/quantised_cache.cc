#include "worker/weights/quantised_cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/quantise.h"
#include "worker/weights/compress.h"
#include "worker/weights/convert.h"
#include "worker/weights/file_identity.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/resumable_file.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

// What tells a file from the one that replaces it.
struct FileStamp {
  dev_t device = 0;
  ino_t inode = 0;
  std::int64_t bytes = 0;
  std::int64_t changed_ns = 0;

  bool operator==(const FileStamp&) const = default;
};

// All zeros for a file that is not there.
FileStamp StampOf(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return {};
  constexpr std::int64_t kNsPerS = 1'000'000'000;
  return {info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec * kNsPerS + info.st_mtim.tv_nsec};
}

struct Source {
  FileStamp stamp;
  std::unique_ptr<WeightSource> weights;
  QuantisedFormat format = QuantisedFormat::kFp8;
  std::int64_t rank = 0;
  std::string id;  // FileIdentity
  QuantisedLayout layout;
};

absl::StatusOr<Source> OpenSource(const QuantiseRequest& request) {
  Source source{.stamp = StampOf(request.source_path),
                .format = request.format,
                .rank = request.rank,
                .id = FileIdentity(request.source_path)};
  OVI_ASSIGN_OR_RETURN(source.weights, OpenWeights(request.source_path));
  absl::StatusOr<QuantisedLayout> layout =
      LayOutQuantised(source.weights->List(), request.format, request.rank, source.id);
  if (!layout.ok()) return Annotate(layout.status(), request.source_path);
  source.layout = *std::move(layout);
  return source;
}

// Row r of the matrix becomes q[r * columns] and the returned scale.
float QuantiseOneRow(const HostTensor& matrix, std::int64_t row, std::int64_t columns, QuantisedFormat format,
                     std::vector<float>& values, std::byte* q) {
  ToFloats(matrix, row * columns, values);
  std::byte* const out = q + row * columns;
  if (format == QuantisedFormat::kInt8) {
    return cpu::QuantiseRow(values.data(), columns, reinterpret_cast<std::int8_t*>(out));
  }
  return cpu::QuantiseRowE4M3(values.data(), columns, reinterpret_cast<std::uint8_t*>(out));
}

absl::Status WriteMatrix(const HostTensor& matrix, const QuantisedPiece& piece, QuantisedFormat format,
                         ResumableFile& file) {
  const std::int64_t rows = piece.shape[0];
  const std::int64_t columns = piece.shape.elements() / rows;
  std::vector<std::byte> q(static_cast<std::size_t>(rows * columns));
  std::vector<float> scales(static_cast<std::size_t>(rows));
  constexpr std::int64_t kRowGrain = 16;
  cpu::ParallelFor(rows, kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> values(static_cast<std::size_t>(columns));
    for (std::int64_t row = begin; row < end; ++row) {
      scales[static_cast<std::size_t>(row)] = QuantiseOneRow(matrix, row, columns, format, values, q.data());
    }
  });
  const auto bad =
      std::find_if_not(scales.begin(), scales.end(), [](float scale) { return std::isfinite(scale); });
  if (bad != scales.end()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Printable(piece.name), " has a value in row ",
                                                   bad - scales.begin(), " that is not finite"));
  }
  OVI_RETURN_IF_ERROR(file.WriteAt(piece.scale_at, std::as_bytes(std::span(scales))));
  return file.WriteAt(piece.data_at, q);
}

absl::Status WriteCompressed(const HostTensor& matrix, const QuantisedPiece& piece, ResumableFile& file) {
  constexpr std::uint64_t kSeed = 1;  // a constant: the same source gives the same file
  const absl::StatusOr<LowRankSplit> split =
      SplitLowRank(ToFloats(matrix), piece.shape[0], piece.shape[1], piece.rank, kSeed);
  if (!split.ok()) return Annotate(split.status(), absl::StrCat("tensor ", Printable(piece.name)));
  OVI_RETURN_IF_ERROR(file.WriteAt(piece.scale_at, std::as_bytes(std::span(split->scales))));
  OVI_RETURN_IF_ERROR(file.WriteAt(piece.up_at, std::as_bytes(std::span(split->up))));
  OVI_RETURN_IF_ERROR(file.WriteAt(piece.down_at, std::as_bytes(std::span(split->down))));
  return file.WriteAt(piece.data_at, std::as_bytes(std::span(split->residual)));
}

absl::Status WriteBFloat16(const HostTensor& tensor, const QuantisedPiece& piece, ResumableFile& file) {
  if (tensor.dtype == DType::kBF16) {
    const auto* data = static_cast<const std::byte*>(tensor.data);
    return file.WriteAt(piece.data_at, {data, static_cast<std::size_t>(tensor.bytes())});
  }
  constexpr std::int64_t kChunk = 1 << 20;  // elements: the audio patch embedding has 176 million
  std::vector<float> values;
  std::vector<BFloat16> rounded;
  for (std::int64_t begin = 0; begin < tensor.elements(); begin += kChunk) {
    values.resize(static_cast<std::size_t>(std::min(kChunk, tensor.elements() - begin)));
    rounded.resize(values.size());
    ToFloats(tensor, begin, values);
    std::transform(values.begin(), values.end(), rounded.begin(), ToBFloat16);
    OVI_RETURN_IF_ERROR(
        file.WriteAt(piece.data_at + begin * ElementBytes(DType::kBF16), std::as_bytes(std::span(rounded))));
  }
  return absl::OkStatus();
}

absl::Status WritePiece(const Source& source, const QuantisedPiece& piece, ResumableFile& file) {
  OVI_ASSIGN_OR_RETURN(const HostTensor tensor, source.weights->Find(piece.name));
  OVI_RETURN_IF_ERROR(piece.rank > 0       ? WriteCompressed(tensor, piece, file)
                      : piece.is_quantised ? WriteMatrix(tensor, piece, source.format, file)
                                           : WriteBFloat16(tensor, piece, file));
  return file.PieceDone(piece.bytes);
}

// Of the file, once the first `pieces` of it are there.
std::int64_t BytesDone(const QuantisedLayout& layout, std::int64_t pieces) {
  auto bytes = static_cast<std::int64_t>(layout.head.size());
  const auto count = std::min(static_cast<std::size_t>(pieces), layout.pieces.size());
  for (std::size_t i = 0; i < count; ++i) bytes += layout.pieces[i].bytes;
  return bytes;
}

absl::Status WriteRest(const Source& source, std::int64_t pieces_done, ResumableFile& file,
                       const QuantiseProgress& progress) {
  const QuantisedLayout& layout = source.layout;
  const auto first = static_cast<std::size_t>(pieces_done);
  std::int64_t bytes_done = BytesDone(layout, pieces_done);
  OVI_RETURN_IF_ERROR(progress(bytes_done, layout.bytes));
  for (std::size_t i = first; i < layout.pieces.size(); ++i) {
    OVI_RETURN_IF_ERROR(WritePiece(source, layout.pieces[i], file));
    bytes_done += layout.pieces[i].bytes;
    OVI_RETURN_IF_ERROR(progress(bytes_done, layout.bytes));
  }
  return absl::OkStatus();
}

absl::Status Write(const Source& source, const std::string& path, const QuantiseProgress& progress) {
  const QuantisedLayout& layout = source.layout;
  const std::string& source_path = source.weights->path();
  if (BeginsWith(path, layout.head, layout.bytes)) return absl::OkStatus();
  const FileStamp there = StampOf(path);
  if (there.inode != 0 && there.inode == source.stamp.inode && there.device == source.stamp.device) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is the file that is to be read"));
  }
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<ResumableFile> file,
                       ResumableFile::Open(path, [&](std::int64_t pieces) {
                         return progress(BytesDone(layout, pieces), layout.bytes);
                       }));
  if (BeginsWith(path, layout.head, layout.bytes)) return absl::OkStatus();  // made while this one waited
  OVI_ASSIGN_OR_RETURN(const std::int64_t pieces_done,
                       file->Begin({.head = layout.head,
                                    .bytes = layout.bytes,
                                    .pieces = static_cast<std::int64_t>(layout.pieces.size())}));
  if (absl::Status status = WriteRest(source, pieces_done, *file, progress); !status.ok()) {
    // The disk's errors name the new file, the source's tensors no file at all.
    return absl::IsInvalidArgument(status) ? Annotate(status, source_path) : status;
  }
  if (!(StampOf(source_path) == source.stamp)) {
    return absl::UnavailableError(absl::StrCat(source_path, ": was replaced or changed while it was read"));
  }
  return file->Commit();
}

std::string CachePath(const Source& source, const std::string& cache_dir) {
  const std::string format(QuantisedFormatName(source.format));
  std::string key = absl::StrCat(source.id, " ", format, " ", std::string(kConvertVersion));
  if (source.format == QuantisedFormat::kLowRank) absl::StrAppend(&key, " rank ", source.rank);
  constexpr std::size_t kDigits = 32;
  return absl::StrCat(cache_dir, "/", format, "-", Sha256Hex(key).substr(0, kDigits), ".safetensors");
}

}  // namespace

absl::StatusOr<std::string> EnsureQuantised(const QuantiseRequest& request, const std::string& cache_dir,
                                            const QuantiseProgress& progress) {
  OVI_ASSIGN_OR_RETURN(const Source source, OpenSource(request));
  std::error_code error;
  std::filesystem::create_directories(cache_dir, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat(cache_dir, ": cannot make this folder: ", error.message()));
  }
  const std::string path = CachePath(source, cache_dir);
  OVI_RETURN_IF_ERROR(Write(source, path, progress));
  return path;
}

absl::Status WriteQuantised(const QuantiseRequest& request, const std::string& path,
                            const QuantiseProgress& progress) {
  OVI_ASSIGN_OR_RETURN(const Source source, OpenSource(request));
  return Write(source, path, progress);
}

absl::StatusOr<std::optional<std::string>> FindQuantised(const QuantiseRequest& request,
                                                         const std::string& cache_dir) {
  OVI_ASSIGN_OR_RETURN(const Source source, OpenSource(request));
  std::string path = CachePath(source, cache_dir);
  if (!BeginsWith(path, source.layout.head, source.layout.bytes)) return std::nullopt;
  return path;
}

double LowRankSecondsOf(const std::vector<TensorInfo>& source) {
  // 3072x3072 at rank 128 (compress.h); lower ranks and small matrices take less.
  constexpr double kSecondsPerValue = 1.7 / (3072.0 * 3072.0);
  double values = 0;
  for (const TensorInfo& info : source) {
    if (IsQuantised(info)) values += static_cast<double>(info.shape.elements());
  }
  return values * kSecondsPerValue;
}

}  // namespace ovi
