// Names that people type for cards, and the file of cards that comes with the program.
#include "worker/plan/gpu_catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

using testing::HasSubstr;

std::vector<GpuModel> Shipped() {
  const absl::StatusOr<std::vector<GpuModel>> gpus = LoadGpus(OVI_SOURCE_DIR "/configs/gpus.yaml");
  EXPECT_TRUE(gpus.ok()) << gpus.status();
  return gpus.value_or(std::vector<GpuModel>{});
}

TEST(GpuCatalog, OfThisRepositoryIsPlausible) {
  const std::vector<GpuModel> gpus = Shipped();
  EXPECT_GE(gpus.size(), 17u);
  for (const GpuModel& gpu : gpus) {
    SCOPED_TRACE(gpu.name);
    EXPECT_GE(gpu.bytes, std::int64_t{10} << 30);
    EXPECT_LE(gpu.bytes, std::int64_t{80} << 30);
    // Tensor cores do twice as much in 8 bit as in bf16; GeForce cards, whose f32 sums are slowed, four times
    // in int8.
    const double int8 = gpu.int8_ops / gpu.bf16_flops;
    EXPECT_TRUE((int8 > 1.95 && int8 < 2.05) || (int8 > 3.9 && int8 < 4.1)) << int8;
    if (gpu.fp8_flops > 0) {
      EXPECT_NEAR(gpu.fp8_flops / gpu.bf16_flops, 2.0, 0.05);
    }
    EXPECT_GE(gpu.memory_bytes_per_second, 280e9);
    EXPECT_GE(gpu.link_bytes_per_second, 15e9);
  }
}

TEST(GpuCatalog, FindsTheFileBesideTheProgramOrWhereTheUserSays) {
  EXPECT_THAT(DefaultGpusFile(), HasSubstr("gpus.yaml"));
  ASSERT_EQ(setenv("OVI_GPUS_FILE", "other.yaml", 1), 0);
  EXPECT_EQ(DefaultGpusFile(), "other.yaml");
  ASSERT_EQ(unsetenv("OVI_GPUS_FILE"), 0);
}

TEST(FindGpu, TakesWhatPeopleType) {
  const std::vector<GpuModel> gpus = Shipped();
  const struct {
    const char* words;
    const char* name;
  } rows[] = {
      {"3060", "RTX 3060 12GB"},
      {"rtx 3060", "RTX 3060 12GB"},
      {"RTX3060", "RTX 3060 12GB"},
      {"NVIDIA GeForce RTX 3060", "RTX 3060 12GB"},
      {"3060 12 gb", "RTX 3060 12GB"},
      {"3090", "RTX 3090"},  // not the 3090 Ti, which has a word more
      {"3090ti", "RTX 3090 Ti"},
      {"4060 ti", "RTX 4060 Ti 16GB"},
      {"a100-80gb", "A100 80GB"},
      {"H100 SXM", "H100 SXM"},
      {"l4", "L4"},
      {"L40S", "L40S"},
  };
  for (const auto& row : rows) {
    const absl::StatusOr<GpuModel> gpu = FindGpu(gpus, row.words);
    ASSERT_TRUE(gpu.ok()) << gpu.status();
    EXPECT_EQ(gpu->name, row.name) << row.words;
  }
}

TEST(FindGpu, NamesTheNearOnesWhereItIsNotSure) {
  const struct {
    const char* words;
    const char* error;
  } rows[] = {
      {"a100", "\"a100\" may be one of several cards: A100 40GB, A100 80GB"},
      {"ti", "may be one of several cards: RTX 3090 Ti, RTX 4060 Ti 16GB, RTX 4070 Ti Super"},
      {"RTX 4090 Super",
       "no card called \"RTX 4090 Super\" is known; these come near: RTX 4070 Ti Super, RTX 4090"},
      {"voodoo", "no card called \"voodoo\" is known; known are: RTX 3060 12GB, "},
      {"rtx", "known are: RTX 3060 12GB, "},
      {"", "no card called \"\" is known"},
  };
  const std::vector<GpuModel> gpus = Shipped();
  for (const auto& row : rows) {
    const absl::Status status = FindGpu(gpus, row.words).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.words;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.error));
  }
}

TEST(ParseGpus, SaysWhereAndWhatIsWrong) {
  const std::string rest =
      "memory_mib: 1024, bf16_tflops: 1, fp8_tflops: 0, int8_tops: 2, memory_gb_per_second: 3, "
      "pcie_gb_per_second: 4}";
  const std::string good = absl::StrCat("gpus:\n- {name: A 1, ", rest);
  const absl::StatusOr<std::vector<GpuModel>> gpus = ParseGpus(good, "g.yaml");
  ASSERT_TRUE(gpus.ok()) << gpus.status();
  EXPECT_EQ(gpus->at(0), (GpuModel{.name = "A 1",
                                   .bytes = 1 << 30,
                                   .bf16_flops = 1e12,
                                   .int8_ops = 2e12,
                                   .memory_bytes_per_second = 3e9,
                                   .link_bytes_per_second = 4e9}));
  const struct {
    std::string yaml;
    const char* error;
  } rows[] = {
      {"", "g.yaml:1: must be one list with the key gpus"},
      {"gpu: []", "g.yaml:1: must be one list with the key gpus"},
      {"gpus: {}", "must be one list with the key gpus"},
      {"gpus:\n- 3", "g.yaml:2: a card must be a map, got 3"},
      {"gpus:\n- {name: A}", "g.yaml:2: a card without memory_mib"},
      {"gpus:\n- {memory_mib: 12GiB}", "g.yaml:2: memory_mib: must be a whole number from 1 to "},
      {"gpus:\n- name: A\n  bf16_tflops: 0", "g.yaml:3: bf16_tflops: must be more than 0"},
      {"gpus:\n- name: A\n  colour: red", "g.yaml:3: colour: unknown key"},
      {absl::StrCat(good, "\n- {name: a1, ", rest), "g.yaml:3: a second card of the name \"a1\""},
  };
  for (const auto& row : rows) {
    const absl::Status status = ParseGpus(row.yaml, "g.yaml").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.yaml;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.error)) << row.yaml;
  }
}

}  // namespace
}  // namespace ovi
