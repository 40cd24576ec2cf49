// check_golden on sets other than the shipped one: a set of other sizes passes, a set that is not met fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/subprocess.h"
#include "tests/temp_folder.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/safetensors_writer.h"

namespace ovi::golden {
namespace {

namespace fs = std::filesystem;

using nlohmann::json;
using Tensors = std::map<std::string, NamedTensor>;

const std::string kOpen = OVI_SOURCE_DIR "/tests/golden/open";

// A copy of the shipped set: links to its files, a manifest of its own.
class Variant {
 public:
  Variant() {
    std::ifstream file(kOpen + "/manifest.json");
    manifest = json::parse(file);
    for (const auto& entry : fs::directory_iterator(kOpen)) {
      if (entry.path().extension() == ".safetensors")
        fs::create_symlink(entry.path(), At(entry.path().stem()));
    }
  }

  std::string At(const std::string& file) const { return folder_ / (file + ".safetensors"); }

  // Leaves only the tests of these ids.
  void Keep(const std::vector<std::string>& ids) {
    json kept = json::array();
    for (const json& test : manifest["tests"]) {
      if (std::find(ids.begin(), ids.end(), test["id"]) != ids.end()) kept.push_back(test);
    }
    manifest["tests"] = kept;
  }

  json& Tolerance(const std::string& file, const std::string& tensor) {
    for (json& entry : manifest["tensors"][file]) {
      if (entry["name"] == tensor) return entry["tolerance"];
    }
    ADD_FAILURE() << "no tensor " << tensor;
    return manifest;
  }

  // Replaces a weight file by what `change` makes of it.
  void Rewrite(const std::string& file, const std::function<void(Tensors&)>& change) {
    const absl::StatusOr<std::unique_ptr<WeightSource>> source =
        OpenWeights(kOpen + "/" + file + ".safetensors");
    ASSERT_TRUE(source.ok()) << source.status();
    Tensors tensors;
    for (const TensorInfo& info : (*source)->List()) {
      const absl::StatusOr<HostTensor> tensor = (*source)->Find(info.name);
      ASSERT_TRUE(tensor.ok()) << tensor.status();
      tensors[info.name] = {tensor->shape, ToFloats(*tensor)};
    }
    change(tensors);
    fs::remove(At(file));
    const absl::Status written = WriteSafetensors(At(file), tensors, {});
    ASSERT_TRUE(written.ok()) << written;
  }

  CapturedRun Check(const std::vector<std::string>& more = {}) const {
    folder_.Write("manifest.json", manifest.dump());
    std::vector<std::string> argv = {OVI_CHECK_GOLDEN, folder_.path()};
    argv.insert(argv.end(), more.begin(), more.end());
    absl::StatusOr<CapturedRun> run = RunAndCapture(argv, {.timeout = std::chrono::minutes(4)});
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? *std::move(run) : CapturedRun{{.code = -1, .signal = 0}, "", ""};
  }

  json manifest;

 private:
  TempFolder folder_;
};

// `more` rows, or elements, at the end: those of the beginning again.
void AppendRows(NamedTensor& tensor, std::int64_t more) {
  const std::int64_t columns = tensor.shape.elements() / tensor.shape[0];
  const std::vector<float> rows(tensor.values.begin(), tensor.values.begin() + more * columns);
  tensor.values.insert(tensor.values.end(), rows.begin(), rows.end());
  tensor.shape.set(0, tensor.shape[0] + more);
}

// `more` columns of zeros.
void AppendZeroColumns(NamedTensor& tensor, std::int64_t more) {
  std::vector<float> values;
  for (std::int64_t row = 0; row < tensor.shape[0]; ++row) {
    const auto begin = tensor.values.begin() + row * tensor.shape[1];
    values.insert(values.end(), begin, begin + tensor.shape[1]);
    values.insert(values.end(), static_cast<std::size_t>(more), 0.0f);
  }
  tensor.values = std::move(values);
  tensor.shape.set(1, tensor.shape[1] + more);
}

// One layer more: `prefix` of layer `from` again as layer `to`, but what it adds to the residual is zero.
void AppendIdleLayer(Tensors& tensors, const std::string& from, const std::string& to,
                     const std::vector<std::string>& outputs) {
  Tensors layer;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(from)) layer[absl::StrReplaceAll(name, {{from, to}})] = tensor;
  }
  for (const std::string& output : outputs) {
    for (auto& [name, tensor] : layer) {
      if (name.starts_with(to + output)) std::fill(tensor.values.begin(), tensor.values.end(), 0.0f);
    }
  }
  tensors.merge(layer);
}

// Every network one layer deeper, its hidden layers wider, the vocabulary larger: of what was added nothing
// reaches an output, so the references hold.
TEST(CheckGolden, PassesASetOfOtherSizes) {
  constexpr std::int64_t kMore = 32;
  Variant variant;
  variant.Rewrite("weights_dit", [](Tensors& tensors) {
    for (const std::string tower : {"video_model.", "audio_model."}) {
      for (int i = 0; i < 3; ++i) {
        const std::string block = absl::StrCat(tower, "blocks.", i, ".ffn.");
        AppendRows(tensors.at(block + "0.weight"), kMore);
        AppendRows(tensors.at(block + "0.bias"), kMore);
        AppendZeroColumns(tensors.at(block + "2.weight"), kMore);
      }
      AppendIdleLayer(tensors, tower + "blocks.0.", tower + "blocks.3.",
                      {"self_attn.o.", "cross_attn.o.", "ffn.2."});
    }
  });
  for (const char* tower : {"video_dit", "audio_dit"}) {
    json& config = variant.manifest["configs"][tower];
    config["ffn_dim"] = config["ffn_dim"].get<int>() + kMore;
    config["num_layers"] = 4;
  }
  variant.Rewrite("weights_t5", [](Tensors& tensors) {
    for (const std::string block : {"blocks.0.ffn.", "blocks.1.ffn."}) {
      AppendRows(tensors.at(block + "fc1.weight"), kMore);
      AppendRows(tensors.at(block + "gate.0.weight"), kMore);
      AppendZeroColumns(tensors.at(block + "fc2.weight"), kMore);
    }
    AppendIdleLayer(tensors, "blocks.0.", "blocks.2.", {"attn.o.", "ffn.fc2."});
    AppendRows(tensors.at("token_embedding.weight"), kMore);
  });
  json& text = variant.manifest["configs"]["t5"];
  text["dim_ffn"] = text["dim_ffn"].get<int>() + kMore;
  text["vocab"] = text["vocab"].get<int>() + kMore;
  text["num_layers"] = 3;
  const CapturedRun run = variant.Check();
  EXPECT_EQ(run.exit.code, 0) << run.stdout_text << run.stderr_tail;
  EXPECT_NE(run.stdout_text.find("24 tests, 209 tensors, 0 failures"), std::string::npos) << run.stdout_text;
}

struct Refusal {
  const char* name;
  std::vector<std::string> says;
  std::function<void(Variant&)> change;
  std::vector<std::string> arguments = {};
};

std::vector<Refusal> Refusals() {
  return {
      {"UnknownTestId",
       {"time_travel: unknown test id", "FAIL"},
       [](Variant& v) {
         v.Keep({"time_embedding"});
         v.manifest["tests"][0]["id"] = "time_travel";
       }},
      {"OutputThatIsNotComputed",
       {"time.t  not computed", "FAIL"},
       [](Variant& v) {
         v.Keep({"time_embedding"});
         v.manifest["tests"][0]["outputs"].push_back("time.t");
       }},
      {"OutputWithoutAReference",
       {"time.nowhere", "FAIL"},
       [](Variant& v) {
         v.Keep({"time_embedding"});
         v.manifest["tests"][0]["outputs"].push_back("time.nowhere");
       }},
      {"LimitThatIsNotMet",
       {"time.video.e0 ", "limits 1e-12 / 1e-12  FAIL"},
       [](Variant& v) {
         v.Keep({"time_embedding"});
         v.Tolerance("ref_dit", "time.video.e0") = {{"rel_l2", 1e-12}, {"max_abs", 1e-12}};
       }},
      {"OtherWeights",
       {"head.video.y", "FAIL"},
       [](Variant& v) {
         v.Keep({"head"});
         v.Rewrite("weights_dit", [](Tensors& t) { t.at("video_model.head.head.bias").values[0] += 0.01f; });
       }},
      {"NotANumberWithoutALimit",
       {"head.video.y  not finite", "FAIL"},
       [](Variant& v) {
         v.Keep({"head"});
         v.Tolerance("ref_dit", "head.video.y") = json();
         v.Rewrite("weights_dit", [](Tensors& t) { t.at("video_model.head.head.bias").values[0] = NAN; });
       }},
      {"NotANumberAsExecuted",
       {"head.video.y  not finite", "FAIL"},
       [](Variant& v) {
         v.Keep({"head"});
         v.Rewrite("weights_dit", [](Tensors& t) { t.at("video_model.head.head.bias").values[0] = NAN; });
       },
       {"--policy", "as_executed"}},
      {"WeightsOfAnotherSize",
       {"video_model.blocks.0.ffn.0.weight", "FAIL"},
       [](Variant& v) {
         v.Keep({"head"});
         v.manifest["configs"]["video_dit"]["ffn_dim"] = 96;
       }},
      {"MissingFile", {"weights_t5.safetensors"}, [](Variant& v) { fs::remove(v.At("weights_t5")); }},
      {"NoTests", {"no test"}, [](Variant& v) { v.Keep({}); }},
  };
}

class CheckGoldenRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(CheckGoldenRefuses, ASetThatIsNotMet) {
  Variant variant;
  GetParam().change(variant);
  const CapturedRun run = variant.Check(GetParam().arguments);
  EXPECT_EQ(run.exit.code, 1);
  EXPECT_EQ(run.exit.signal, 0);
  const std::string text = run.stdout_text + run.stderr_tail;
  for (const std::string& part : GetParam().says) EXPECT_NE(text.find(part), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(Sets, CheckGoldenRefuses, testing::ValuesIn(Refusals()),
                         [](const testing::TestParamInfo<Refusal>& row) { return row.param.name; });

}  // namespace
}  // namespace ovi::golden
