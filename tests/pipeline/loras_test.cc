// Adapters of a job: where they are found, and that a clip with them is that of a model with them in its
// weights.
#include "worker/pipeline/loras.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/guard_backend.h"
#include "tests/pipeline/clip_sinks.h"
#include "tests/pipeline/mini_adapter.h"
#include "tests/pipeline/mini_model.h"
#include "worker/pipeline/clip_metadata.h"
#include "worker/pipeline/engine.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/safetensors_writer.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr int kSteps = 3;
constexpr double kStrength = 0.5;

ModelFolder Model(const std::string& folder) {
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(folder, "");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.value_or(ModelFolder{});
}

// mini-ovi with kStrength times the adapter in its checkpoint.
void WriteBakedModel(const std::string& folder) {
  LinkModel(folder);
  const std::string path = folder + "/Ovi/model_96x96_1s.safetensors";
  const absl::StatusOr<std::unique_ptr<WeightSource>> source = OpenWeights(path);
  ASSERT_TRUE(source.ok()) << source.status();
  std::map<std::string, NamedTensor> tensors;
  for (const TensorInfo& info : (*source)->List()) {
    tensors[info.name] = {info.shape, ToFloats(*(*source)->Find(info.name))};
  }
  for (const MiniPair& pair : MiniPairs()) {
    NamedTensor& weight = tensors.at(pair.module + ".weight");
    ASSERT_EQ(weight.shape, (Shape{pair.rows, pair.columns}));
    for (std::size_t i = 0; i < weight.values.size(); ++i) {
      const std::size_t row = i / static_cast<std::size_t>(pair.columns);
      const std::size_t column = i % static_cast<std::size_t>(pair.columns);
      double sum = 0;
      for (std::size_t k = 0; k < 2; ++k) {
        sum += static_cast<double>(pair.up[row * 2 + k]) *
               static_cast<double>(pair.down[k * static_cast<std::size_t>(pair.columns) + column]);
      }
      weight.values[i] = static_cast<float>(static_cast<double>(weight.values[i]) + kStrength * sum);
    }
  }
  fs::remove(path);  // a link
  ASSERT_EQ(WriteSafetensors(path, tensors, {}), absl::OkStatus());
}

Latents Denoised(const ModelFolder& model, std::vector<LoraAdapter> loras, PrecisionPolicy policy) {
  JobSpec job;
  job.sample_steps = kSteps;
  const PromptItem item{.text = "A red circle moves right across a black background. Audio: silence."};
  absl::StatusOr<ClipRequest> clip = ResolveClip(job, item, 0, model, std::nullopt);
  EXPECT_TRUE(clip.ok()) << clip.status();
  clip->policy = policy;
  Latents latents;
  std::atomic<bool> enough{false};  // before the decoders, which would take most of the time
  ClipInputs inputs;
  inputs.loras = std::move(loras);
  inputs.observer.on_step = [&](int step, std::span<const float> video, std::span<const float> audio) {
    latents.video.assign(video.begin(), video.end());
    latents.audio.assign(audio.begin(), audio.end());
    enough = step + 1 == kSteps;
  };
  const std::unique_ptr<Backend> backend = MakeGuardBackend(MakeCpuBackend());
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(*backend, std::int64_t{64} << 20, model);
  EXPECT_TRUE(engine.ok()) << engine.status();
  DroppingSink sink;
  const absl::Status status = (*engine)->Generate(*clip, inputs, {.cancelled = &enough}, sink).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  return latents;
}

double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double error = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(error / size);
}

TEST(Loras, MakeTheClipOfAModelThatHasThemInItsWeights) {
  const TempFolder folder;
  WriteBakedModel(folder / "baked");
  const ModelFolder plain = Model(MiniModel());
  const ModelFolder baked = Model(folder / "baked");
  const std::string adapter = folder.Write("adapter.safetensors", MiniAdapter());
  for (const PrecisionPolicy policy : {PrecisionPolicy::kReference, PrecisionPolicy::kAsExecuted}) {
    const absl::StatusOr<std::vector<LoraAdapter>> loras = OpenLoras({{adapter, kStrength}}, plain);
    ASSERT_TRUE(loras.ok()) << loras.status();
    const Latents merged = Denoised(plain, *loras, policy);
    const Latents expected = Denoised(baked, {}, policy);
    const Latents without = Denoised(plain, {}, policy);
    // The weights are the same in f32 but for the last bit of some, so bf16 rarely rounds them apart.
    const double limit = policy == PrecisionPolicy::kReference ? 1e-5 : 1e-4;
    RecordProperty(policy == PrecisionPolicy::kReference ? "reference" : "as_executed",
                   std::to_string(RelativeError(merged.video, expected.video)) + " with, " +
                       std::to_string(RelativeError(without.video, expected.video)) + " without");
    EXPECT_LT(RelativeError(merged.video, expected.video), limit);
    EXPECT_LT(RelativeError(merged.audio, expected.audio), limit);
    EXPECT_GT(RelativeError(without.video, expected.video), 0.01) << "the adapter does nothing to see";
    EXPECT_GT(RelativeError(without.audio, expected.audio), 0.01) << "the adapter does nothing to hear";
  }
}

TEST(Loras, AreFoundByNameInTheModelsFolder) {
  const TempFolder folder;
  LinkModel(folder / "models/mini-ovi");
  fs::create_directories(folder / "models/loras");
  const std::string file = folder.Write("models/loras/style.v2.safetensors", MiniAdapter());
  for (const std::string& model : {folder / "models/mini-ovi", folder / "models/mini-ovi/"}) {
    EXPECT_EQ(LoraFile("style.v2", Model(model)), file);
    const absl::StatusOr<std::vector<LoraAdapter>> loras = OpenLoras({{"style.v2", 2}}, Model(model));
    ASSERT_TRUE(loras.ok()) << loras.status();
    ASSERT_EQ(loras->size(), 1u);
    EXPECT_EQ((*loras)[0].path, file);
    EXPECT_EQ((*loras)[0].strength, 2);
    EXPECT_EQ((*loras)[0].changes.size(), MiniPairs().size());
  }
  EXPECT_EQ(LoraFile("style.safetensors", Model(MiniModel())), "style.safetensors") << "a file's path";
  EXPECT_EQ(LoraFile("a/b", Model(MiniModel())), "a/b");
}

TEST(Loras, AreRefusedWhereTheyAreMissingOrWrong) {
  const TempFolder folder;
  const std::string wrong =
      folder.Write("wrong.safetensors", test::TensorFile().Add("x.lora_A.weight", {1, 1}, {1}).bytes());
  const struct {
    std::string path;
    std::string message;
    absl::StatusCode code;
  } rows[] = {
      {"style", "/loras/style.safetensors", absl::StatusCode::kFailedPrecondition},
      {folder / "gone.safetensors", folder / "gone.safetensors", absl::StatusCode::kFailedPrecondition},
      {wrong, wrong + ": no adapter for this model", absl::StatusCode::kInvalidArgument}};
  for (const auto& row : rows) {
    const absl::Status status = OpenLoras({{row.path, 1}}, Model(MiniModel())).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("loras: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

TEST(Loras, StandInTheResultsMetadata) {
  JobSpec job;
  job.loras = {{"style", 1}, {"/a/look.safetensors", -0.25}};
  EXPECT_EQ(ClipMetadata({}, job, {}, {}).at("loras"), "style 1, /a/look.safetensors -0.25");
  EXPECT_FALSE(ClipMetadata({}, {}, {}, {}).contains("loras"));
}

}  // namespace
}  // namespace ovi
