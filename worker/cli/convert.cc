#include "worker/cli/convert.h"

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/cache_dir.h"
#include "base/format.h"
#include "base/status.h"
#include "kernels/cpu/parallel.h"
#include "worker/cli/exit_codes.h"
#include "worker/cli/interrupt.h"
#include "worker/cli/print_error.h"
#include "worker/job/job_spec.h"
#include "worker/model/fusion_params.h"
#include "worker/pipeline/model_folder.h"
#include "worker/weights/check_tensors.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/quantised_cache.h"

namespace ovi {
namespace {

// A moving bar on a terminal, otherwise a line a tenth.
class ConvertReport {
 public:
  ~ConvertReport() { EndLine(); }

  absl::Status Step(std::int64_t done, std::int64_t bytes) {
    if (!began()) first_done_ = done;
    done_ = done;
    bytes_ = bytes;
    const ByteProgress progress{
        .stage = "convert", .done = done, .bytes = bytes, .seconds_left = SecondsLeft()};
    if (bar_) {
      std::printf("\r\x1b[K%s", FormatByteBar(progress, 30).c_str());
      line_is_open_ = true;
    } else if (const std::int64_t tenth = done * 10 / bytes; tenth > tenth_) {
      tenth_ = tenth;
      std::printf("convert %s\n", FormatBytePace(progress).c_str());
    }
    std::fflush(stdout);
    return Interrupted().load() ? absl::CancelledError("interrupted") : absl::OkStatus();
  }

  void EndLine() {
    if (line_is_open_) std::printf("\n");
    std::fflush(stdout);
    line_is_open_ = false;
  }

  bool began() const { return bytes_ > 0; }
  // "1.2 GiB of 11.7 GiB".
  std::string Done() const { return FormatBytePace({.stage = "", .done = done_, .bytes = bytes_}); }

 private:
  double SecondsLeft() const {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
    const auto made = static_cast<double>(done_ - first_done_);
    return made > 0 ? elapsed.count() / made * static_cast<double>(bytes_ - done_) : 0;
  }

  const bool bar_ = isatty(STDOUT_FILENO) != 0;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::int64_t first_done_ = 0, done_ = 0, bytes_ = 0, tenth_ = 0;
  bool line_is_open_ = false;  // the cursor is behind a bar
};

// A wrong file is noticed before it is converted for minutes.
absl::Status CheckTransformer(const ModelFolder& model) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(model.fusion_weights));
  return CheckTensors(*source, FusionTensors(model.fusion));
}

QuantisedFormat FormatOf(std::string_view word) {
  for (const QuantisedFormat format : {QuantisedFormat::kInt8, QuantisedFormat::kLowRank}) {
    if (word == QuantisedFormatName(format)) return format;
  }
  return QuantisedFormat::kFp8;
}

// A rank of one's own is for a file of one's own: jobs look in the cache folder for the default.
absl::Status CheckRank(const ConvertOptions& options) {
  if (options.rank == 0) return absl::OkStatus();
  if (FormatOf(options.format) != QuantisedFormat::kLowRank) {
    return absl::InvalidArgumentError("--rank is for --format low_rank");
  }
  return options.out.empty()
             ? absl::InvalidArgumentError(absl::StrCat(
                   "--rank needs --out: in the cache folder, jobs look for rank ", kDefaultRank, " alone"))
             : absl::OkStatus();
}

absl::StatusOr<std::string> Convert(const ConvertOptions& options, ConvertReport& report) {
  OVI_RETURN_IF_ERROR(CheckRank(options));
  OVI_ASSIGN_OR_RETURN(
      const ModelFolder model,
      FindModel({.folder = options.model, .name = options.model_name, .ckpt_dir = ""}, DefaultModelsDir()));
  OVI_RETURN_IF_ERROR(CheckTransformer(model));
  QuantiseRequest request{.source_path = model.fusion_weights, .format = FormatOf(options.format)};
  if (options.rank > 0) request.rank = options.rank;
  const auto progress = [&](std::int64_t done, std::int64_t bytes) { return report.Step(done, bytes); };
  if (options.out.empty()) return EnsureQuantised(request, DefaultCacheDir(), progress);
  OVI_RETURN_IF_ERROR(WriteQuantised(request, options.out, progress));
  return options.out;
}

}  // namespace

int RunConvert(const ConvertOptions& options) {
  ListenForInterrupts();
  if (options.threads > 0) cpu::SetThreadCount(options.threads);
  ConvertReport report;
  const absl::StatusOr<std::string> path = Convert(options, report);
  report.EndLine();
  if (path.ok()) {
    std::printf("%s%s\n", report.began() ? "" : "there already\n", OneLine(*path).c_str());
    return 0;
  }
  if (absl::IsCancelled(path.status())) {
    PrintError(absl::StrCat("interrupted at ", report.Done(), "; the same command goes on from there"));
    return kExitInterrupted;
  }
  PrintError({path.status().message().data(), path.status().message().size()});
  return report.began() ? kExitFailed : kExitUsage;
}

}  // namespace ovi
