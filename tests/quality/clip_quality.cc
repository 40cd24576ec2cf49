// How far each way of running the network leads from `standard`: eight clips of mini-ovi's grammar, made in
// each mode from the same noise, against those of standard. JSON on standard output, a Markdown table of it
// on standard error, and with --sheet a PNG with the middle frames, a row a mode in the order of the table, a
// column a prompt.
//
// A mode is a word of vram_mode, perhaps with "+low_rank" for weights in that form, or "reference", which is
// standard in f32; with @FOLDER behind, the mode runs the model of that folder, such as a converted copy.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/cache_dir.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/e2e/clip_checks.h"
#include "tests/pipeline/mini_model.h"
#include "tests/quality/clip_measures.h"
#include "worker/media/contact_sheet.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/low_rank_weights.h"
#include "worker/pipeline/weights_form.h"

namespace ovi {
namespace {

struct ModeUnderTest {
  std::string name;  // as it was asked for
  VramMode vram_mode = VramMode::kStandard;
  Precision precision = Precision::kAsExecuted;
  bool low_rank = false;
  std::string folder;  // of the model
};

struct Options {
  std::string model = MiniModel();
  std::vector<std::string> modes = {"reference"};
  int steps = 0;  // 0: the model's default
  int clips = 8;
  std::int64_t arena_mib = 256;
  std::string sheet;
};

struct Clip {
  Frames frames;
  std::vector<float> sound;
  int sample_rate = 0;
  Latents latents;
  std::int64_t arena_bytes_peak = 0;
};

// Keeps what the engine hands over.
class KeepingSink final : public ClipSink {
 public:
  explicit KeepingSink(Clip& clip) : clip_(clip) {}

  absl::Status Begin(const ClipInfo& info, std::span<const float> audio) override {
    clip_.frames.height = static_cast<int>(info.height);
    clip_.frames.width = static_cast<int>(info.width);
    clip_.sound.assign(audio.begin(), audio.end());
    clip_.sample_rate = info.audio_sample_rate;
    return absl::OkStatus();
  }
  absl::Status AddFrames(std::span<const std::uint8_t> rgb) override {
    clip_.frames.rgb.insert(clip_.frames.rgb.end(), rgb.begin(), rgb.end());
    clip_.frames.count += static_cast<int>(static_cast<std::int64_t>(rgb.size()) /
                                           (std::int64_t{3} * clip_.frames.height * clip_.frames.width));
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  Clip& clip_;
};

absl::StatusOr<ModeUnderTest> ParseMode(const std::string& word, const std::string& model) {
  const std::vector<std::string> parts = absl::StrSplit(word, absl::MaxSplits('@', 1));
  ModeUnderTest mode{.name = word, .folder = parts.size() == 2 ? parts[1] : model};
  constexpr std::string_view kLowRank = "+low_rank";
  std::string_view vram_mode = parts[0];
  mode.low_rank = vram_mode.ends_with(kLowRank);
  if (mode.low_rank) vram_mode.remove_suffix(kLowRank.size());
  if (vram_mode == "reference") {
    mode.precision = Precision::kReference;
  } else {
    OVI_ASSIGN_OR_RETURN(mode.vram_mode, ParseVramMode(vram_mode));
  }
  return mode;
}

absl::StatusOr<std::vector<Clip>> MakeClips(const ModeUnderTest& mode, const Options& options) {
  OVI_ASSIGN_OR_RETURN(ModelFolder model, OpenModelFolder(mode.folder, ""));
  ClipInputs inputs;
  std::int64_t rank = kDefaultRank;
  if (mode.low_rank) {
    const auto go_on = [](std::int64_t, std::int64_t) { return absl::OkStatus(); };
    OVI_ASSIGN_OR_RETURN(rank, LowRankOf(model));
    OVI_ASSIGN_OR_RETURN(inputs.fusion_weights, FindLowRankWeights(model, DefaultCacheDir(), go_on));
  }
  const std::unique_ptr<Backend> backend = MakeCpuBackend();
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                       Engine::Create(*backend, options.arena_mib << 20, std::move(model)));
  JobSpec job;
  job.vram_mode = mode.vram_mode;
  job.precision = mode.precision;
  job.enable_lora = mode.low_rank;
  if (options.steps > 0) job.sample_steps = options.steps;
  std::vector<Clip> clips;
  for (int i = 0; i < options.clips; ++i) {
    const PromptItem item{.text = MiniPrompts()[static_cast<std::size_t>(i)], .image_path = ""};
    OVI_ASSIGN_OR_RETURN(const ClipRequest request, ResolveClip(job, item, 0, engine->model(), {}, rank));
    Clip clip;
    KeepingSink sink(clip);
    OVI_ASSIGN_OR_RETURN(const ClipReport report, engine->Generate(request, inputs, {}, sink));
    for (const StageReport& stage : report.stages) {
      clip.arena_bytes_peak = std::max(clip.arena_bytes_peak, stage.arena_bytes_peak);
    }
    clip.latents = report.latents;
    clips.push_back(std::move(clip));
  }
  return clips;
}

// Of the four words a prompt stands for, those that the clip shows and sounds like.
int WordsFollowed(const std::string& prompt, const Clip& clip) {
  const PromptWords asked = WordsOf(prompt);
  return (ColourName(clip.frames) == asked.colour) + (MotionName(clip.frames) == asked.motion) +
         (BackgroundName(clip.frames) == asked.background) +
         (SoundName(clip.sound, clip.sample_rate) == asked.sound);
}

// JSON knows no infinity: null where two clips are the same.
nlohmann::json PsnrOrNull(double mean_squared_error) {
  return mean_squared_error > 0 ? nlohmann::json(Psnr(mean_squared_error)) : nlohmann::json(nullptr);
}

struct ClipDistance {
  double video_latent = 0;  // relative error
  double audio_latent = 0;
  double squared_error = 0;  // mean, of the frames
  double ssim = 1;
  double spectral_db = 0;
};

ClipDistance Measure(const Clip& standard, const Clip& clip) {
  return {.video_latent = RelativeError(standard.latents.video, clip.latents.video),
          .audio_latent = RelativeError(standard.latents.audio, clip.latents.audio),
          .squared_error = MeanSquaredError(standard.frames, clip.frames),
          .ssim = Ssim(standard.frames, clip.frames),
          .spectral_db = LogSpectralDistance(standard.sound, clip.sound)};
}

nlohmann::json ToJson(const ClipDistance& distance) {
  return {{"video_latent_error", distance.video_latent},
          {"audio_latent_error", distance.audio_latent},
          {"psnr_db", PsnrOrNull(distance.squared_error)},
          {"ssim", distance.ssim},
          {"log_spectral_distance_db", distance.spectral_db}};
}

// The mean PSNR is that of the mean squared error, so that a clip without any does not hide the others.
nlohmann::json Compare(const ModeUnderTest& mode, const std::vector<Clip>& standard,
                       const std::vector<Clip>& clips) {
  nlohmann::json rows = nlohmann::json::array();
  ClipDistance mean{.ssim = 0}, worst;
  int words_followed = 0;
  std::int64_t arena_bytes_peak = 0;
  const auto count = static_cast<double>(clips.size());
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const ClipDistance distance = Measure(standard[i], clips[i]);
    const int followed = WordsFollowed(MiniPrompts()[i], clips[i]);
    nlohmann::json row = ToJson(distance);
    row["prompt"] = MiniPrompts()[i];
    row["words_followed"] = followed;
    rows.push_back(std::move(row));
    mean.video_latent += distance.video_latent / count;
    mean.audio_latent += distance.audio_latent / count;
    mean.squared_error += distance.squared_error / count;
    mean.ssim += distance.ssim / count;
    mean.spectral_db += distance.spectral_db / count;
    words_followed += followed;
    worst = {.video_latent = std::max(worst.video_latent, distance.video_latent),
             .audio_latent = std::max(worst.audio_latent, distance.audio_latent),
             .squared_error = std::max(worst.squared_error, distance.squared_error),
             .ssim = std::min(worst.ssim, distance.ssim),
             .spectral_db = std::max(worst.spectral_db, distance.spectral_db)};
    arena_bytes_peak = std::max(arena_bytes_peak, clips[i].arena_bytes_peak);
  }
  return {{"mode", mode.name},
          {"mean", ToJson(mean)},
          {"worst", ToJson(worst)},
          {"words_followed", words_followed},
          {"words_asked", 4 * clips.size()},
          {"arena_bytes_peak", arena_bytes_peak},
          {"clips", rows}};
}

std::string Decibels(const nlohmann::json& value) {
  return value.is_null() ? "identical" : absl::StrFormat("%.1f", value.get<double>());
}

std::string MarkdownTable(const nlohmann::json& results) {
  std::string table =
      "Mean (worst) of the clips, against those of standard.\n\n"
      "| mode | video latent | audio latent | PSNR dB | SSIM | log-spectral distance dB | words followed "
      "| arena MiB |\n|---|---|---|---|---|---|---|---|\n";
  for (const nlohmann::json& row : results) {
    const auto pair = [&row](const char* name, int digits) {
      return absl::StrFormat("%.*f (%.*f)", digits, row["mean"][name].get<double>(), digits,
                             row["worst"][name].get<double>());
    };
    absl::StrAppend(&table, "| ", row["mode"].get<std::string>(), " | ", pair("video_latent_error", 3), " | ",
                    pair("audio_latent_error", 3), " | ", Decibels(row["mean"]["psnr_db"]), " (",
                    Decibels(row["worst"]["psnr_db"]), ") | ", pair("ssim", 3), " | ",
                    pair("log_spectral_distance_db", 2));
    absl::StrAppendFormat(&table, " | %d of %d | %.1f |\n", row["words_followed"].get<int>(),
                          row["words_asked"].get<int>(), row["arena_bytes_peak"].get<double>() / (1 << 20));
  }
  return table;
}

Image MiddleFrame(const Frames& frames) {
  Image image{frames.height, frames.width, {}};
  const std::int64_t bytes = image.height * image.width * 3;
  const auto first = frames.rgb.begin() + frames.count / 2 * bytes;
  image.rgb.assign(first, first + bytes);
  return image;
}

absl::Status Run(const Options& options) {
  OVI_ASSIGN_OR_RETURN(const ModeUnderTest base, ParseMode("standard", options.model));
  OVI_ASSIGN_OR_RETURN(const std::vector<Clip> standard, MakeClips(base, options));
  nlohmann::json results = nlohmann::json::array({Compare(base, standard, standard)});
  std::vector<Image> tiles;
  for (const Clip& clip : standard) tiles.push_back(MiddleFrame(clip.frames));
  for (const std::string& word : options.modes) {
    OVI_ASSIGN_OR_RETURN(const ModeUnderTest mode, ParseMode(word, options.model));
    const absl::StatusOr<std::vector<Clip>> clips = MakeClips(mode, options);
    if (!clips.ok()) return Annotate(clips.status(), mode.name);
    results.push_back(Compare(mode, standard, *clips));
    for (const Clip& clip : *clips) tiles.push_back(MiddleFrame(clip.frames));
  }
  std::printf("%s\n", results.dump(2).c_str());
  std::fprintf(stderr, "%s", MarkdownTable(results).c_str());
  return options.sheet.empty() ? absl::OkStatus()
                               : WritePng(options.sheet, ContactSheet(tiles, options.clips));
}

bool ParseOptions(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string value = argv[i + 1];
    bool known = true;
    if (name == "--model") {
      options.model = value;
    } else if (name == "--modes") {
      options.modes = absl::StrSplit(value, ',', absl::SkipEmpty());
    } else if (name == "--sheet") {
      options.sheet = value;
    } else if (name == "--steps") {
      known = absl::SimpleAtoi(value, &options.steps) && options.steps > 0;
    } else if (name == "--clips") {
      known = absl::SimpleAtoi(value, &options.clips) && options.clips > 0 &&
              options.clips <= static_cast<int>(MiniPrompts().size());
    } else if (name == "--arena-mib") {
      known = absl::SimpleAtoi(value, &options.arena_mib) && options.arena_mib > 0;
    } else {
      known = false;
    }
    if (!known) return false;
  }
  return argc % 2 == 1;
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: clip_quality [--model FOLDER] [--modes fp8,reference,standard+low_rank,fp8@FOLDER] "
                 "[--steps N] "
                 "[--clips 1..8] [--arena-mib N] [--sheet FILE.png]\n");
    return 2;
  }
  const absl::Status status = Run(options);
  if (!status.ok()) std::fprintf(stderr, "clip_quality: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace ovi

int main(int argc, char** argv) {
  return ovi::Main(argc, argv);
}
