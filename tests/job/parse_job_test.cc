#include "worker/job/parse_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ovi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kPrompt[] = "text_prompt: A cat\n";  // line 1 of every case below

absl::StatusOr<JobSpec> Parse(const std::string& lines, const std::vector<Override>& overrides = {}) {
  return ParseJob(kPrompt + lines, "job.yaml", "/jobs", overrides);
}

JobSpec Accepted(const std::string& lines, const std::vector<Override>& overrides = {}) {
  absl::StatusOr<JobSpec> spec = Parse(lines, overrides);
  EXPECT_TRUE(spec.ok()) << lines << spec.status();
  return spec.value_or(JobSpec{});
}

std::string ErrorOf(const std::string& lines, const std::vector<Override>& overrides = {}) {
  const absl::StatusOr<JobSpec> spec = Parse(lines, overrides);
  if (spec.ok()) return "accepted";
  const std::string message(spec.status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

TEST(ParseJob, LeavesWhatIsNotGivenToTheModel) {
  const JobSpec spec = Accepted("");
  EXPECT_THAT(spec.prompts, ElementsAre(PromptItem{"A cat", ""}));
  EXPECT_EQ(spec.mode, Mode::kT2v);
  EXPECT_EQ(spec.model_name, "");
  EXPECT_EQ(spec.each_example_n_times, 1);
  EXPECT_FALSE(spec.sample_steps || spec.solver || spec.shift || spec.seed || spec.slg_layer || spec.size);
  EXPECT_FALSE(spec.video_negative_prompt || spec.audio_negative_prompt || spec.duration_seconds);
  EXPECT_EQ(spec.vram_mode, VramMode::kAuto);
  EXPECT_EQ(spec.gpu_allocation, GpuAllocation::kAuto);
  EXPECT_EQ(spec.precision, Precision::kAsExecuted);
  EXPECT_THAT(spec.warnings, IsEmpty());
}

TEST(ParseJob, ReadsTheOriginalsKeys) {
  const JobSpec spec = Accepted(R"(
ckpt_dir: ./ckpts
output_dir: ./outputs
sample_steps: 50
solver_name: dpm++
model_name: "960x960_10s"
shift: 5.0
sp_size: 1
audio_guidance_scale: 3.0
video_guidance_scale: 4
mode: "i2v"
image_path: a/b.png
fp8: False
cpu_offload: False
seed: 18446744073709551615
video_negative_prompt: "jitter, blur"
audio_negative_prompt: ""
video_frame_height_width: [704, 1280]
slg_layer: -1
each_example_n_times: 2
)");
  EXPECT_EQ(spec.ckpt_dir, "./ckpts");
  EXPECT_EQ(spec.sample_steps, 50);
  EXPECT_EQ(spec.solver, SolverKind::kDpmPlusPlus);
  EXPECT_EQ(spec.model_name, "960x960_10s");
  EXPECT_EQ(spec.shift, 5.0);
  EXPECT_EQ(spec.audio_guidance_scale, 3.0);
  EXPECT_EQ(spec.video_guidance_scale, 4.0);
  EXPECT_EQ(spec.mode, Mode::kI2v);
  EXPECT_EQ(spec.prompts[0].image_path, "/jobs/a/b.png");
  EXPECT_EQ(spec.seed, 18446744073709551615u);
  EXPECT_EQ(spec.video_negative_prompt, "jitter, blur");
  EXPECT_EQ(spec.audio_negative_prompt, "");
  EXPECT_EQ(spec.size, (Size{704, 1280}));
  EXPECT_EQ(spec.slg_layer, -1);
  EXPECT_EQ(spec.each_example_n_times, 2);
  EXPECT_EQ(spec.vram_mode, VramMode::kAuto);
  EXPECT_EQ(spec.gpu_allocation, GpuAllocation::kSingle);
  EXPECT_THAT(spec.warnings, IsEmpty());
}

TEST(ParseJob, RefusesEachKeyOutOfRangeOrOfAnotherType) {
  const struct {
    const char* line;
    const char* message;
  } kCases[] = {
      {"sample_steps: 0", "job.yaml:2: sample_steps must be a whole number from 1 to 1000, got 0"},
      {"sample_steps: 1001", "job.yaml:2: sample_steps must be"},
      {"sample_steps: 10.5", "got 10.5"},
      {"sample_steps: [5]", "got a list of 1"},
      {"sample_steps: \"50\"", "got the text \"50\""},
      {"seed: -1", "seed must be a whole number from 0 to 18446744073709551615, got -1"},
      {"seed: 18446744073709551616", "seed must be"},
      {"seed: 1.5", "seed must be"},
      {"shift: 0", "shift must be a number above 0, at most 100, got 0"},
      {"shift: 100.5", "shift must be"},
      {"shift: .inf", "shift must be"},
      {"video_guidance_scale: nan",
       "video_guidance_scale must be a number from 0 to 100, got the text \"nan\""},
      {"audio_guidance_scale: -0.1", "audio_guidance_scale must be"},
      {"audio_guidance_scale: 1e999", "audio_guidance_scale must be"},
      {"slg_layer: -2", "slg_layer must be a whole number from -1"},
      {"each_example_n_times: 0", "each_example_n_times must be"},
      {"solver_name: ddim", "solver_name must be one of unipc, dpm++, euler, got \"ddim\""},
      {"mode: t2i2v", "mode t2i2v is not supported (it needs a second model"},
      {"mode: T2V", "mode must be one of t2v, i2v, got \"T2V\""},
      {"model_name: ../../etc", "model_name must be a model's name"},
      {"model_name: .hidden", "model_name must be a model's name"},
      {"model_name: 5", "model_name must be text (in quotes"},
      {"vram_mode: low", "vram_mode must be one of auto, standard, fp8, fp8_offload, ultra_low, got \"low\""},
      {"max_vram: 8",
       "max_vram must be bytes from 1 MiB to 1024 TiB, such as 24GiB, \"600 MB\" or 629145600, got 8"},
      {"max_vram: 0", "max_vram must be bytes from"},
      {"max_vram: -1GiB", "max_vram must be bytes from"},
      {"max_vram: 8 GiBi", "max_vram must be bytes from"},
      {"max_vram: [8GiB]", "max_vram must be bytes from"},
      {"gpu_allocation: multi_1",
       "gpu_allocation must be one of auto, single, multi_N, fsdp, fsdp_N with N from 2 to 64"},
      {"gpu_allocation: multi_65", "gpu_allocation must be"},
      {"gpu_allocation: multi_04", "gpu_allocation must be"},
      {"gpu_allocation: multi_", "gpu_allocation must be"},
      {"sp_size: 0", "sp_size must be"},
      {"fp8: yes", "fp8 must be true or false, got the text \"yes\""},
      {"enable_lora: 1", "enable_lora must be true or false, got 1"},
      {"resolution: 720p",
       "resolution must be height and width in pixels, \"704x1280\" or [704, 1280], got the text \"720p\""},
      {"resolution: 720", "resolution must be"},
      {"resolution: 16x704", "resolution height must be a whole number from 32 to 8192, got 16"},
      {"resolution: 704x8193", "resolution width must be"},
      {"resolution: 704x704x3", "resolution width must be"},
      {"resolution: x", "resolution height must be"},
      {"video_frame_height_width: [704]", "video_frame_height_width must be"},
      {"video_frame_height_width: [704, a]", "video_frame_height_width width must be"},
      {"duration: 0", "duration must be seconds from 0.1 to 60"},
      {"duration: long", "duration must be seconds"},
      {"duration: 7", "job.yaml:2: duration is 7 s, but Ovi's models make 5 or 10 s"},
      {"precision: fp64", "precision must be one of reference, as_executed"},
      {"noise_layout: cpu", "noise_layout must be one of element, torch_cuda"},
      {"noise_layout: torch_cuda", "needs torch_cuda_sm_count and torch_cuda_max_threads_per_sm"},
      {"torch_cuda_sm_count: 108", "torch_cuda_sm_count is only for noise_layout torch_cuda"},
      {"loras: a.safetensors", "loras must be a list of at most 8 adapters"},
      {"loras: [my style]",
       "loras [0] must be an adapter's name (letters, digits, - _ . and at most 128) or a"},
      {"loras: [a, .hidden]", "loras [1] must be an adapter's name"},
      {"loras: [{strength: 1}]", "loras [0] needs a path"},
      {"loras: [a, {path: b, strength: 11}]", "loras [1] must be a number from -10 to 10, got 11"},
      {"loras: [{path: b, weight: 1}]", "loras [0] has the unknown key \"weight\""},
      {"image_path: \"a\\nb\"", "image_path holds a control character"},
      {"output_dir: [x]", "output_dir must be text, got a list of 1"},
      {"sampel_steps: 5", "job.yaml:2: unknown key \"sampel_steps\"; did you mean \"sample_steps\"?"},
      {"temperature: 5", "job.yaml:2: unknown key \"temperature\" (docs/job-config.md lists all)"},
      {"seed: 1\nseed: 2", "job.yaml:3: key \"seed\" is given twice, first on line 2"},
  };
  for (const auto& row : kCases)
    EXPECT_THAT(ErrorOf(std::string(row.line) + "\n"), HasSubstr(row.message)) << row.line;
}

TEST(ParseJob, AcceptsTheEndsOfEachRange) {
  for (const char* line : {"sample_steps: 1",
                           "sample_steps: 1000",
                           "seed: 0",
                           "shift: 0.001",
                           "shift: 100",
                           "video_guidance_scale: 0",
                           "video_guidance_scale: 100",
                           "slg_layer: -1",
                           "each_example_n_times: 1000",
                           "resolution: 32x8192",
                           "resolution: [33, 101]",
                           "max_vram: 1048576",
                           "max_vram: 1 MiB",
                           "max_vram: 1024 TiB",
                           "max_vram:",
                           "gpu_allocation: multi_2",
                           "gpu_allocation: fsdp_64",
                           "image_path: ''",
                           "seed:",
                           "duration: 5",
                           "duration: \"10s\"",
                           "duration: 5s",
                           "duration: '5'",
                           "solver_name: euler"}) {
    Accepted(std::string(line) + "\n");
  }
}

TEST(ParseJob, RefusesPromptsThatSayNothingOrTooMuch) {
  const auto error = [](const std::string& text) {
    return std::string(ParseJob(text, "job.yaml", "", {}).status().message());
  };
  EXPECT_EQ(error(""), "job.yaml: text_prompt is missing");
  EXPECT_EQ(error("text_prompt:\n"), "job.yaml: text_prompt is missing");
  EXPECT_EQ(error("seed: 1\ntext_prompt: \" \\n\"\n"), "job.yaml:2: text_prompt is empty");
  EXPECT_EQ(error("text_prompt: \"a\\0b\"\n"), "job.yaml:1: text_prompt holds a NUL character");
  EXPECT_EQ(error("text_prompt: [a, b]\n"), "job.yaml:1: text_prompt must be text, got a list of 2");
  EXPECT_EQ(error("text_prompt: " + std::string(65'537, 'x')),
            "job.yaml:1: text_prompt has 65537 bytes, more than the 65536 allowed");
  EXPECT_EQ(error("- a\n"), "job.yaml:1: a job is a list of \"key: value\" lines");
  EXPECT_EQ(error("just text\n"), "job.yaml:1: a job is a list of \"key: value\" lines");
  EXPECT_TRUE(ParseJob("text_prompt: " + std::string(65'536, 'x'), "job.yaml", "", {}).ok());
}

TEST(ParseJob, TakesAMemoryLimitInAnyUnit) {
  EXPECT_EQ(Accepted("seed: 1\n").max_vram_bytes, 0) << "none";
  for (const char* line : {"max_vram: 8GiB\n", "max_vram: \"8 GiB\"\n", "max_vram: 8589934592\n"}) {
    EXPECT_EQ(Accepted(line).max_vram_bytes, std::int64_t{8} << 30) << line;
  }
}

TEST(ParseJob, MapsTheOldMemoryFlags) {
  const struct {
    const char* lines;
    VramMode mode;
  } kCases[] = {
      {"fp8: true\n", VramMode::kFp8},
      {"fp8: True\ncpu_offload: false\n", VramMode::kFp8},
      {"fp8: true\nmodel_name: 960x960_10s\n", VramMode::kFp8},
      {"fp8: true\ncpu_offload: true\n", VramMode::kFp8Offload},
      {"qint8: true\n", VramMode::kUltraLow},
      {"qint8: true\ncpu_offload: false\n", VramMode::kUltraLow},
      {"cpu_offload: true\n", VramMode::kStandard},
      {"fp8: false\nqint8: false\n", VramMode::kAuto},
      {"vram_mode: fp8_offload\nfp8: true\ncpu_offload: true\nqint8: false\n", VramMode::kFp8Offload},
      {"vram_mode: standard\ncpu_offload: true\n", VramMode::kStandard},
      {"vram_mode: ultra_low\nqint8: true\n", VramMode::kUltraLow},
  };
  for (const auto& row : kCases) EXPECT_EQ(Accepted(row.lines).vram_mode, row.mode) << row.lines;
}

TEST(ParseJob, MapsTheOldGpuCounts) {
  const struct {
    const char* lines;
    GpuRequest request;
  } kCases[] = {
      {"", {GpuAllocation::kAuto, 0}},
      {"sp_size: 1\n", {GpuAllocation::kSingle, 1}},
      {"sp_size: 4\n", {GpuAllocation::kMulti, 4}},
      {"sp_size: 1\ngpu_allocation: auto\n", {GpuAllocation::kAuto, 0}},
      {"sp_size: 4\ngpu_allocation: multi_4\n", {GpuAllocation::kMulti, 4}},
      {"use_fsdp: true\n", {GpuAllocation::kFsdp, 0}},
      {"use_fsdp: true\nsp_size: 2\n", {GpuAllocation::kFsdp, 2}},
      {"gpu_allocation: fsdp\nsp_size: 4\n", {GpuAllocation::kFsdp, 4}},
      {"gpu_allocation: fsdp_3\n", {GpuAllocation::kFsdp, 3}},
      {"gpu_allocation: single\nuse_fsdp: false\n", {GpuAllocation::kSingle, 1}},
  };
  for (const auto& row : kCases) {
    const JobSpec spec = Accepted(row.lines);
    EXPECT_EQ(spec.gpu_allocation, row.request.allocation) << row.lines;
    EXPECT_EQ(spec.gpu_count, row.request.gpu_count) << row.lines;
  }
}

TEST(ParseJob, NamesBothPlacesOfAContradiction) {
  const struct {
    const char* lines;
    const char* message;
  } kCases[] = {
      {"fp8: true\nvram_mode: standard\n",
       "job.yaml:2: fp8 is true, which contradicts vram_mode standard (job.yaml:3); remove one of the two"},
      {"vram_mode: fp8\nfp8: false\n",
       "job.yaml:3: fp8 is false, which contradicts vram_mode fp8 (job.yaml:2)"},
      {"vram_mode: fp8\ncpu_offload: true\n",
       "job.yaml:3: cpu_offload is true, which contradicts vram_mode fp8"},
      {"vram_mode: auto\nqint8: true\n", "job.yaml:3: qint8 is true, which contradicts vram_mode auto"},
      {"fp8: true\nqint8: true\n", "job.yaml:3: qint8 is true, which contradicts fp8 true (job.yaml:2)"},
      {"sp_size: 2\ngpu_allocation: multi_4\n",
       "job.yaml:2: sp_size is 2, which contradicts gpu_allocation multi_4 (job.yaml:3)"},
      {"sp_size: 4\ngpu_allocation: single\n", "sp_size is 4, which contradicts gpu_allocation single"},
      {"sp_size: 4\ngpu_allocation: auto\n", "sp_size is 4, which contradicts gpu_allocation auto"},
      {"use_fsdp: true\ngpu_allocation: multi_4\n",
       "use_fsdp is true, which contradicts gpu_allocation multi_4"},
      {"resolution: 960x960\nvideo_frame_height_width: [704, 1280]\n",
       "job.yaml:3: video_frame_height_width is 704x1280, which contradicts resolution 960x960 (job.yaml:2)"},
      {"model_name: 960x960_10s\nduration: 5\n",
       "job.yaml:3: duration is 5 s, but model_name 960x960_10s makes 10 s; change one of the two"},
      {"enable_lora: false\nloras: [a]\n",
       "job.yaml:2: enable_lora is false, which contradicts loras (job.yaml:3)"},
      {"mode: i2v\n", "job.yaml:1: mode i2v needs an image_path"},
  };
  for (const auto& row : kCases) EXPECT_THAT(ErrorOf(row.lines), HasSubstr(row.message)) << row.lines;
}

TEST(ParseJob, PicksThePresetOfAResolutionAndDuration) {
  const struct {
    const char* lines;
    const char* model_name;
    int warning_count;
  } kCases[] = {
      {"resolution: 720x720\n", "720x720_5s", 0},
      {"resolution: 512x992\nduration: 5\n", "720x720_5s", 0},
      {"resolution: 800x900\n", "720x720_5s", 1},  // 720,000 pixels, the last of the small class
      {"resolution: 800x901\n", "960x960_5s", 1},
      {"resolution: 704x1280\n", "960x960_5s", 0},
      {"resolution: 960x960\nduration: 10s\n", "960x960_10s", 0},
      {"resolution: 720x720\nduration: 10s\n", "960x960_10s", 1},  // no small preset makes 10 s
      {"duration: 5\n", "960x960_5s", 0},
      {"duration: 10\n", "960x960_10s", 0},
      {"resolution: 8192x8192\n", "960x960_5s", 1},
      {"model_name: mini-ovi\nresolution: 96x96\nduration: 1\n", "mini-ovi", 0},
      {"model_name: 960x960_5s\nresolution: 720x720\n", "960x960_5s", 1},
  };
  for (const auto& row : kCases) {
    const JobSpec spec = Accepted(row.lines);
    EXPECT_EQ(spec.model_name, row.model_name) << row.lines;
    EXPECT_EQ(spec.warnings.size(), static_cast<std::size_t>(row.warning_count)) << row.lines;
  }
  EXPECT_THAT(
      Accepted("model_name: 960x960_5s\nresolution: 720x720\n").warnings,
      ElementsAre("job.yaml:3: resolution 720x720 is scaled to the 921600 pixels that 960x960_5s makes"));
}

TEST(ParseJob, DropsImagesInModeT2vAndSaysSo) {
  const JobSpec spec = Accepted("mode: t2v\nimage_path: a.png\n");
  EXPECT_EQ(spec.prompts[0].image_path, "");
  EXPECT_THAT(spec.warnings, ElementsAre("job.yaml:3: image_path is ignored in mode t2v"));
}

TEST(ParseJob, TakesAnImageForModeI2vWhenNoModeIsGiven) {
  EXPECT_EQ(Accepted("image_path: /a.png\n").mode, Mode::kI2v);
  EXPECT_EQ(Accepted("image_path: /a.png\n").prompts[0].image_path, "/a.png");
}

TEST(ParseJob, ReadsAdaptersAndNumerics) {
  const JobSpec spec = Accepted(
      "loras: [a.safetensors, {path: /b.safetensors, strength: -0.5}, style.v2, sub/c]\n"
      "precision: reference\nnoise_layout: torch_cuda\n"
      "torch_cuda_sm_count: 108\ntorch_cuda_max_threads_per_sm: 2048\n");
  EXPECT_TRUE(spec.enable_lora);
  EXPECT_THAT(spec.loras, ElementsAre(LoraSpec{"/jobs/a.safetensors", 1.0}, LoraSpec{"/b.safetensors", -0.5},
                                      LoraSpec{"style.v2", 1.0}, LoraSpec{"/jobs/sub/c", 1.0}));
  EXPECT_EQ(spec.precision, Precision::kReference);
  EXPECT_EQ(spec.noise_layout, NoiseLayout::kTorchCuda);
  EXPECT_EQ(spec.torch_cuda, (TorchCudaDevice{108, 2048}));
}

TEST(ParseJob, WarnsOfTheGuidesKeysThatDecideNothing) {
  EXPECT_THAT(Accepted("use_tensor_cores: True\nfsdp_sharding_strategy: \"FULL_SHARD\"\n").warnings,
              ElementsAre(HasSubstr("job.yaml:2: use_tensor_cores is ignored"),
                          HasSubstr("job.yaml:3: fsdp_sharding_strategy is ignored")));
}

TEST(ParseJob, LetsOverridesWin) {
  const JobSpec spec =
      Accepted("seed: 1\nfp8: true\nsp_size: 2\nresolution: 960x960\nimage_path: a.png\nshift: 5\n",
               {{"seed", "7"},
                {"seed", "8"},
                {"vram_mode", "standard"},
                {"max_vram", "6GiB"},
                {"gpu_allocation", "multi_4"},
                {"video_frame_height_width", "[512, 992]"},
                {"text_prompt", "A dog. Audio: bark"},
                {"image_path", "b.png"},
                {"shift", ""},
                {"audio_negative_prompt", ""}});
  EXPECT_EQ(spec.seed, 8u);
  EXPECT_EQ(spec.vram_mode, VramMode::kStandard);
  EXPECT_EQ(spec.max_vram_bytes, std::int64_t{6} << 30);
  EXPECT_EQ(spec.gpu_count, 4);
  EXPECT_EQ(spec.size, (Size{512, 992}));
  EXPECT_THAT(spec.prompts, ElementsAre(PromptItem{"A dog. Audio: bark", "b.png"}));
  EXPECT_FALSE(spec.shift);
  EXPECT_EQ(spec.audio_negative_prompt, "");
}

TEST(ParseJob, HoldsOverridesToTheSameRules) {
  EXPECT_EQ(ErrorOf("", {{"sample_steps", "0"}}),
            "--set sample_steps: must be a whole number from 1 to 1000, got 0");
  EXPECT_EQ(ErrorOf("", {{"sampel_steps", "5"}}),
            "--set: unknown key \"sampel_steps\"; did you mean \"sample_steps\"?");
  EXPECT_EQ(ErrorOf("", {{"text_prompt", " "}}), "--set text_prompt: is empty");
  EXPECT_EQ(
      ErrorOf("vram_mode: fp8\n", {{"cpu_offload", "true"}}),
      "--set cpu_offload: is true, which contradicts vram_mode fp8 (job.yaml:2); remove one of the two");
  EXPECT_THAT(ErrorOf("", {{"loras", "[a"}}), HasSubstr("--set loras:1: not valid YAML"));
}

TEST(JobNames, ReadBackWhatTheyWrite) {
  for (const Mode value : {Mode::kT2v, Mode::kI2v}) EXPECT_EQ(*ParseMode(ToString(value)), value);
  for (const SolverKind value : {SolverKind::kUniPc, SolverKind::kDpmPlusPlus, SolverKind::kEuler}) {
    EXPECT_EQ(*ParseSolver(ToString(value)), value);
  }
  for (const VramMode value :
       {VramMode::kAuto, VramMode::kStandard, VramMode::kFp8, VramMode::kFp8Offload, VramMode::kUltraLow}) {
    EXPECT_EQ(*ParseVramMode(ToString(value)), value);
  }
  for (const char* word : {"auto", "single", "multi_2", "multi_64", "fsdp", "fsdp_8"}) {
    EXPECT_EQ(ToString(*ParseGpuAllocation(word)), word);
  }
  for (const Precision value : {Precision::kReference, Precision::kAsExecuted}) {
    EXPECT_EQ(*ParsePrecision(ToString(value)), value);
  }
  for (const NoiseLayout value : {NoiseLayout::kElement, NoiseLayout::kTorchCuda}) {
    EXPECT_EQ(*ParseNoiseLayout(ToString(value)), value);
  }
}

}  // namespace
}  // namespace ovi
