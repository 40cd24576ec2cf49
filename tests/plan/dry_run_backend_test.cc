// A dry run takes the memory of its device, computes nothing and still notices misuse.
#include "kernels/dry_run_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <vector>

#include "kernels/cpu/cpu_backend.h"

namespace ovi {
namespace {

class DryRunBackendTest : public ::testing::Test {
 protected:
  DryRunBackendTest()
      : backend_(MakeDryRunBackend(MakeCpuBackend())),
        stream_(*backend_->NewStream()),
        arena_(*backend_->AllocateBlock(std::int64_t{1} << 40)) {}

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
};

TEST_F(DryRunBackendTest, WeightsTakeTheBytesTheyTakeOnTheDevice) {
  const std::unique_ptr<Backend> cpu = MakeCpuBackend();
  Arena real(*cpu->AllocateBlock(1 << 24));
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    ASSERT_TRUE(backend_->AllocateGemmWeight(arena_, dtype, 100, 50, "w").ok());
    ASSERT_TRUE(cpu->AllocateGemmWeight(real, dtype, 100, 50, "w").ok());
    ASSERT_TRUE(backend_->AllocateConvWeight(arena_, dtype, 10, 20, {3, 3, 3}, "c").ok());
    ASSERT_TRUE(cpu->AllocateConvWeight(real, dtype, 10, 20, {3, 3, 3}, "c").ok());
    ASSERT_TRUE(backend_->AllocateConvTransposeWeight(arena_, dtype, 10, 20, 4, "t").ok());
    ASSERT_TRUE(cpu->AllocateConvTransposeWeight(real, dtype, 10, 20, 4, "t").ok());
    EXPECT_EQ(arena_.bytes_in_use(), real.bytes_in_use());
  }
  ASSERT_TRUE(backend_->AllocateGemmWeight(arena_, FourBitFormat{32}, 100, 50, "q").ok());
  ASSERT_TRUE(cpu->AllocateGemmWeight(real, FourBitFormat{32}, 100, 50, "q").ok());
  EXPECT_EQ(arena_.bytes_in_use(), real.bytes_in_use());
  EXPECT_GT(arena_.bytes_in_use(), 100 * 50 * 6);
}

TEST_F(DryRunBackendTest, ReservesMoreThanAnyMachineHasAndTakesNoneOfIt) {
  const Tensor tensor = *arena_.Allocate(DType::kF32, {std::int64_t{1} << 37}, "half a tebibyte");
  stream_->Run(Fill{.out = tensor, .value = 1});
  stream_->Copy(tensor, tensor);
  EXPECT_EQ(stream_->Sync(), absl::OkStatus());
  EXPECT_EQ(arena_.bytes_peak(), std::int64_t{1} << 39);
  EXPECT_EQ(backend_->AllocateBlock(std::int64_t{1} << 60).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(backend_->AllocateBlock(0).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(DryRunBackendTest, LeavesWhatIsDownloadedAsItWas) {
  const Tensor tensor = *arena_.Allocate(DType::kF32, {2}, "x");
  std::vector<float> host = {1, 2};
  stream_->Upload(tensor, HostTensor{host.data(), DType::kF32, {2}});
  host = {3, 4};
  stream_->Download(host.data(), tensor);
  ASSERT_EQ(stream_->Sync(), absl::OkStatus());
  EXPECT_THAT(host, testing::ElementsAre(3, 4));
}

TEST_F(DryRunBackendTest, ReportsTheFirstBrokenContractOfAStream) {
  const Tensor x = *arena_.Allocate(DType::kF32, {3}, "x");
  stream_->Run(Permute{.in = x, .axes = {4}, .out = x});
  stream_->Run(Fill{.out = x, .value = 1});
  const absl::Status status = stream_->Sync();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("permute"));
}

TEST_F(DryRunBackendTest, HoldsCopiesAndWeightsAgainstTheirShapes) {
  const Tensor x = *arena_.Allocate(DType::kF32, {3}, "x");
  const Tensor y = *arena_.Allocate(DType::kBF16, {3}, "y");
  const GemmWeight gemm = *backend_->AllocateGemmWeight(arena_, DType::kF32, 2, 3, "w");
  const ConvWeight conv = *backend_->AllocateConvWeight(arena_, DType::kF32, 2, 3, {1, 1, 3}, "c");
  const ConvTransposeWeight transposed =
      *backend_->AllocateConvTransposeWeight(arena_, DType::kF32, 2, 3, 4, "t");
  const GemmWeight four_bit = *backend_->AllocateGemmWeight(arena_, FourBitFormat{}, 2, 3, "q");
  const HostTensor four{nullptr, DType::kF32, {4}};
  const auto broken = [&](const auto& enqueue) {
    const std::unique_ptr<Stream> stream = *backend_->NewStream();
    enqueue(*stream);
    return stream->Sync().code() == absl::StatusCode::kInternal;
  };
  EXPECT_TRUE(broken([&](Stream& s) { s.Upload(x, four); }));
  EXPECT_TRUE(broken([&](Stream& s) { s.Copy(x, y); }));
  EXPECT_TRUE(broken([&](Stream& s) { s.Upload(gemm, four); }));
  EXPECT_TRUE(broken([&](Stream& s) { s.Upload(conv, four); }));
  EXPECT_TRUE(broken([&](Stream& s) { s.Upload(transposed, four); }));
  const FourBitRows rows{{nullptr, DType::kU8, {2, 2}}, {nullptr, DType::kBF16, {2, 1}}, {}};
  EXPECT_TRUE(broken([&](Stream& s) { s.Upload(gemm, rows); }));
  EXPECT_TRUE(broken([&](Stream& s) { s.Upload(four_bit, HostTensor{nullptr, DType::kF32, {2, 3}}); }));
  EXPECT_FALSE(broken([&](Stream& s) { s.Upload(four_bit, rows); }));
  EXPECT_FALSE(broken([&](Stream& s) { s.Upload(gemm, HostTensor{nullptr, DType::kBF16, {2, 3}}); }));
}

TEST_F(DryRunBackendTest, WhoeverFollowsAPointerDies) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "a child of a tsan program has no addresses for the block";
#endif
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Tensor x = *arena_.Allocate(DType::kF32, {3}, "x");
  EXPECT_EXIT(
      {
        const volatile float value = *reinterpret_cast<const volatile float*>(x.data);
        (void)value;
      },
      [](int status) {
        return (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) ||
               (WIFEXITED(status) && WEXITSTATUS(status) != 0);  // a sanitizer's report of it
      },
      "");
}

}  // namespace
}  // namespace ovi
