// The NVML reader against a real driver, whose own tool (nvidia-smi) says what is right. Without a driver the
// tests are skipped; with OVI_TEST_GPU=1, which run.sh sets, they fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/gpu/cuda_memory.h"
#include "worker/agent/gpu_reader.h"

namespace ovi {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

class RealNvml : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = OpenNvmlReader("");
    if (!opened.ok()) {
      if (std::getenv("OVI_TEST_GPU") == nullptr) GTEST_SKIP() << opened.status().message();
      FAIL() << opened.status();
    }
    reader_ = *std::move(opened);
  }

  // A row a GPU, a text a field.
  static std::vector<std::vector<std::string>> AskTool(const std::string& fields) {
    const std::string command =
        absl::StrCat("nvidia-smi --query-gpu=", fields, " --format=csv,noheader,nounits");
    const std::unique_ptr<FILE, int (*)(FILE*)> tool(::popen(command.c_str(), "r"), ::pclose);
    std::string text;
    std::array<char, 4096> piece;
    while (tool != nullptr && std::fgets(piece.data(), piece.size(), tool.get()) != nullptr) {
      text += piece.data();
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
      std::vector<std::string>& row = rows.emplace_back();
      for (const auto field : absl::StrSplit(line, ',')) row.emplace_back(absl::StripAsciiWhitespace(field));
    }
    return rows;
  }

  std::unique_ptr<GpuReader> reader_;
};

TEST_F(RealNvml, SaysWhatTheDriversToolSays) {
  const std::vector<GpuReading> readings = reader_->Read();
  const auto rows = AskTool("name,uuid,memory.total,pcie.link.gen.max,pcie.link.width.current");
  ASSERT_EQ(readings.size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(i);
    const GpuReading& gpu = readings[i];
    ASSERT_EQ(rows[i].size(), 5u);
    EXPECT_EQ(gpu.index, static_cast<int>(i));
    EXPECT_EQ(gpu.name, rows[i][0]);
    EXPECT_EQ(gpu.uuid, rows[i][1]);
    EXPECT_EQ(std::to_string(gpu.bytes_total / kMiB), rows[i][2]);
    const auto text = [](std::optional<int> value) { return value ? std::to_string(*value) : "[N/A]"; };
    EXPECT_EQ(text(gpu.pcie_generation), rows[i][3]);
    EXPECT_EQ(text(gpu.pcie_lanes), rows[i][4]);
    EXPECT_EQ(gpu.fault, "");
    EXPECT_FALSE(gpu.declared);
    EXPECT_LT(gpu.bytes_used, gpu.bytes_total);
    ASSERT_TRUE(gpu.temperature_celsius.has_value());
    EXPECT_GT(*gpu.temperature_celsius, 0);
    EXPECT_LT(*gpu.temperature_celsius, 110);
    std::printf("gpu %d: %s, %lld MiB, %lld used, %d C, PCIe %d x%d, ECC errors %s\n", gpu.index,
                gpu.name.c_str(), static_cast<long long>(gpu.bytes_total / kMiB),
                static_cast<long long>(gpu.bytes_used / kMiB), *gpu.temperature_celsius,
                gpu.pcie_generation.value_or(0), gpu.pcie_lanes.value_or(0),
                gpu.ecc_errors_uncorrected ? std::to_string(*gpu.ecc_errors_uncorrected).c_str() : "unknown");
  }
}

// What placement lives on: memory that somebody takes is seen at once, with who took it, and is free again
// when it is given back.
TEST_F(RealNvml, SeesMemoryThatAProcessTakes) {
  const std::int64_t before = reader_->Read().front().bytes_used;
  constexpr std::int64_t kTaken = 2048 * kMiB;
  std::unique_ptr<CudaMemory> memory = CudaMemory::Take(kTaken);
  ASSERT_NE(memory, nullptr);
  const GpuReading during = reader_->Read().front();
  EXPECT_GE(during.bytes_used - before, kTaken);
  const auto own = std::find_if(during.processes.begin(), during.processes.end(),
                                [](const GpuProcessUse& use) { return use.pid == ::getpid(); });
  ASSERT_NE(own, during.processes.end());
  EXPECT_GE(own->bytes.value_or(kTaken), kTaken);
  std::printf("driver and context: %lld MiB\n",
              static_cast<long long>((during.bytes_used - before - kTaken) / kMiB));
  memory.reset();
  EXPECT_LT(reader_->Read().front().bytes_used, during.bytes_used - kTaken + kMiB);
}

}  // namespace
}  // namespace ovi
