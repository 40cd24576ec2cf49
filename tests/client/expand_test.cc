// One job file becomes jobs of the cluster: which, how many, with what in them.
#include "client/ovictl/expand.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <limits>

#include "worker/job/job_proto.h"
#include "worker/job/parse_job.h"

namespace ovi::client {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

JobSpec Parse(const std::string& yaml) {
  absl::StatusOr<JobSpec> job = ParseJob(yaml, "job.yaml", "", {});
  EXPECT_TRUE(job.ok()) << job.status();
  return *std::move(job);
}

std::vector<v1::JobSpec> ExpandYaml(const std::string& yaml, const ExpandOptions& options = {}) {
  absl::StatusOr<std::vector<v1::JobSpec>> specs = Expand(Parse(yaml), options);
  EXPECT_TRUE(specs.ok()) << specs.status();
  return *std::move(specs);
}

JobSpec TwoPrompts(int repeats, std::optional<std::uint64_t> seed) {
  JobSpec job;
  job.prompts = {{"a cat", ""}, {"a dog", ""}};
  job.each_example_n_times = repeats;
  job.seed = seed;
  return job;
}

TEST(Expand, CarriesEveryFieldThatIsSet) {
  const std::vector<v1::JobSpec> specs = ExpandYaml(R"(
model_name: mini-ovi
text_prompt: a cat
video_negative_prompt: blur
audio_negative_prompt: ""
sample_steps: 12
solver_name: dpm++
shift: 3.5
video_guidance_scale: 4.5
audio_guidance_scale: 2
slg_layer: 9
seed: 18446744073709551615
resolution: 704x1280
duration: 1.5
vram_mode: fp8_offload
max_vram: 8GiB
gpu_allocation: multi_4
loras: [{path: style, strength: -0.5}]
precision: as_executed
noise_layout: torch_cuda
torch_cuda_sm_count: 108
torch_cuda_max_threads_per_sm: 2048
)",
                                                    {.user = "ann", .name = "my cat", .priority = -3});
  v1::JobSpec wanted;
  wanted.set_model_name("mini-ovi");
  wanted.set_mode(v1::MODE_T2V);
  wanted.set_text_prompt("a cat");
  wanted.set_video_negative_prompt("blur");
  wanted.set_audio_negative_prompt("");
  wanted.set_sample_steps(12);
  wanted.set_solver(v1::SOLVER_DPMPP);
  wanted.set_shift(3.5);
  wanted.set_video_guidance_scale(4.5);
  wanted.set_audio_guidance_scale(2);
  wanted.set_slg_layer(9);
  wanted.set_seed(std::numeric_limits<std::uint64_t>::max());
  wanted.mutable_size()->set_height(704);
  wanted.mutable_size()->set_width(1280);
  wanted.set_duration_seconds(1.5);
  wanted.set_vram_mode(v1::VRAM_MODE_FP8_OFFLOAD);
  wanted.set_max_vram_bytes(std::int64_t{8} << 30);
  wanted.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
  wanted.set_gpu_count(4);
  wanted.set_enable_lora(true);
  wanted.add_loras()->set_path("style");
  wanted.mutable_loras(0)->set_strength(-0.5);
  wanted.set_precision(v1::PRECISION_AS_EXECUTED);
  wanted.set_noise_layout(v1::NOISE_LAYOUT_TORCH_CUDA);
  wanted.mutable_torch_cuda()->set_sm_count(108);
  wanted.mutable_torch_cuda()->set_max_threads_per_sm(2048);
  wanted.set_priority(-3);
  wanted.set_name("my cat");
  wanted.set_user("ann");
  ASSERT_EQ(specs.size(), 1u);
  EXPECT_TRUE(MessageDifferencer::Equals(specs[0], wanted)) << specs[0].DebugString();
}

TEST(Expand, LeavesToTheModelWhatIsNotSet) {
  const v1::JobSpec spec = ExpandYaml("text_prompt: a cat\n").at(0);
  EXPECT_EQ(spec.model_name(), "");
  EXPECT_FALSE(spec.has_sample_steps() || spec.has_shift() || spec.has_seed() || spec.has_slg_layer());
  EXPECT_FALSE(spec.has_video_guidance_scale() || spec.has_audio_guidance_scale() ||
               spec.has_duration_seconds());
  EXPECT_FALSE(spec.has_video_negative_prompt() || spec.has_audio_negative_prompt() || spec.has_size());
  EXPECT_EQ(spec.solver(), v1::SOLVER_UNSPECIFIED);
}

TEST(Expand, KnowsTheWordsOfBothSides) {
  const struct {
    const char* yaml;
    std::function<int(const v1::JobSpec&)> field;
    int value;
  } rows[] = {
      {"solver_name: unipc", [](const auto& s) { return s.solver(); }, v1::SOLVER_UNIPC},
      {"solver_name: euler", [](const auto& s) { return s.solver(); }, v1::SOLVER_EULER},
      {"vram_mode: auto", [](const auto& s) { return s.vram_mode(); }, v1::VRAM_MODE_AUTO},
      {"vram_mode: standard", [](const auto& s) { return s.vram_mode(); }, v1::VRAM_MODE_STANDARD},
      {"vram_mode: fp8", [](const auto& s) { return s.vram_mode(); }, v1::VRAM_MODE_FP8},
      {"vram_mode: ultra_low", [](const auto& s) { return s.vram_mode(); }, v1::VRAM_MODE_ULTRA_LOW},
      {"gpu_allocation: auto", [](const auto& s) { return s.gpu_allocation(); }, v1::GPU_ALLOCATION_AUTO},
      {"gpu_allocation: single", [](const auto& s) { return s.gpu_allocation(); }, v1::GPU_ALLOCATION_SINGLE},
      {"gpu_allocation: fsdp", [](const auto& s) { return s.gpu_allocation(); }, v1::GPU_ALLOCATION_FSDP},
      {"gpu_allocation: fsdp", [](const auto& s) { return s.gpu_count(); }, 0},
      {"gpu_allocation: fsdp_8", [](const auto& s) { return s.gpu_count(); }, 8},
      {"precision: as_executed", [](const auto& s) { return s.precision(); }, v1::PRECISION_AS_EXECUTED},
      {"noise_layout: element", [](const auto& s) { return s.noise_layout(); }, v1::NOISE_LAYOUT_ELEMENT},
  };
  for (const auto& row : rows) {
    const auto specs = ExpandYaml(std::string("text_prompt: a cat\n") + row.yaml + "\n");
    EXPECT_EQ(row.field(specs.at(0)), row.value) << row.yaml;
  }
}

TEST(Expand, MakesAJobOfEveryPromptAndRepeat) {
  const struct {
    const char* name;
    int repeats;
    std::optional<std::uint64_t> seed;
    std::vector<std::string> jobs;  // "prompt seed"
  } rows[] = {
      {"once, no seed", 1, std::nullopt, {"a cat -", "a dog -"}},
      {"once, with a seed", 1, 7, {"a cat 7", "a dog 7"}},
      {"repeats beside each other", 3, 7, {"a cat 7", "a cat 8", "a cat 9", "a dog 7", "a dog 8", "a dog 9"}},
      {"past the largest seed",
       2,
       std::numeric_limits<std::uint64_t>::max(),
       {"a cat 18446744073709551615", "a cat 0", "a dog 18446744073709551615", "a dog 0"}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const auto specs = Expand(TwoPrompts(row.repeats, row.seed), {});
    ASSERT_TRUE(specs.ok()) << specs.status();
    std::vector<std::string> jobs;
    for (const v1::JobSpec& spec : *specs) {
      jobs.push_back(spec.text_prompt() + " " + (spec.has_seed() ? std::to_string(spec.seed()) : "-"));
    }
    EXPECT_EQ(jobs, row.jobs);
  }
}

TEST(Expand, NeedsASeedToCountFrom) {
  const auto specs = Expand(TwoPrompts(2, std::nullopt), {});
  EXPECT_TRUE(absl::IsInvalidArgument(specs.status()));
  EXPECT_EQ(
      specs.status().message(),
      "each_example_n_times: 2 videos of a prompt need a seed to count from; give one, as in --set seed=100");
}

TEST(Expand, RefusesMoreJobsThanTheLimit) {
  EXPECT_TRUE(CheckCount(TwoPrompts(500, 1), 1000).ok());
  const absl::Status status = CheckCount(TwoPrompts(501, 1), 1000);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(),
            "this makes 1002 jobs (2 prompts, each 501 times), more than the 1000 of --count-limit");
}

TEST(Expand, NamesFirstFramesByTheirHash) {
  JobSpec job;
  job.mode = Mode::kI2v;
  job.prompts = {{"a cat", "/a.png"}, {"a dog", "/b.png"}, {"a cow", "/a.png"}};
  const auto specs = Expand(job, {.first_frames = {{"/a.png", "aa"}, {"/b.png", "bb"}}});
  ASSERT_TRUE(specs.ok()) << specs.status();
  std::vector<std::string> hashes;
  for (const v1::JobSpec& spec : *specs) {
    EXPECT_EQ(spec.mode(), v1::MODE_I2V);
    hashes.push_back(spec.first_frame_sha256());
  }
  EXPECT_THAT(hashes, ElementsAre("aa", "bb", "aa"));
}

TEST(Batches, KeepTheOrderAndNumberTheJobsThroughout) {
  std::vector<v1::JobSpec> specs(2001);
  for (std::size_t i = 0; i < specs.size(); ++i) specs[i].set_seed(i);
  const std::vector<v1::SubmitJobsRequest> batches = Batches(specs, "night-1");
  std::vector<int> sizes;
  std::uint64_t next = 0;
  for (const v1::SubmitJobsRequest& batch : batches) {
    sizes.push_back(batch.requests_size());
    for (const v1::SubmitJobRequest& request : batch.requests()) {
      EXPECT_EQ(request.spec().seed(), next);
      EXPECT_EQ(request.request_id(), "night-1-" + std::to_string(next++));
    }
  }
  EXPECT_THAT(sizes, ElementsAre(1000, 1000, 1));
  EXPECT_THAT(Batches({}, "night-1"), IsEmpty());
}

TEST(Batches, StayWithinTheBytesOfOneCall) {
  std::vector<v1::JobSpec> specs(300);
  for (v1::JobSpec& spec : specs) spec.set_text_prompt(std::string(60'000, 'x'));
  int jobs = 0;
  const std::vector<v1::SubmitJobsRequest> batches = Batches(specs, "night-1");
  EXPECT_EQ(batches.size(), 3u);
  for (const v1::SubmitJobsRequest& batch : batches) {
    EXPECT_LE(batch.ByteSizeLong(), kBatchBytesMax);
    jobs += batch.requests_size();
  }
  EXPECT_EQ(jobs, 300);
}

TEST(Expand, WarnsOfWhatTheClusterWillNotDo) {
  EXPECT_THAT(ExpandWarnings(Parse("text_prompt: a cat\n")), IsEmpty());
  EXPECT_THAT(ExpandWarnings(Parse("text_prompt: a cat\nckpt_dir: /w\nuse_tensor_cores: true\n")),
              ElementsAre(HasSubstr("use_tensor_cores"), HasSubstr("ckpt_dir is ignored")));
}

TEST(Expand, RefusesAdaptersThatAreNoNames) {
  for (const std::string path : {"/abs/a.safetensors", "rel/b", "c.safetensors"}) {
    const absl::Status status =
        Expand(Parse("text_prompt: a cat\nloras: [style, " + path + "]\n"), {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(std::string(status.message()),
                testing::AllOf(HasSubstr("loras: \""), HasSubstr("is a file; a cluster's job names")));
  }
}

}  // namespace
}  // namespace ovi::client
