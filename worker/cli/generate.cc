#include "worker/cli/generate.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"
#include "worker/cli/exit_codes.h"
#include "worker/cli/interrupt.h"
#include "worker/cli/plan.h"
#include "worker/cli/reporter.h"
#include "worker/cli/tensor_dump.h"
#include "worker/media/first_frame.h"
#include "worker/media/image.h"
#include "worker/pipeline/clip_metadata.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/math/prompt_format.h"
#include "worker/pipeline/mp4_sink.h"
#include "worker/plan/clip_settler.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

// Bytes of memory the system could give us now.
std::int64_t AvailableMemory() {
  std::int64_t bytes = sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  for (std::int64_t kib = 0; meminfo >> key >> kib; meminfo.ignore(64, '\n')) {
    if (key == "MemAvailable:") bytes = kib * 1024;
  }
  // In a container with a limit, what is left of it. The file says "max" where there is none.
  std::int64_t limit = 0;
  std::int64_t used = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit &&
      std::ifstream("/sys/fs/cgroup/memory.current") >> used) {
    bytes = std::min(bytes, std::max<std::int64_t>(limit - used, 0));
  }
  return bytes;
}

std::int64_t ResidentPeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

// The original's file name, with a number where two clips of this run would share one.
std::string VideoPath(const Plan& plan, const ClipRequest& clip, const PromptItem& item,
                      std::set<std::string>& taken) {
  const Size size =
      plan.job.size.value_or(Size{plan.model.spec.default_height, plan.model.spec.default_width});
  const std::string name = OutputFileName({.prompt = item.text,
                                           .height = size.height,
                                           .width = size.width,
                                           .seed = static_cast<std::int64_t>(clip.seed),
                                           .rank = 0});
  fs::path path = fs::path(plan.out) / name;
  const std::string stem = path.stem().string();
  for (int copy = 2; !taken.insert(path.string()).second; ++copy) {
    path.replace_filename(absl::StrCat(stem, "_", copy, ".mp4"));
  }
  return path.string();
}

class Run {
 public:
  Run(const GenerateOptions& options, Plan plan, Reporter& reporter)
      : options_(options), plan_(std::move(plan)), reporter_(reporter) {}

  absl::Status All() {
    const std::unique_ptr<Backend> backend = MakeCpuBackend();
    const std::int64_t bytes = limit_bytes() > 0 ? limit_bytes() : AvailableMemory() / 10 * 9;
    OVI_ASSIGN_OR_RETURN(engine_, Engine::Create(*backend, bytes, plan_.model));
    settler_ = std::make_unique<ClipSettler>(engine_->model(), bytes);
    // Whether all of them fit, before the first one is computed.
    for (const PromptItem& item : plan_.job.prompts) {
      OVI_ASSIGN_OR_RETURN(const ClipRequest clip, RequestOf(plan_, item, 0));
      OVI_RETURN_IF_ERROR(settler_->Settle(clip).status());
    }
    const int repeats = plan_.job.each_example_n_times;
    title_.count = static_cast<int>(plan_.job.prompts.size()) * repeats;
    for (const PromptItem& item : plan_.job.prompts) {
      for (int repeat = 0; repeat < repeats; ++repeat) {
        OVI_RETURN_IF_ERROR(One(item, repeat));
        ++title_.index;
      }
    }
    return absl::OkStatus();
  }

  // The limit that the user has set, 0 for none: the command line wins over the job.
  std::int64_t limit_bytes() const {
    return options_.memory_bytes > 0 ? options_.memory_bytes : plan_.job.max_vram_bytes;
  }
  // How far it came: the clips before title().index are finished.
  const ClipTitle& title() const { return title_; }

 private:
  absl::Status One(const PromptItem& item, int repeat) {
    OVI_ASSIGN_OR_RETURN(const ClipRequest asked, RequestOf(plan_, item, repeat));
    OVI_ASSIGN_OR_RETURN(const SettledClip settled, settler_->Settle(asked));
    const ClipRequest& clip = settled.clip;
    ClipInputs inputs;
    inputs.loras = plan_.loras;
    inputs.fusion_weights = plan_.fusion_weights;
    if (clip.image_to_video) {
      OVI_ASSIGN_OR_RETURN(const Image image, LoadImage(item.image_path));
      inputs.image = FirstFrameTensor(image, clip.size, clip.policy == PrecisionPolicy::kAsExecuted);
    }
    if (!options_.noise.empty()) {
      OVI_ASSIGN_OR_RETURN(inputs.noise, ReadNoise(options_.noise, clip));
    }
    TensorDump dump(clip);
    if (!options_.dump.empty()) dump.Attach(inputs);

    title_.prompt = item.text;
    reporter_.Begin(title_, plan_.model, settled);
    Mp4Sink sink(VideoPath(plan_, clip, item, paths_), ClipMetadata(plan_.model.spec, plan_.job, clip, item));
    const auto begin = std::chrono::steady_clock::now();
    const Control control{.on_progress = [this](const Progress& progress) { reporter_.Step(progress); },
                          .cancelled = &Interrupted()};
    DumpingSink dumping(sink, dump);
    OVI_ASSIGN_OR_RETURN(const ClipReport report, engine_->Generate(clip, inputs, control, dumping));
    if (!options_.dump.empty()) OVI_RETURN_IF_ERROR(dump.Write(options_.dump, report.latents));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    reporter_.Done(title_, settled, {sink.path(), sink.poster_path(), sink.sheet_path()}, report,
                   {.seconds = seconds.count(), .resident_bytes_peak = ResidentPeakBytes()});
    return absl::OkStatus();
  }

  const GenerateOptions& options_;
  Plan plan_;
  Reporter& reporter_;
  ClipTitle title_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ClipSettler> settler_;
  std::set<std::string> paths_;
};

std::unique_ptr<Reporter> ReporterFor(const GenerateOptions& options) {
  if (options.json) return MakeReporter(ReportStyle::kJson);
  return MakeReporter(isatty(STDOUT_FILENO) != 0 ? ReportStyle::kBar : ReportStyle::kLines);
}

}  // namespace

int RunGenerate(const GenerateOptions& options) {
  ListenForInterrupts();
  if (options.threads > 0) cpu::SetThreadCount(options.threads);
  const std::unique_ptr<Reporter> reporter = ReporterFor(options);
  absl::StatusOr<Plan> plan = MakePlan(options);
  if (!plan.ok()) {
    reporter->Failed(std::string(plan.status().message()));
    return absl::IsCancelled(plan.status()) ? kExitInterrupted : kExitUsage;
  }
  for (const std::string& warning : plan->job.warnings) reporter->Warning(warning);
  for (const LoraAdapter& adapter : plan->loras) reporter->Adapter(adapter);
  Run run(options, *std::move(plan), *reporter);
  const absl::Status status = run.All();
  if (status.ok()) return 0;
  if (Interrupted().load() || absl::IsCancelled(status)) {
    reporter->Failed(absl::StrCat("interrupted; ", run.title().index, " of ", run.title().count,
                                  run.title().count == 1 ? " video" : " videos", " finished"));
    return kExitInterrupted;
  }
  std::string words(status.message());
  if (absl::IsResourceExhausted(status) && run.limit_bytes() > 0) {
    absl::StrAppend(&words, options.memory_bytes > 0 ? "; --max-vram" : "; the job's max_vram",
                    " set this limit");
  }
  reporter->Failed(words);
  return kExitFailed;
}

}  // namespace ovi
