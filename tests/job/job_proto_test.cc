#include "worker/job/job_proto.h"

#include <gtest/gtest.h>

#include "worker/job/parse_job.h"

namespace ovi {
namespace {

v1::JobSpec Full() {
  v1::JobSpec spec;
  spec.set_model_name("960x960_10s");
  spec.set_mode(v1::MODE_T2V);
  spec.set_text_prompt("A baker says, <S>Listen.<E>");
  spec.set_video_negative_prompt("blur");
  spec.set_audio_negative_prompt("");
  spec.set_sample_steps(30);
  spec.set_solver(v1::SOLVER_DPMPP);
  spec.set_shift(4.5);
  spec.set_video_guidance_scale(3.5);
  spec.set_audio_guidance_scale(2.5);
  spec.set_slg_layer(9);
  spec.set_seed(18446744073709551615U);
  spec.mutable_size()->set_height(704);
  spec.mutable_size()->set_width(1280);
  spec.set_duration_seconds(10);
  spec.set_vram_mode(v1::VRAM_MODE_FP8_OFFLOAD);
  spec.set_max_vram_bytes(std::int64_t{8} << 30);
  spec.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
  spec.set_gpu_count(4);
  spec.set_enable_lora(true);
  spec.add_loras()->set_path("style");
  spec.mutable_loras(0)->set_strength(0.5);
  spec.set_precision(v1::PRECISION_AS_EXECUTED);
  spec.set_noise_layout(v1::NOISE_LAYOUT_TORCH_CUDA);
  spec.mutable_torch_cuda()->set_sm_count(108);
  spec.mutable_torch_cuda()->set_max_threads_per_sm(2048);
  return spec;
}

// The same job as a YAML: every key means the same on both ways in.
constexpr const char* kYaml = R"(
model_name: 960x960_10s
mode: t2v
text_prompt: "A baker says, <S>Listen.<E>"
video_negative_prompt: blur
audio_negative_prompt: ""
sample_steps: 30
solver_name: dpm++
shift: 4.5
video_guidance_scale: 3.5
audio_guidance_scale: 2.5
slg_layer: 9
seed: 18446744073709551615
resolution: "704x1280"
duration: 10
vram_mode: fp8_offload
max_vram: 8GiB
gpu_allocation: multi_4
enable_lora: true
loras: [{path: style, strength: 0.5}]
precision: as_executed
noise_layout: torch_cuda
torch_cuda_sm_count: 108
torch_cuda_max_threads_per_sm: 2048
)";

TEST(JobFromProto, MeansTheSameAsTheYaml) {
  const absl::StatusOr<JobSpec> proto = JobFromProto(Full());
  const absl::StatusOr<JobSpec> yaml = ParseJob(kYaml, "job.yaml", "", {});
  ASSERT_TRUE(proto.ok()) << proto.status();
  ASSERT_TRUE(yaml.ok()) << yaml.status();
  EXPECT_EQ(proto->model_name, yaml->model_name);
  EXPECT_EQ(proto->mode, yaml->mode);
  EXPECT_EQ(proto->prompts, yaml->prompts);
  EXPECT_EQ(proto->video_negative_prompt, yaml->video_negative_prompt);
  EXPECT_EQ(proto->audio_negative_prompt, yaml->audio_negative_prompt);
  EXPECT_EQ(proto->sample_steps, yaml->sample_steps);
  EXPECT_EQ(proto->solver, yaml->solver);
  EXPECT_EQ(proto->shift, yaml->shift);
  EXPECT_EQ(proto->video_guidance_scale, yaml->video_guidance_scale);
  EXPECT_EQ(proto->audio_guidance_scale, yaml->audio_guidance_scale);
  EXPECT_EQ(proto->slg_layer, yaml->slg_layer);
  EXPECT_EQ(proto->seed, yaml->seed);
  EXPECT_EQ(proto->size, yaml->size);
  EXPECT_EQ(proto->duration_seconds, yaml->duration_seconds);
  EXPECT_EQ(proto->vram_mode, yaml->vram_mode);
  EXPECT_EQ(proto->max_vram_bytes, yaml->max_vram_bytes);
  EXPECT_EQ(proto->gpu_allocation, yaml->gpu_allocation);
  EXPECT_EQ(proto->gpu_count, yaml->gpu_count);
  EXPECT_EQ(proto->enable_lora, yaml->enable_lora);
  EXPECT_EQ(proto->loras, yaml->loras);
  EXPECT_EQ(proto->precision, yaml->precision);
  EXPECT_EQ(proto->noise_layout, yaml->noise_layout);
  EXPECT_EQ(proto->torch_cuda, yaml->torch_cuda);
}

TEST(JobFromProto, LeavesAbsentFieldsToTheModel) {
  v1::JobSpec spec;
  spec.set_text_prompt("A cat.");
  const absl::StatusOr<JobSpec> job = JobFromProto(spec);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_FALSE(job->sample_steps || job->solver || job->shift || job->seed || job->size || job->slg_layer);
  EXPECT_EQ(job->mode, Mode::kT2v);
  EXPECT_EQ(job->gpu_allocation, GpuAllocation::kAuto);
}

TEST(JobFromProto, AFirstFrameMeansImageToVideo) {
  v1::JobSpec spec;
  spec.set_text_prompt("A cat.");
  spec.set_first_frame_sha256(std::string(64, 'a'));
  const absl::StatusOr<JobSpec> job = JobFromProto(spec);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->mode, Mode::kI2v);
}

TEST(CheckJobSpec, TellsAllThatIsWrongAtOnce) {
  v1::JobSpec spec = Full();
  EXPECT_TRUE(CheckJobSpec(spec).empty());
  spec.set_text_prompt("");
  spec.set_sample_steps(0);
  spec.set_priority(5000);
  const std::vector<v1::FieldViolation> violations = CheckJobSpec(spec);
  ASSERT_EQ(violations.size(), 3U);
  EXPECT_EQ(violations[0].field(), "priority");
  EXPECT_EQ(violations[1].field(), "text_prompt");
  EXPECT_EQ(violations[2].field(), "sample_steps");
  EXPECT_EQ(violations[2].description(), "must be a whole number from 1 to 1000, got 0");
}

TEST(CheckJobSpec, TakesNamesOfAdaptersOnly) {
  v1::JobSpec spec = Full();
  for (const std::string name : {"style", "style-v2.1_b", "A"}) {
    spec.mutable_loras(0)->set_path(name);
    EXPECT_TRUE(CheckJobSpec(spec).empty()) << name;
  }
  for (const std::string& name :
       {std::string(), std::string(".."), std::string(".hidden"), std::string("a/b"), std::string("/a"),
        std::string("../a"), std::string("a b"), std::string("style.safetensors"), std::string("a\0b", 3),
        std::string(129, 'a')}) {
    spec.mutable_loras(0)->set_path(name);
    const std::vector<v1::FieldViolation> violations = CheckJobSpec(spec);
    ASSERT_EQ(violations.size(), 1U) << name;
    EXPECT_EQ(violations[0].field(), "loras[0].path");
  }
}

}  // namespace
}  // namespace ovi
