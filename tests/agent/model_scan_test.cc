// Which models a node has, and what they need.
#include "worker/agent/model_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/sha256.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// A models' folder with copies of mini-ovi, and a need that is counted, not computed.
class ModelScanTest : public testing::Test {
 protected:
  std::string Add(const std::string& name) {
    fs::copy(OVI_SOURCE_DIR "/configs/models/mini-ovi", temp / name, fs::copy_options::recursive);
    return temp / name;
  }
  std::vector<v1::ModelInfo> Scan(const std::string& weights_dir = "", const std::string& gpus = "gpus 2") {
    return ModelScan(
               {.models_dir = temp.path(),
                .weights_dir = weights_dir,
                .cache_file = cache / "models.json",
                .gpus = gpus,
                .needs_of = [this](const ModelFolder& model) -> absl::StatusOr<std::vector<v1::MemoryNeed>> {
                  ++needs_computed;
                  opened_weights = model.weights_dir;
                  if (need_fails) return absl::InvalidArgumentError("tokenizer: broken");
                  std::vector<v1::MemoryNeed> needs(2);
                  needs[0].set_world_size(1);
                  needs[0].set_as_executed_bytes(100);
                  needs[0].set_reference_bytes(200);
                  needs[0].set_low_rank_bytes(50);
                  needs[0].set_as_executed_bytes_useful(300);
                  needs[0].set_low_rank_bytes_useful(150);
                  needs[1].set_world_size(2);
                  needs[1].set_fsdp(true);
                  needs[1].set_vram_mode(v1::VRAM_MODE_ULTRA_LOW);
                  return needs;
                }})
        .Scan();
  }
  static void Append(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::app | std::ios::binary) << text;
  }

  TempFolder temp, cache;
  int needs_computed = 0;
  bool need_fails = false;
  std::string opened_weights;
};

TEST_F(ModelScanTest, ListsModelsByName) {
  Add("b");
  Add("a");
  temp.Write("readme.txt", "no model");
  fs::create_directory(temp / "empty");
  const std::vector<v1::ModelInfo> models = Scan();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].name(), "a");
  EXPECT_EQ(models[0].problem(), "");
  ASSERT_EQ(models[0].memory_needs_size(), 2);
  EXPECT_EQ(models[0].memory_needs(0).as_executed_bytes(), 100);
  EXPECT_EQ(models[0].memory_needs(0).reference_bytes(), 200);
  EXPECT_TRUE(models[0].memory_needs(1).fsdp());
  EXPECT_GT(models[0].weights_bytes(), 20 << 20);
  EXPECT_TRUE(IsSha256Hex(models[0].config_sha256()));
  EXPECT_TRUE(IsSha256Hex(models[0].weights_sha256()));
  EXPECT_EQ(models[0].config_sha256(), models[1].config_sha256()) << "the same files";
  EXPECT_EQ(needs_computed, 1) << "and so the same need";
  for (const v1::MemoryNeed& need :
       {Scan()[0].memory_needs(0), models[0].memory_needs(0)}) {  // kept, and new
    EXPECT_EQ(need.low_rank_bytes(), 50);
    EXPECT_EQ(need.as_executed_bytes_useful(), 300);
    EXPECT_EQ(need.low_rank_bytes_useful(), 150);
  }
  EXPECT_EQ(needs_computed, 1);
}

TEST_F(ModelScanTest, ComputesAgainOnlyWhatHasChanged) {
  const std::string dir = Add("a");
  const v1::ModelInfo first = Scan()[0];
  EXPECT_EQ(Scan()[0].SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(needs_computed, 1);
  Append(dir + "/MMAudio/ext_weights/vae_config.json", " ");
  const v1::ModelInfo configured = Scan()[0];
  EXPECT_NE(configured.config_sha256(), first.config_sha256());
  EXPECT_EQ(configured.weights_sha256(), first.weights_sha256());
  EXPECT_EQ(needs_computed, 2);
  Append(dir + "/Wan2.2-TI2V-5B/google/umt5-xxl/spiece.model", "x");
  EXPECT_NE(Scan()[0].weights_sha256(), first.weights_sha256());
  EXPECT_EQ(needs_computed, 3);
  Scan("", "gpus 4");
  EXPECT_EQ(needs_computed, 4) << "other GPUs make other groups";
}

TEST_F(ModelScanTest, DoesWithoutACacheThatIsBroken) {
  Add("a");
  for (const char* text : {"", "{", "[1]", "{\"k\": [{\"as_executed_bytes\": \"many\"}]}", "{\"k\": [1]}"}) {
    cache.Write("models.json", text);
    EXPECT_EQ(Scan()[0].memory_needs(0).as_executed_bytes(), 100) << text;
    EXPECT_EQ(Scan()[0].memory_needs(0).as_executed_bytes(), 100) << text;
  }
  EXPECT_EQ(needs_computed, 5) << "written anew each time";
}

TEST_F(ModelScanTest, SaysWhatIsWrongWithAFolder) {
  fs::remove(Add("no-weights") + "/MMAudio/ext_weights/v1-16.safetensors");
  Append(Add("bad-config") + "/Ovi/configs/video.json", "}");
  Append(Add("bad-spec") + "/model_spec.json", "}");
  const std::vector<v1::ModelInfo> models = Scan();
  ASSERT_EQ(models.size(), 3u);
  EXPECT_THAT(models[0].problem(), HasSubstr("Ovi/configs/video.json"));
  EXPECT_THAT(models[1].problem(), HasSubstr("model_spec.json"));
  EXPECT_THAT(models[2].problem(), HasSubstr("v1-16"));
  EXPECT_EQ(models[2].weights_sha256(), "");
  EXPECT_EQ(needs_computed, 0);
}

TEST_F(ModelScanTest, TriesAgainWhatCouldNotBeComputed) {
  Add("a");
  need_fails = true;
  EXPECT_EQ(Scan()[0].problem(), "tokenizer: broken");
  need_fails = false;
  EXPECT_EQ(Scan()[0].problem(), "");
}

TEST_F(ModelScanTest, LooksForWeightsBesideTheConfigurationAndThenInTheirFolder) {
  const std::string dir = Add("a");
  const TempFolder weights;
  EXPECT_EQ(Scan(weights.path())[0].problem(), "");
  EXPECT_EQ(opened_weights, dir);
  for (const char* file : {"Ovi", "Wan2.2-TI2V-5B", "MMAudio"})
    fs::copy(dir + "/" + file, weights / file, fs::copy_options::recursive);
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.path().extension() == ".safetensors") fs::remove(entry.path());
  }
  EXPECT_EQ(Scan()[0].weights_sha256(), "");
  Append(weights / "Wan2.2-TI2V-5B/google/umt5-xxl/spiece.model",
         "x");  // so that nothing comes from the cache
  EXPECT_EQ(Scan(weights.path())[0].problem(), "");
  EXPECT_EQ(opened_weights, weights.path());
}

TEST_F(ModelScanTest, HasNothingToSayOfAFolderThatIsNotThere) {
  fs::remove_all(temp.path());
  EXPECT_TRUE(Scan().empty());
}

}  // namespace
}  // namespace ovi
