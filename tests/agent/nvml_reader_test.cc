// The NVML reader against a library of ours that says what the test wants.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "tests/agent/fake_nvml.h"
#include "tests/temp_folder.h"
#include "worker/agent/gpu_reader.h"
#include "worker/agent/nvml_words.h"

namespace ovi {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class NvmlReaderTest : public testing::Test {
 protected:
  NvmlReaderTest() {
    void* const library = ::dlopen(OVI_FAKE_NVML, RTLD_NOW | RTLD_LOCAL);
    OVI_CHECK(library != nullptr);
    nvml = static_cast<FakeNvml*>(::dlsym(library, "fake_nvml"));
    OVI_CHECK(nvml != nullptr);
    *nvml = FakeNvml();
    nvml->gpu_count = 2;
    nvml->gpus[0].uuid = "GPU-aaaa";
    nvml->gpus[0].bus_id = "00000000:3B:00.0";
    nvml->gpus[1].uuid = "GPU-bbbb";
    nvml->gpus[1].bus_id = "00000000:5E:00.0";
  }
  void Open() {
    auto opened = OpenNvmlReader(OVI_FAKE_NVML);
    ASSERT_TRUE(opened.ok()) << opened.status();
    reader = *std::move(opened);
  }

  FakeNvml* nvml = nullptr;
  std::unique_ptr<GpuReader> reader;
};

TEST(NvmlReader, SaysPlainlyThatThereIsNoDriver) {
  const auto opened = OpenNvmlReader("libnvidia-ml-of-nobody.so.1");
  EXPECT_EQ(
      opened.status().message(),
      "no NVIDIA driver (libnvidia-ml-of-nobody.so.1 not found): declare GPUs in the YAML to run on the CPU");
}

TEST(NvmlReader, RefusesALibraryThatIsNone) {
  const TempFolder folder;
  const auto text = OpenNvmlReader(folder.Write("libnvidia-ml.so.1", "not a library"));
  EXPECT_EQ(text.status().code(), absl::StatusCode::kFailedPrecondition);
  const auto other = OpenNvmlReader("libm.so.6");
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("is not NVIDIA's management library"));
}

TEST_F(NvmlReaderTest, RefusesADriverThatDoesNotWork) {
  nvml->init_result = 9;
  const auto opened = OpenNvmlReader(OVI_FAKE_NVML);
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("nvmlInit: Driver Not Loaded"));
  EXPECT_EQ(nvml->shutdown_calls, 0);
}

TEST_F(NvmlReaderTest, RefusesADriverWithoutGpus) {
  nvml->gpu_count = 0;
  const auto opened = OpenNvmlReader(OVI_FAKE_NVML);
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("has no GPU"));
  EXPECT_EQ(nvml->shutdown_calls, 1);
}

TEST_F(NvmlReaderTest, TellsWhatEachGpuIs) {
  nvml->gpus[0].bytes_used = 5 << 20;
  nvml->gpus[0].process_count = 2;
  nvml->gpus[0].pids[0] = 11;
  nvml->gpus[0].process_bytes[0] = 3 << 20;
  nvml->gpus[0].pids[1] = 12;
  nvml->gpus[0].process_bytes[1] = ~0ull;
  nvml->gpus[0].temperature = 71;
  nvml->gpus[0].ecc_errors = 2;
  nvml->gpus[1].name = "NVIDIA H200";
  nvml->gpus[1].has_ecc = false;
  nvml->gpus[1].pcie_lanes = 8;
  Open();
  const std::vector<GpuReading> gpus = reader->Read();
  ASSERT_EQ(gpus.size(), 2u);
  EXPECT_EQ(gpus[0].index, 0);
  EXPECT_EQ(gpus[0].name, "NVIDIA GeForce RTX 3090");
  EXPECT_EQ(gpus[0].uuid, "GPU-aaaa");
  EXPECT_FALSE(gpus[0].declared);
  EXPECT_EQ(gpus[0].bytes_total, std::int64_t{24} << 30);
  EXPECT_EQ(gpus[0].bytes_used, 5 << 20);
  EXPECT_EQ(gpus[0].fault, "");
  EXPECT_EQ(gpus[0].temperature_celsius, 71);
  EXPECT_EQ(gpus[0].ecc_errors_uncorrected, 2);
  EXPECT_EQ(gpus[0].pcie_generation, 4);
  ASSERT_EQ(gpus[0].processes.size(), 2u);
  EXPECT_EQ(gpus[0].processes[0].pid, 11);
  EXPECT_EQ(gpus[0].processes[0].bytes, 3 << 20);
  EXPECT_EQ(gpus[0].processes[1].bytes, std::nullopt);
  EXPECT_EQ(gpus[1].index, 1);
  EXPECT_EQ(gpus[1].name, "NVIDIA H200");
  EXPECT_EQ(gpus[1].ecc_errors_uncorrected, std::nullopt) << "a card without ECC";
  EXPECT_EQ(gpus[1].pcie_lanes, 8);
  reader.reset();
  EXPECT_EQ(nvml->shutdown_calls, 1);
}

TEST_F(NvmlReaderTest, CallsAGpuFaultyThatFailsAndKeepsTheOthers) {
  Open();
  EXPECT_EQ(reader->Read()[1].fault, "");
  nvml->gpus[1].memory_result = 15;
  nvml->gpus[1].other_result = 15;
  const std::vector<GpuReading> gpus = reader->Read();
  EXPECT_EQ(gpus[0].fault, "");
  EXPECT_EQ(gpus[1].fault, "nvmlDeviceGetMemoryInfo: GPU is lost");
  EXPECT_EQ(gpus[1].bytes_total, std::int64_t{24} << 30) << "its size is still known";
  EXPECT_EQ(gpus[1].uuid, "GPU-bbbb");
}

TEST_F(NvmlReaderTest, KnowsAGpuThatIsLostFromTheStart) {
  nvml->gpus[0].handle_result = 15;
  Open();
  const std::vector<GpuReading> gpus = reader->Read();
  ASSERT_EQ(gpus.size(), 2u);
  EXPECT_EQ(gpus[0].fault, "nvmlDeviceGetHandleByIndex: GPU is lost");
  EXPECT_EQ(gpus[0].uuid, "");
  EXPECT_EQ(gpus[1].fault, "");
  EXPECT_THAT(gpus[1].peers, IsEmpty());
}

TEST_F(NvmlReaderTest, DoesNotBlameAGpuForWhatItCannotTell) {
  nvml->gpus[0].other_result = 3;  // not supported
  Open();
  const GpuReading gpu = reader->Read()[0];
  EXPECT_EQ(gpu.fault, "");
  EXPECT_EQ(gpu.temperature_celsius, std::nullopt);
  EXPECT_EQ(gpu.bytes_total, std::int64_t{24} << 30);
}

TEST_F(NvmlReaderTest, CallsAGpuWithBrokenMemoryFaulty) {
  struct Case {
    std::uint32_t FakeNvmlGpu::*field;
    const char* fault;
  };
  Open();
  for (const Case& c :
       {Case{&FakeNvmlGpu::rows_failed, "replaced"}, Case{&FakeNvmlGpu::rows_pending, "wait to be remapped"},
        Case{&FakeNvmlGpu::pages_pending, "wait to be retired"}}) {
    nvml->gpus[0].*c.field = 1;
    EXPECT_THAT(reader->Read()[0].fault, HasSubstr(c.fault));
    nvml->gpus[0].*c.field = 0;
    EXPECT_EQ(reader->Read()[0].fault, "");
  }
}

TEST_F(NvmlReaderTest, RemembersTheXidsAfterWhichAGpuCannotBeTrusted) {
  Open();
  nvml->xid_count = 3;
  nvml->xids[0] = {.gpu = 0, .xid = 31};  // a page fault: the program's
  nvml->xids[1] = {.gpu = 1, .xid = 79};
  nvml->xids[2] = {.gpu = 1, .xid = 48};
  std::vector<GpuReading> gpus = reader->Read();
  EXPECT_EQ(gpus[0].fault, "");
  EXPECT_EQ(gpus[1].fault, "Xid 79: it has fallen off the bus; reset it and restart the agent");
  EXPECT_EQ(reader->Read()[1].fault, gpus[1].fault);
}

TEST_F(NvmlReaderTest, TellsHowFarApartGpusAre) {
  struct Case {
    std::uint32_t level;
    const char* kind;
  };
  for (const Case& c : {Case{0, "PIX"}, Case{10, "PIX"}, Case{20, "PXB"}, Case{30, "PHB"}, Case{40, "NODE"},
                        Case{50, "SYS"}}) {
    nvml->topology_level = c.level;
    Open();
    const GpuReading gpu = reader->Read()[0];
    ASSERT_EQ(gpu.peers.size(), 1u);
    EXPECT_EQ(gpu.peers[0].index, 1);
    EXPECT_EQ(gpu.peers[0].kind, c.kind);
  }
}

TEST_F(NvmlReaderTest, CountsNvLinksDirectOrThroughASwitch) {
  nvml->gpu_count = 3;
  nvml->gpus[2].bus_id = "00000000:AF:00.0";
  nvml->gpus[0].nvlink_to[0] = nvml->gpus[0].nvlink_to[2] = nvml->gpus[1].bus_id;
  nvml->gpus[1].nvlink_to[0] = nvml->gpus[1].nvlink_to[1] = nvml->gpus[0].bus_id;
  Open();
  std::vector<GpuReading> gpus = reader->Read();
  ASSERT_EQ(gpus[0].peers.size(), 2u);
  EXPECT_EQ(gpus[0].peers[0].kind, "NV2");
  EXPECT_EQ(gpus[0].peers[1].kind, "PHB");
  EXPECT_EQ(gpus[1].peers[0].kind, "NV2");

  for (FakeNvmlGpu& gpu : nvml->gpus) {
    for (const char*& end : gpu.nvlink_to) end = "00000000:C0:00.0";  // no GPU's
  }
  nvml->gpus[2].nvlink_to[3] = nullptr;
  Open();
  gpus = reader->Read();
  EXPECT_EQ(gpus[0].peers[0].kind, "NV4");
  EXPECT_EQ(gpus[0].peers[1].kind, "NV3");
}

TEST(SysfsPciName, IsSpelledAsTheKernelDoes) {
  EXPECT_EQ(SysfsPciName("00000000:3B:00.0"), "0000:3b:00.0");
  EXPECT_EQ(SysfsPciName("00010000:AF:00.0"), "10000:af:00.0");
  EXPECT_EQ(SysfsPciName("0000:3B:00.0"), "0000:3b:00.0");
}

TEST(XidFault, BlamesTheGpuOnlyForItsOwnErrors) {
  for (const unsigned long long own : {48, 62, 79, 95, 119, 140}) EXPECT_NE(XidFault(own), "") << own;
  for (const unsigned long long programs : {13, 31, 43, 45, 63, 92, 94})
    EXPECT_EQ(XidFault(programs), "") << programs;
}

}  // namespace
}  // namespace ovi
