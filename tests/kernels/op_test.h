// What a test of an op stands on: a backend, tensors made of numbers, the contracts' rounding, comparisons.
//
// Every test runs on the CPU backend and once more behind the guard, where an op that kept a pointer or a
// test that followed one would die.
#pragma once

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/guard_backend.h"

namespace ovi::test {

using Numbers = std::vector<double>;

// rd() of the contracts: to the nearest value of `dtype`, ties to even.
inline double Round(DType dtype, double x) {
  if (dtype == DType::kF32) return static_cast<float>(x);
  OVI_CHECK(dtype == DType::kBF16);
  if (!std::isfinite(x) || x == 0) return x;
  int exponent = 0;
  std::frexp(x, &exponent);  // bf16 has 8 significant bits; no test goes near its smallest or largest values
  return std::ldexp(std::nearbyint(std::ldexp(x, 8 - exponent)), exponent - 8);
}

// f32: within 4e-6 of max(|expected|, scale), the noise of sums of a few thousand values.
// bf16: equal but for one value in two hundred, and those within four units of the last place of
// max(|expected|, scale). Now and then f32 arithmetic falls on the other side of a tie, and the one unit
// grows through the steps that follow; a rounding point too many or too few moves a tenth of the values or
// more.
inline void ExpectNumbers(DType dtype, const Numbers& actual, const Numbers& expected, double scale = 0) {
  ASSERT_EQ(actual.size(), expected.size());
  std::size_t moved = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double magnitude = std::max({std::fabs(expected[i]), scale, DBL_MIN});
    const double tolerance =
        dtype == DType::kF32 ? 4e-6 * magnitude : std::ldexp(4.0, std::ilogb(magnitude) - 7);
    ASSERT_LE(std::fabs(actual[i] - expected[i]), tolerance)
        << "at " << i << ": " << actual[i] << " for " << expected[i];
    moved += actual[i] != expected[i] ? 1 : 0;
  }
  if (dtype == DType::kBF16) {
    EXPECT_LE(moved, expected.size() / 200 + 1) << "of " << expected.size();
  }
}

enum class TestBackend { kCpu, kGuard };

inline std::unique_ptr<Backend> MakeTestBackend(TestBackend backend) {
  return backend == TestBackend::kGuard ? MakeGuardBackend(MakeCpuBackend()) : MakeCpuBackend();
}

class OpTest : public ::testing::TestWithParam<TestBackend> {
 protected:
  OpTest()
      : backend_(MakeTestBackend(GetParam())),
        stream_(*backend_->NewStream()),
        arena_(*backend_->AllocateBlock(std::int64_t{64} << 20)) {}

  Backend& backend() { return *backend_; }
  Stream& stream() { return *stream_; }
  Arena& arena() { return arena_; }

  absl::Status Run(const Op& op) {
    stream_->Run(op);
    return stream_->Sync();
  }

  // `count` values of `dtype` in [-limit, limit].
  Numbers Random(DType dtype, std::int64_t count, double limit = 2) {
    std::uniform_real_distribution<double> uniform(-limit, limit);
    Numbers values(static_cast<std::size_t>(count));
    for (double& value : values) value = Round(dtype, uniform(random_));
    return values;
  }
  // Multiples of 1/8 in [-1, 1]: sums of a few thousand products of them are exact in f32, in any order.
  Numbers Eighths(std::int64_t count) {
    std::uniform_int_distribution<int> uniform(-8, 8);
    Numbers values(static_cast<std::size_t>(count));
    for (double& value : values) value = uniform(random_) / 8.0;
    return values;
  }
  std::mt19937& random() { return random_; }

  // All bits set, which is NaN in every float dtype: a value that an op leaves out shows.
  Tensor Make(DType dtype, const Shape& shape) {
    const absl::StatusOr<Tensor> tensor = arena_.Allocate(dtype, shape, "test tensor");
    OVI_CHECK(tensor.ok());
    const std::vector<std::uint8_t> ones(static_cast<std::size_t>(tensor->bytes()), 0xff);
    stream_->Upload(*tensor, HostTensor{ones.data(), dtype, shape});
    OVI_CHECK(stream_->Sync().ok());
    return *tensor;
  }
  // `values` must be of the dtype already.
  Tensor Put(DType dtype, const Shape& shape, const Numbers& values) {
    OVI_CHECK(static_cast<std::int64_t>(values.size()) == shape.elements());
    const Tensor tensor = Make(dtype, shape);
    const std::vector<std::uint8_t> bytes = Encoded(dtype, values);
    stream_->Upload(tensor, HostTensor{bytes.data(), dtype, shape});
    OVI_CHECK(stream_->Sync().ok());
    return tensor;
  }
  Numbers Get(const Tensor& tensor) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(tensor.bytes()));
    stream_->Download(bytes.data(), tensor);
    OVI_CHECK(stream_->Sync().ok());
    Numbers values(static_cast<std::size_t>(tensor.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      float single = 0;
      BFloat16 half{};
      switch (tensor.dtype) {
        case DType::kF32:
          std::memcpy(&single, &bytes[4 * i], 4);
          values[i] = single;
          break;
        case DType::kBF16:
          std::memcpy(&half, &bytes[2 * i], 2);
          values[i] = ToFloat(half);
          break;
        default:
          OVI_CHECK(tensor.dtype == DType::kU8);
          values[i] = bytes[i];
      }
    }
    return values;
  }

  static std::vector<std::uint8_t> Encoded(DType dtype, const Numbers& values) {
    const auto size = static_cast<std::size_t>(ElementBytes(dtype));
    std::vector<std::uint8_t> bytes(values.size() * size);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto single = static_cast<float>(values[i]);
      const BFloat16 half = ToBFloat16(single);
      OVI_CHECK(dtype == DType::kF32 ||
                (dtype == DType::kBF16 && (ToFloat(half) == single || std::isnan(single))));
      std::memcpy(&bytes[size * i], dtype == DType::kF32 ? static_cast<const void*>(&single) : &half, size);
    }
    return bytes;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
  std::mt19937 random_{1};
};

inline std::string TestBackendName(const ::testing::TestParamInfo<TestBackend>& info) {
  return info.param == TestBackend::kGuard ? "guard" : "cpu";
}

#define OVI_ON_EVERY_BACKEND(suite)                                                                   \
  INSTANTIATE_TEST_SUITE_P(                                                                           \
      On, suite, ::testing::Values(::ovi::test::TestBackend::kCpu, ::ovi::test::TestBackend::kGuard), \
      ::ovi::test::TestBackendName)

}  // namespace ovi::test
