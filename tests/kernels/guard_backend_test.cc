// The guard: whoever follows a device pointer dies, and whoever goes through the backend does not notice it.
#include "kernels/guard_backend.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <memory>

#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/op_test.h"

namespace ovi {
namespace {

// By SIGSEGV, or by a sanitizer's report of it.
bool DiesOfTheAccess(int status) {
  return (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) ||
         (WIFEXITED(status) && WEXITSTATUS(status) != 0);
}

class GuardBackendDeathTest : public ::testing::Test {
 protected:
  GuardBackendDeathTest()
      : backend_(MakeGuardBackend(MakeCpuBackend())),
        stream_(*backend_->NewStream()),
        arena_(*backend_->AllocateBlock(1 << 20)) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
  static float Read(const Tensor& tensor) { return *reinterpret_cast<const volatile float*>(tensor.data); }
  static void Write(const Tensor& tensor) { *reinterpret_cast<volatile float*>(tensor.data) = 1; }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
};

TEST_F(GuardBackendDeathTest, TouchingATensorOutsideTheBackendDies) {
  const Tensor x = *arena_.Allocate(DType::kF32, {3}, "x");
  EXPECT_EXIT(Read(x), DiesOfTheAccess, "") << "before any op";
  stream_->Run(Fill{.out = x, .value = 2});
  ASSERT_EQ(stream_->Sync(), absl::OkStatus());
  EXPECT_EXIT(Read(x), DiesOfTheAccess, "") << "after an op and Sync";
  EXPECT_EXIT(Write(x), DiesOfTheAccess, "");
  float back[3] = {};
  stream_->Download(back, x);
  ASSERT_EQ(stream_->Sync(), absl::OkStatus());
  EXPECT_EQ(back[2], 2) << "the backend itself may";
  EXPECT_EXIT(Read(x), DiesOfTheAccess, "") << "after a download";
}

TEST_F(GuardBackendDeathTest, AFailedOpClosesMemoryToo) {
  const Tensor x = *arena_.Allocate(DType::kF32, {3}, "x");
  stream_->Run(Permute{.in = x, .axes = {4}, .out = x});
  ASSERT_FALSE(stream_->Sync().ok());
  EXPECT_EXIT(Read(x), DiesOfTheAccess, "");
}

TEST_F(GuardBackendDeathTest, GuardsEveryBlockAndTheWeightsInIt) {
  Arena second(*backend_->AllocateBlock(1 << 16));
  const Tensor x = *second.Allocate(DType::kF32, {3}, "x");
  const absl::StatusOr<GemmWeight> weight = backend_->AllocateGemmWeight(arena_, DType::kF32, 2, 3, "weight");
  ASSERT_TRUE(weight.ok()) << weight.status();
  const float rows[] = {1, 2, 3, 4, 5, 6};
  stream_->Upload(*weight, HostTensor{rows, DType::kF32, {2, 3}});
  stream_->Run(Fill{.out = x, .value = 1});
  ASSERT_EQ(stream_->Sync(), absl::OkStatus());
  EXPECT_EXIT(Read(x), DiesOfTheAccess, "");
  EXPECT_EXIT(Read(weight->storage), DiesOfTheAccess, "");

  const Tensor y = *arena_.Allocate(DType::kF32, {1, 2}, "y");
  stream_->Run(Gemm{.a = x.Reshaped({1, 3}), .weight = &*weight, .out = y});
  float back[2] = {};
  stream_->Download(back, y);
  ASSERT_EQ(stream_->Sync(), absl::OkStatus());
  EXPECT_EQ(back[0], 6);
  EXPECT_EQ(back[1], 15);
}

TEST_F(GuardBackendDeathTest, PassesOnWeightsOf4Bits) {
  const absl::StatusOr<GemmWeight> weight =
      backend_->AllocateGemmWeight(arena_, FourBitFormat{1}, 2, 3, "weight");
  ASSERT_TRUE(weight.ok()) << weight.status();
  const std::uint8_t q[] = {0x21, 0x03, 0xf7, 0x08};  // 1 2 3, 7 -1 -8
  const BFloat16 scale[] = {ToBFloat16(1), ToBFloat16(0.5f)};
  const BFloat16 up[] = {ToBFloat16(10), ToBFloat16(20)};
  stream_->Upload(
      *weight,
      FourBitRows{{q, DType::kU8, {2, 2}}, {scale, DType::kBF16, {2, 1}}, {up, DType::kBF16, {2, 1}}});
  const Tensor a = *arena_.Allocate(DType::kBF16, {1, 3}, "a");
  const Tensor a_tail = *arena_.Allocate(DType::kBF16, {1, 1}, "a_tail");
  const Tensor y = *arena_.Allocate(DType::kF32, {1, 2}, "y");
  stream_->Run(Fill{.out = a, .value = 1});
  stream_->Run(Fill{.out = a_tail, .value = 1});
  stream_->Run(Gemm{.a = a, .a_tail = a_tail, .weight = &*weight, .out = y});
  float back[2] = {};
  stream_->Download(back, y);
  ASSERT_EQ(stream_->Sync(), absl::OkStatus());
  EXPECT_EQ(back[0], 16);
  EXPECT_EQ(back[1], 19);
}

TEST_F(GuardBackendDeathTest, LetsBlocksComeAndGo) {
  { const Arena gone(*backend_->AllocateBlock(1 << 16)); }
  Arena later(*backend_->AllocateBlock(1 << 16));
  const Tensor x = *later.Allocate(DType::kF32, {3}, "x");
  EXPECT_EXIT(Read(x), DiesOfTheAccess, "");
  stream_->Run(Fill{.out = x, .value = 3});
  EXPECT_EQ(stream_->Sync(), absl::OkStatus());
  later.ReleaseTo(0);
  EXPECT_EXIT(Read(x), DiesOfTheAccess, "");
}

TEST(GuardBackend, LeavesHostMemoryAlone) {
  const std::unique_ptr<Backend> backend = MakeGuardBackend(MakeCpuBackend());
  const auto stream = *backend->NewStream();
  float host[2] = {1, 2};
  stream->Run(Elementwise{.kind = ElementwiseKind::kScale,
                          .a = {reinterpret_cast<std::byte*>(host), DType::kF32, {2}},
                          .alpha = 3,
                          .out = {reinterpret_cast<std::byte*>(host), DType::kF32, {2}}});
  ASSERT_EQ(stream->Sync(), absl::OkStatus());
  EXPECT_EQ(host[1], 6);
  EXPECT_EQ(backend->name(), "guard");
}

}  // namespace
}  // namespace ovi
