// Gemm against a plain double loop, on every kernel this processor can run.
//
// Method: operands are small multiples of powers of two, so that every f32 sum is exact whatever its order;
// then each rounding of the contract shows, and results without an activation must agree to the last bit.
#include "kernels/gemm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_amx.h"
#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_vnni.h"
#include "kernels/cpu/narrow_weight.h"
#include "kernels/cpu/parallel.h"
#include "tests/kernels/test_block.h"

namespace ovi {
namespace {

using cpu::GemmKernel;
using test::OwnedTensor;

std::vector<GemmKernel> KernelsFor(DType dtype) {
  const cpu::Features& features = cpu::CpuFeatures();
  if (dtype == DType::kF32) return {GemmKernel::kOneDnn};
  std::vector<GemmKernel> kernels = {GemmKernel::kPortable};
  if (dtype == DType::kF8E4M3) {
    if (features.avx512_bf16) kernels.push_back(GemmKernel::kWidened);
  }
  if (dtype == DType::kBF16 && features.avx512) kernels.push_back(GemmKernel::kOneDnn);
  if (dtype == DType::kI8 && features.avx512_vnni) kernels.push_back(GemmKernel::kVnni);
  if (features.amx) kernels.push_back(GemmKernel::kAmx);
  return kernels;
}

std::vector<GemmKernel> FourBitKernels() {
  return KernelsFor(DType::kF8E4M3);  // the same ones
}

struct Size {
  std::int64_t m, n, k;
};
constexpr Size kSizes[] = {{1, 1, 1},      {3, 5, 7},    {157, 20, 64},    {1, 192, 3072},
                           {257, 65, 129}, {2, 33, 31},  {7, 16, 1000},    {64, 800, 130},
                           {300, 33, 513}, {0, 5, 7},    {270, 100, 1111}, {9, 47, 1},
                           {8, 48, 512},   {1, 49, 515}, {5, 401, 70},     {1033, 9, 22}};

struct Epilogue {
  const char* name;
  bool bias;
  Activation activation;
  bool gate;
  bool residual;
  bool aliased;
};
constexpr Epilogue kEpilogues[] = {
    {"plain", false, Activation::kNone, false, false, false},
    {"bias", true, Activation::kNone, false, false, false},
    {"gelu", true, Activation::kGeluTanh, false, false, false},
    {"silu", true, Activation::kSilu, false, false, false},
    {"residual", true, Activation::kNone, false, true, false},
    {"gated", true, Activation::kNone, true, true, false},
    {"gated in place", false, Activation::kNone, true, true, true},
    {"gelu in place", true, Activation::kGeluTanh, false, true, true},
};

struct Types {
  DType type, out, residual;
  bool four_bit = false;
};

// A matrix of 4 bits as its source has it. Its values are Problem::w, too.
struct FourBitSource {
  std::vector<std::uint8_t> q;
  OwnedTensor scale, up, a_tail;
  Shape q_shape;

  std::int64_t tail_rank() const { return up.tensor().empty() ? 0 : up.tensor().shape[1]; }
  FourBitRows rows() const { return {{q.data(), DType::kU8, q_shape}, scale.host(), up.host()}; }
};

struct Problem {
  DType type;
  DType out_type;
  DType residual_type;
  Size size;
  OwnedTensor a, a_scale, w, bias, gate, residual;
  std::optional<FourBitSource> four_bit = std::nullopt;
};

std::vector<GemmKernel> KernelsFor(const Problem& p) {
  return p.four_bit ? FourBitKernels() : KernelsFor(p.type);
}

// Multiples of 1/16 in [-3/16, 3/16]; for e4m3 with a scale of 2^-8; for int8 integers in [-9, 9] with scales
// that are powers of two.
Problem MakeProblem(DType type, DType out_type, DType residual_type, const Size& size, unsigned seed) {
  std::mt19937 random(seed);
  const auto fill = [&](DType dtype, const Shape& shape, int limit, float unit) {
    OwnedTensor tensor(dtype, shape);
    std::uniform_int_distribution<int> pick(-limit, limit);
    for (std::int64_t i = 0; i < tensor.elements(); ++i)
      tensor.set(i, static_cast<float>(pick(random)) * unit);
    return tensor;
  };
  const auto& [m, n, k] = size;
  Problem p{type, out_type, residual_type, size, {}, {}, {}, {}, {}, {}};
  const bool int8 = type == DType::kI8;
  const bool fp8 = type == DType::kF8E4M3;
  p.a = int8 ? fill(DType::kI8, {m, k}, 127, 1.0f) : fill(fp8 ? DType::kBF16 : type, {m, k}, 3, 0.0625f);
  p.w = fill(DType::kF32, {n, k}, 3, 0.0625f);
  p.bias = fill(DType::kF32, {n}, 40, 0.0625f);
  p.gate = fill(DType::kF32, {n}, 6, 0.25f);
  p.residual = fill(residual_type, {m, n}, 60, 0.0625f);
  // The largest of a row is 448/256: the scale is 1/256, and multiples of 1/16 are e4m3 times that.
  for (std::int64_t row = 0; fp8 && row < n; ++row) p.w.set(row * k, 1.75f);
  if (!int8) return p;
  // |w| reaches 127/64 in every row, so that the row's scale is 1/64 and its quantised values are exact.
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t i = 0; i < k; ++i) p.w.set(row * k + i, p.w.get(row * k + i) * 4);
    p.w.set(row * k, 127.0f / 64);
  }
  p.a_scale = OwnedTensor(DType::kF32, {m});
  for (std::int64_t row = 0; row < m; ++row) p.a_scale.set(row, row % 2 == 0 ? 0.0625f : 0.125f);
  return p;
}

// Gives the problem a matrix of any q and scales in [1/2, 1) of which most products round, and a tail or
// none. The values are multiples of 2^-8: sums stay exact.
void MakeFourBit(Problem& p, unsigned seed) {
  const auto& [m, n, k] = p.size;
  const std::int64_t tail_rank = std::array{0, 5, 32, 800}[static_cast<std::size_t>((n + k) % 4)];
  std::mt19937 random(seed + 100);
  FourBitSource& source = p.four_bit.emplace();
  source.q_shape = {n, FourBitRowBytes(k)};
  source.q.resize(static_cast<std::size_t>(source.q_shape.elements()));
  for (std::uint8_t& byte : source.q) byte = static_cast<std::uint8_t>(random());
  source.scale = OwnedTensor(DType::kBF16, {n, FourBitGroups(k)});
  for (std::int64_t i = 0; i < source.scale.elements(); ++i) {
    source.scale.set(i, static_cast<float>(128 + random() % 128) / 256);
  }
  for (std::int64_t i = 0; i < n * k; ++i) {
    const std::uint8_t byte = source.q[static_cast<std::size_t>(i / k * source.q_shape[1] + i % k / 2)];
    const int bits = i % k % 2 == 0 ? byte & 0xf : byte >> 4;
    const int q = bits > 7 ? bits - 16 : bits;
    const float scale = source.scale.get(i / k * FourBitGroups(k) + i % k / 64);
    p.w.set(i, RoundToBFloat16(static_cast<float>(q) * scale));
  }
  if (tail_rank == 0) return;
  const auto fill = [&](const Shape& shape) {
    OwnedTensor tensor(DType::kBF16, shape);
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      tensor.set(i, static_cast<float>(random() % 7) * 0.0625f - 0.1875f);
    }
    return tensor;
  };
  source.up = fill({n, tail_rank});
  source.a_tail = fill({m, tail_rank});
}

Problem MakeProblem(const Types& types, const Size& size, unsigned seed) {
  Problem p = MakeProblem(types.type, types.out, types.residual, size, seed);
  if (types.four_bit) MakeFourBit(p, seed);
  return p;
}

float Round(float x, DType dtype) {
  return dtype == DType::kBF16 ? RoundToBFloat16(x) : x;
}

std::vector<double> Doubles(const OwnedTensor& tensor) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < tensor.elements(); ++i) values.push_back(tensor.get(i));
  return values;
}

// The contract, word for word.
std::vector<float> Reference(const Problem& p, const Epilogue& epilogue) {
  const auto& [m, n, k] = p.size;
  std::vector<float> out(static_cast<std::size_t>(m * n));
  const std::vector<double> a = Doubles(p.a);
  const std::vector<double> w = Doubles(p.w);
  const std::int64_t tail_rank = p.four_bit ? p.four_bit->tail_rank() : 0;
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t column = 0; column < n; ++column) {
      double sum = 0;
      for (std::int64_t i = 0; i < k; ++i)
        sum += a[static_cast<std::size_t>(row * k + i)] * w[static_cast<std::size_t>(column * k + i)];
      for (std::int64_t i = 0; i < tail_rank; ++i) {
        sum +=
            double{p.four_bit->a_tail.get(row * tail_rank + i)} * p.four_bit->up.get(column * tail_rank + i);
      }
      if (p.type == DType::kI8) sum *= p.a_scale.get(row);
      if (epilogue.bias) sum += p.bias.get(column);
      float y = Round(static_cast<float>(sum), p.out_type);
      if (epilogue.activation == Activation::kGeluTanh) {
        const double x = y;  // x/2 (1 + tanh(u)) = x / (1 + exp(-2u))
        y = Round(
            static_cast<float>(x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)))),
            p.out_type);
      }
      if (epilogue.activation == Activation::kSilu) {
        y = Round(static_cast<float>(y / (1 + std::exp(-double{y}))), p.out_type);
      }
      if (epilogue.gate) y = Round(p.gate.get(column) * y, p.out_type);
      if (epilogue.residual) y = Round(p.residual.get(row * n + column) + y, p.out_type);
      out[static_cast<std::size_t>(row * n + column)] = y;
    }
  }
  return out;
}

OwnedTensor Copy(const OwnedTensor& from) {
  OwnedTensor copy(from.tensor().dtype, from.tensor().shape);
  std::memcpy(copy.tensor().data, from.tensor().data, static_cast<std::size_t>(from.tensor().bytes()));
  return copy;
}

// Runs rows [begin, begin + count) of the problem.
OwnedTensor RunProblem(const Problem& p, const Epilogue& epilogue, GemmKernel kernel, std::int64_t begin,
                       std::int64_t count) {
  const auto& [m, n, k] = p.size;
  Arena arena = test::MakeTestArena((n + 64) * (k + 900) * 4 + (1 << 20));
  const absl::StatusOr<GemmWeight> weight =
      p.four_bit ? cpu::AllocateGemmWeight(arena, FourBitFormat{p.four_bit->tail_rank()}, n, k, "w", kernel)
                 : cpu::AllocateGemmWeight(arena, p.type, n, k, "w", kernel);
  EXPECT_TRUE(weight.ok()) << weight.status();
  if (!weight.ok()) return {};
  std::memset(weight->storage.data, 0xff, static_cast<std::size_t>(weight->storage.bytes()));  // NaN
  const absl::Status packed = p.four_bit ? cpu::PackGemmWeight(*weight, p.four_bit->rows(), kernel)
                                         : cpu::PackGemmWeight(*weight, p.w.host(), kernel);
  EXPECT_TRUE(packed.ok()) << packed;

  const OwnedTensor residual = Copy(p.residual);
  OwnedTensor out(p.out_type, {count, n});
  Gemm op;
  op.a = p.a.tensor().Slice(begin, count);
  if (p.type == DType::kI8) op.a_scale = p.a_scale.tensor().Slice(begin, count);
  if (weight->four_bit && weight->four_bit->tail_rank > 0) {
    op.a_tail = p.four_bit->a_tail.tensor().Slice(begin, count);
  }
  op.weight = &*weight;
  if (epilogue.bias) op.bias = p.bias.tensor();
  op.activation = epilogue.activation;
  if (epilogue.gate) op.gate = p.gate.tensor();
  if (epilogue.residual) op.residual = residual.tensor().Slice(begin, count);
  op.out = epilogue.aliased ? op.residual : out.tensor();
  const absl::Status valid = Validate(op);
  EXPECT_TRUE(valid.ok()) << valid;
  const absl::Status ran = cpu::RunGemm(op, kernel);
  EXPECT_TRUE(ran.ok()) << ran;
  if (epilogue.aliased) {
    std::memcpy(out.tensor().data, op.out.data, static_cast<std::size_t>(out.tensor().bytes()));
  }
  return out;
}

std::string Name(const Problem& p, const Epilogue& epilogue, GemmKernel kernel) {
  return absl::StrCat(std::string(cpu::GemmKernelName(kernel)), " ",
                      p.four_bit ? "4 bits" : std::string(DTypeName(p.type)), " to ",
                      std::string(DTypeName(p.out_type)), " M=", p.size.m, " N=", p.size.n, " K=", p.size.k,
                      " ", epilogue.name);
}

void ExpectMatches(const Problem& p, const Epilogue& epilogue, GemmKernel kernel) {
  SCOPED_TRACE(Name(p, epilogue, kernel));
  const std::vector<float> expected = Reference(p, epilogue);
  const OwnedTensor got = RunProblem(p, epilogue, kernel, 0, p.size.m);
  // An activation is not exact in f32: its last bit may move a rounding to bf16 by one step of 2^-8.
  const bool exact = epilogue.activation == Activation::kNone;
  int off = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const float y = got.get(static_cast<std::int64_t>(i));
    // Below 1e-30 activations may flush to zero.
    if (std::fabs(y - expected[i]) <= (exact ? 0.0f : 1e-30f)) continue;
    ++off;
    const double step = p.out_type == DType::kBF16 ? 0x1p-7 : 2e-6;
    ASSERT_TRUE(!exact && std::fabs(y - expected[i]) <= step * std::fabs(expected[i]) + 1e-6)
        << "element " << i << ": " << y << ", expected " << expected[i];
  }
  if (p.out_type == DType::kBF16) {
    EXPECT_LE(off, 1 + static_cast<int>(expected.size() / 1000));
  }
}

class GemmTypes : public testing::TestWithParam<Types> {};

TEST_P(GemmTypes, MatchesThePlainLoopAtEverySize) {
  for (const Size& size : kSizes) {
    const Problem p = MakeProblem(GetParam(), size, 1);
    for (const GemmKernel kernel : KernelsFor(p)) ExpectMatches(p, kEpilogues[1], kernel);
  }
}

TEST_P(GemmTypes, RoundsWhereTheContractSaysInEveryEpilogue) {
  for (const Size& size : {Size{70, 37, 96}, Size{3, 600, 40}}) {
    const Problem p = MakeProblem(GetParam(), size, 2);
    for (const Epilogue& epilogue : kEpilogues) {
      if (epilogue.aliased && p.residual_type != p.out_type) continue;
      for (const GemmKernel kernel : KernelsFor(p)) ExpectMatches(p, epilogue, kernel);
    }
  }
}

TEST_P(GemmTypes, ARowDoesNotDependOnTheRowsAroundItOrOnThreads) {
  const DType type = GetParam().type;
  Problem p = MakeProblem(GetParam(), {300, 130, 1500}, 3);
  std::mt19937 random(4);  // sums that round, so that their order shows
  std::normal_distribution<float> normal;
  if (type != DType::kI8) {
    for (std::int64_t i = 0; i < p.a.elements(); ++i) p.a.set(i, normal(random));
  }
  for (std::int64_t i = 0; i < p.w.elements(); ++i) p.w.set(i, normal(random));
  const std::int64_t row_bytes = p.size.n * ElementBytes(p.out_type);
  for (const GemmKernel kernel : KernelsFor(p)) {
    // oneDNN promises nothing of the kind for f32 and bf16.
    if (kernel == GemmKernel::kOneDnn && type != DType::kI8) continue;
    SCOPED_TRACE(Name(p, kEpilogues[5], kernel));
    const OwnedTensor all = RunProblem(p, kEpilogues[5], kernel, 0, p.size.m);
    for (const auto& [begin, count] :
         {std::pair{0, 1}, std::pair{17, 5}, std::pair{33, 100}, std::pair{299, 1}}) {
      const OwnedTensor some = RunProblem(p, kEpilogues[5], kernel, begin, count);
      EXPECT_EQ(std::memcmp(some.tensor().data, all.tensor().data + begin * row_bytes,
                            static_cast<std::size_t>(count * row_bytes)),
                0)
          << "rows from " << begin << ", " << count;
    }
#ifdef _OPENMP
    const int threads = omp_get_max_threads();
    for (const int count : {1, 2, 3}) {
      omp_set_num_threads(count);
      const OwnedTensor again = RunProblem(p, kEpilogues[5], kernel, 0, p.size.m);
      EXPECT_EQ(
          std::memcmp(again.tensor().data, all.tensor().data, static_cast<std::size_t>(p.size.m * row_bytes)),
          0)
          << count << " threads";
    }
    omp_set_num_threads(threads);
#endif
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GemmTypes,
    testing::Values(
        Types{DType::kF32, DType::kF32, DType::kF32}, Types{DType::kF32, DType::kBF16, DType::kBF16},
        Types{DType::kBF16, DType::kBF16, DType::kBF16}, Types{DType::kBF16, DType::kF32, DType::kF32},
        Types{DType::kBF16, DType::kBF16, DType::kF32}, Types{DType::kF8E4M3, DType::kBF16, DType::kBF16},
        Types{DType::kF8E4M3, DType::kF32, DType::kF32}, Types{DType::kF8E4M3, DType::kBF16, DType::kF32},
        Types{DType::kBF16, DType::kBF16, DType::kBF16, true},
        Types{DType::kBF16, DType::kF32, DType::kF32, true},
        Types{DType::kBF16, DType::kBF16, DType::kF32, true}, Types{DType::kI8, DType::kBF16, DType::kBF16},
        Types{DType::kI8, DType::kF32, DType::kF32}, Types{DType::kI8, DType::kF32, DType::kBF16}),
    [](const auto& test_info) {
      const Types& types = test_info.param;
      return absl::StrCat(types.four_bit ? "4Bits" : std::string(DTypeName(types.type)), "to",
                          std::string(DTypeName(types.out)), "with", std::string(DTypeName(types.residual)));
    });

TEST(Gemm, KeepsF32AccuracyOnRandomNumbers) {
  Problem p = MakeProblem(DType::kF32, DType::kF32, DType::kF32, {33, 70, 2000}, 5);
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < p.a.elements(); ++i) p.a.set(i, normal(random));
  for (std::int64_t i = 0; i < p.w.elements(); ++i) p.w.set(i, normal(random));
  for (const Epilogue& epilogue : {kEpilogues[1], kEpilogues[2], kEpilogues[3], kEpilogues[5]}) {
    const std::vector<float> expected = Reference(p, epilogue);
    const OwnedTensor got = RunProblem(p, epilogue, GemmKernel::kOneDnn, 0, p.size.m);
    double error = 0;
    double norm = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      error += std::pow(got.get(static_cast<std::int64_t>(i)) - double{expected[i]}, 2);
      norm += std::pow(double{expected[i]}, 2);
    }
    EXPECT_LT(std::sqrt(error / norm), 1e-6) << epilogue.name;
  }
}

// Sums of up to 4.6e8 before the offset of u8 is taken off, over a K that is no multiple of 4.
TEST(Gemm, Int8IsExactAtItsExtremes) {
  Problem p = MakeProblem(DType::kI8, DType::kF32, DType::kF32, {5, 51, 14'339}, 7);
  const auto& [m, n, k] = p.size;
  const auto extreme = [](std::int64_t row, std::int64_t i, float low, float high) {
    const std::int64_t kind =
        row % 4;  // all low, all high, alternating, low in one half and high in the other
    if (kind == 2) return i % 2 == 0 ? low : high;
    if (kind == 3) return i % 8 < 4 ? low : high;
    return kind == 0 ? low : high;
  };
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t i = 0; i < k; ++i) p.a.set(row * k + i, extreme(row, i, -128.0f, 127.0f));
  }
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t i = 0; i < k; ++i) p.w.set(row * k + i, extreme(row, i, -127.0f / 64, 127.0f / 64));
  }
  for (const GemmKernel kernel : KernelsFor(DType::kI8)) ExpectMatches(p, kEpilogues[0], kernel);
}

// A weight of each float dtype, all holding the same numbers.
TEST(Gemm, TakesWeightsOfEveryFloatDtype) {
  constexpr std::int64_t kN = 45;
  constexpr std::int64_t kK = 70;
  std::vector<float> values;
  std::vector<std::uint8_t> f8;
  std::vector<std::uint16_t> f16;
  for (std::int64_t i = 0; i < kN * kK; ++i) {
    // Exponent 4-10, any mantissa: exact in f8, f16, bf16 and f32.
    const auto byte = static_cast<std::uint8_t>((i % 2) << 7 | (4 + i % 7) << 3 | (i * 5 % 8));
    f8.push_back(byte);
    values.push_back(Float8E4M3ToFloat(byte));
    const auto bits = std::bit_cast<std::uint32_t>(values.back());
    f16.push_back(static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | ((bits >> 23 & 0xffu) - 112) << 10 |
                                             (bits >> 13 & 0x3ffu)));
    ASSERT_EQ(HalfToFloat(f16.back()), values.back());
  }
  const OwnedTensor f32(DType::kF32, {kN, kK}, values);
  const OwnedTensor bf16(DType::kBF16, {kN, kK}, values);
  const Shape shape{kN, kK};
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF8E4M3, DType::kI8}) {
    for (const GemmKernel kernel : KernelsFor(type)) {
      const auto pack = [&](const HostTensor& src) {
        Arena arena = test::MakeTestArena(1 << 20);
        const GemmWeight weight = *cpu::AllocateGemmWeight(arena, type, kN, kK, "w", kernel);
        std::memset(weight.storage.data, 0, static_cast<std::size_t>(weight.storage.bytes()));
        EXPECT_TRUE(cpu::PackGemmWeight(weight, src, kernel).ok());
        std::vector<std::byte> bytes(weight.storage.data, weight.storage.data + weight.storage.bytes());
        if (IsQuantised(type)) {
          bytes.insert(bytes.end(), weight.scale.data, weight.scale.data + weight.scale.bytes());
        }
        return bytes;
      };
      const std::vector<std::byte> expected = pack(f32.host());
      EXPECT_TRUE(pack(bf16.host()) == expected);
      EXPECT_TRUE(pack({f16.data(), DType::kF16, shape}) == expected);
      if (type == DType::kF8E4M3) continue;  // which takes such a source as it is
      EXPECT_TRUE(pack({f8.data(), DType::kF8E4M3, shape}) == expected);
    }
  }
}

// A quantised matrix: its own dtype takes the bytes and the scales, another one the values.
TEST(Gemm, TakesQuantisedRows) {
  constexpr std::int64_t kN = 45;
  constexpr std::int64_t kK = 70;
  std::vector<std::int8_t> i8;
  std::vector<std::uint8_t> f8;
  std::vector<float> scales, i8_values, f8_values;
  for (std::int64_t row = 0; row < kN; ++row) {
    scales.push_back(std::ldexp(1.0f, static_cast<int>(row % 7) - 9));
    for (std::int64_t i = 0; i < kK; ++i) {
      i8.push_back(
          static_cast<std::int8_t>((row * 31 + i * 7) % 200 - 100));  // never 127: not what f32 gives
      f8.push_back(static_cast<std::uint8_t>((row * 5 + i * 3) % 0x60));
      i8_values.push_back(static_cast<float>(i8.back()) * scales.back());
      f8_values.push_back(Float8E4M3ToFloat(f8.back()) * scales.back());
    }
  }
  const Shape shape{kN, kK};
  const HostTensor sources[] = {{i8.data(), DType::kI8, shape, nullptr, scales.data()},
                                {f8.data(), DType::kF8E4M3, shape, nullptr, scales.data()}};
  for (const HostTensor& source : sources) {
    for (const GemmKernel kernel : KernelsFor(source.dtype)) {
      SCOPED_TRACE(
          absl::StrCat(std::string(DTypeName(source.dtype)), " ", std::string(cpu::GemmKernelName(kernel))));
      Arena arena = test::MakeTestArena(1 << 20);
      const GemmWeight weight = *cpu::AllocateGemmWeight(arena, source.dtype, kN, kK, "w", kernel);
      ASSERT_TRUE(cpu::PackGemmWeight(weight, source, kernel).ok());
      EXPECT_EQ(std::memcmp(weight.scale.data, scales.data(), scales.size() * sizeof(float)), 0);
      // A product with unit vectors reads the matrix back.
      const std::vector<float>& values = source.dtype == DType::kI8 ? i8_values : f8_values;
      const OwnedTensor ones(DType::kF32, {kK}, std::vector<float>(kK, 1.0f));
      OwnedTensor units(source.dtype == DType::kI8 ? DType::kI8 : DType::kBF16, {kK, kK});
      for (std::int64_t i = 0; i < kK; ++i) units.set(i * kK + i, 1.0f);
      const OwnedTensor out(DType::kF32, {kK, kN});
      Gemm op{.a = units.tensor(), .weight = &weight, .out = out.tensor()};
      if (source.dtype == DType::kI8) op.a_scale = ones.tensor();
      ASSERT_TRUE(Validate(op).ok()) << Validate(op);
      ASSERT_TRUE(cpu::RunGemm(op, kernel).ok());
      for (std::int64_t row = 0; row < kN; ++row) {
        for (std::int64_t i = 0; i < kK; ++i) {
          ASSERT_EQ(out.get(i * kN + row), values[static_cast<std::size_t>(row * kK + i)]) << row << " " << i;
        }
      }
    }
    // The values, rounded once more where the dtype is bf16.
    Arena arena = test::MakeTestArena(1 << 20);
    const auto bytes_of = [&](const HostTensor& from) {
      ArenaScope scope(arena);
      const GemmWeight weight = *cpu::AllocateGemmWeight(arena, DType::kBF16, kN, kK, "w");
      std::memset(weight.storage.data, 0, static_cast<std::size_t>(weight.storage.bytes()));
      EXPECT_TRUE(cpu::PackGemmWeight(weight, from).ok());
      return std::vector<std::byte>(weight.storage.data, weight.storage.data + weight.storage.bytes());
    };
    const std::vector<float>& values = source.dtype == DType::kI8 ? i8_values : f8_values;
    EXPECT_TRUE(bytes_of(source) == bytes_of({values.data(), DType::kF32, shape}));
  }
}

// Every byte in a row of its own, at another place of K each: subnormals, both zeros and NaN.
TEST(Gemm, WidensEveryE4M3) {
  constexpr std::int64_t kBytes = 256;
  constexpr std::int64_t kK = 37;
  std::vector<std::uint8_t> w(kBytes * kK, 0);
  for (std::size_t byte = 0; byte < kBytes; ++byte)
    w[byte * kK + byte % kK] = static_cast<std::uint8_t>(byte);
  const OwnedTensor ones(DType::kBF16, {1, kK}, std::vector<float>(kK, 1.0f));
  for (const GemmKernel kernel : KernelsFor(DType::kF8E4M3)) {
    SCOPED_TRACE(std::string(cpu::GemmKernelName(kernel)));
    Arena arena = test::MakeTestArena(1 << 20);
    const GemmWeight weight = *cpu::AllocateGemmWeight(arena, DType::kF8E4M3, kBytes, kK, "w", kernel);
    ASSERT_TRUE(cpu::PackGemmWeight(weight, HostTensor{w.data(), DType::kF8E4M3, {kBytes, kK}}, kernel).ok());
    const OwnedTensor out(DType::kF32, {1, kBytes});
    ASSERT_TRUE(cpu::RunGemm({.a = ones.tensor(), .weight = &weight, .out = out.tensor()}, kernel).ok());
    for (unsigned byte = 0; byte < kBytes; ++byte) {
      const float value = Float8E4M3ToFloat(static_cast<std::uint8_t>(byte));
      EXPECT_TRUE(std::isnan(value) ? std::isnan(out.get(byte)) : out.get(byte) == value)
          << byte << ": " << out.get(byte);
    }
  }
}

// Matrices of 4 bits and their sources, one broken at a time.
TEST(Gemm, RefusesAFourBitSourceThatDoesNotFit) {
  Arena arena = test::MakeTestArena(1 << 20);
  const GemmWeight weight = *cpu::AllocateGemmWeight(arena, FourBitFormat{4}, 5, 67, "w");
  const GemmWeight no_tail = *cpu::AllocateGemmWeight(arena, FourBitFormat{}, 5, 67, "w");
  const GemmWeight bf16 = *cpu::AllocateGemmWeight(arena, DType::kBF16, 5, 67, "w");
  const OwnedTensor q(DType::kU8, {5, 34});
  const OwnedTensor scale(DType::kBF16, {5, 2});
  const OwnedTensor up(DType::kBF16, {5, 4});
  const OwnedTensor other(DType::kBF16, {5, 3});
  const FourBitRows good{q.host(), scale.host(), up.host()};
  EXPECT_EQ(cpu::PackGemmWeight(weight, good), absl::OkStatus());
  struct Case {
    const char* message;
    const GemmWeight& dst;
    FourBitRows src;
  };
  const Case cases[] = {
      {"the weight is of another format", bf16, good},
      {"q is BF16 5x3, expected U8 5x34", weight, {other.host(), scale.host(), up.host()}},
      {"scale is BF16 5x3, expected BF16 5x2", weight, {q.host(), other.host(), up.host()}},
      {"up is BF16 5x3, expected BF16 5x4", weight, {q.host(), scale.host(), other.host()}},
      {"up is F32 scalar, expected BF16 5x4", weight, {q.host(), scale.host(), {}}},
      {"up needs a weight with a tail", no_tail, good},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(std::string(cpu::PackGemmWeight(c.dst, c.src).message()), testing::HasSubstr(c.message));
  }
  const OwnedTensor floats(DType::kF32, {5, 67});
  EXPECT_THAT(std::string(cpu::PackGemmWeight(no_tail, floats.host()).message()),
              testing::HasSubstr("takes nothing but FourBitRows"));
  EXPECT_FALSE(cpu::AllocateGemmWeight(arena, FourBitFormat{-1}, 5, 67, "w").ok());
}

TEST(Gemm, ATailIsAskedForWhereTheWeightHasOne) {
  Arena arena = test::MakeTestArena(1 << 20);
  const GemmWeight weight = *cpu::AllocateGemmWeight(arena, FourBitFormat{4}, 5, 67, "w");
  const GemmWeight no_tail = *cpu::AllocateGemmWeight(arena, FourBitFormat{}, 5, 67, "w");
  const OwnedTensor a(DType::kBF16, {3, 67});
  const OwnedTensor a_tail(DType::kBF16, {3, 4});
  const OwnedTensor out(DType::kBF16, {3, 5});
  Gemm op{.a = a.tensor(), .a_tail = a_tail.tensor(), .weight = &weight, .out = out.tensor()};
  EXPECT_EQ(Validate(op), absl::OkStatus());
  op.weight = &no_tail;
  EXPECT_THAT(std::string(Validate(op).message()), testing::HasSubstr("a_tail needs a weight with a tail"));
  op.a_tail = {};
  EXPECT_EQ(Validate(op), absl::OkStatus());
  op.weight = &weight;
  EXPECT_THAT(std::string(Validate(op).message()), testing::HasSubstr("expected BF16 3x4"));
}

// Files do not align their tensors.
TEST(Gemm, TakesAFourBitSourceFromAnyAddress) {
  const Problem p = MakeProblem({DType::kBF16, DType::kF32, DType::kF32, true}, {3, 50, 67}, 9);
  const FourBitRows rows = p.four_bit->rows();
  ASSERT_EQ(p.four_bit->tail_rank(), 5);
  std::vector<std::vector<std::byte>> moved;
  const auto unaligned = [&](const HostTensor& tensor) {
    std::vector<std::byte>& bytes = moved.emplace_back(static_cast<std::size_t>(tensor.bytes()) + 1);
    std::memcpy(bytes.data() + 1, tensor.data, static_cast<std::size_t>(tensor.bytes()));
    return HostTensor{bytes.data() + 1, tensor.dtype, tensor.shape};
  };
  for (const GemmKernel kernel : FourBitKernels()) {
    const auto packed = [&](const FourBitRows& source) {
      Arena arena = test::MakeTestArena(1 << 20);
      const GemmWeight weight = *cpu::AllocateGemmWeight(arena, FourBitFormat{5}, 50, 67, "w", kernel);
      std::memset(weight.storage.data, 0, static_cast<std::size_t>(weight.storage.bytes()));
      EXPECT_TRUE(cpu::PackGemmWeight(weight, source, kernel).ok());
      return std::vector<std::byte>(weight.storage.data, weight.storage.data + weight.storage.bytes());
    };
    EXPECT_TRUE(packed({unaligned(rows.q), unaligned(rows.scale), unaligned(rows.up)}) == packed(rows));
  }
}

TEST(Gemm, RefusesAWeightSourceOfAnotherShapeOrDtype) {
  Arena arena = test::MakeTestArena(1 << 20);
  const GemmWeight weight = *cpu::AllocateGemmWeight(arena, DType::kF32, 5, 7, "w");
  EXPECT_THAT(std::string(cpu::PackGemmWeight(weight, OwnedTensor(DType::kF32, {7, 5}).host()).message()),
              testing::HasSubstr("F32 7x5, expected a float (N, K) of 5x7"));
  EXPECT_FALSE(cpu::PackGemmWeight(weight, OwnedTensor(DType::kI32, {5, 7}).host()).ok());
}

TEST(Gemm, AllocationNamesTheWeightThatDoesNotFit) {
  Arena arena = test::MakeTestArena(1000);
  const absl::Status status = cpu::AllocateGemmWeight(arena, DType::kBF16, 100, 100, "blocks.3.ffn").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("blocks.3.ffn"));
}

TEST(Gemm, ValidateNamesTheBrokenClause) {
  Arena arena = test::MakeTestArena(1 << 20);
  const GemmWeight weight = *cpu::AllocateGemmWeight(arena, DType::kBF16, 5, 7, "w");
  const OwnedTensor a(DType::kBF16, {3, 7});
  const OwnedTensor out(DType::kBF16, {3, 5});
  const OwnedTensor row(DType::kF32, {5});
  const OwnedTensor wrong_row(DType::kF32, {4});
  const OwnedTensor out_f32(DType::kF32, {3, 5});
  const OwnedTensor narrow(DType::kBF16, {3, 6});
  Gemm good;
  good.a = a.tensor();
  good.weight = &weight;
  good.bias = row.tensor();
  good.out = out.tensor();
  EXPECT_TRUE(Validate(good).ok());
  struct Case {
    const char* message;
    void (*spoil)(Gemm&, const Tensor&, const Tensor&, const Tensor&, const Tensor&);
  };
  const Case cases[] = {
      {"weight is missing", [](Gemm& op, auto&, auto&, auto&, auto&) { op.weight = nullptr; }},
      {"a is BF16 3x6, expected BF16 3x7", [](Gemm& op, auto&, auto&, auto&, auto& x) { op.a = x; }},
      {"out is BF16 3x6, expected BF16 3x5", [](Gemm& op, auto&, auto&, auto&, auto& x) { op.out = x; }},
      {"bias is F32 4, expected F32 5", [](Gemm& op, auto&, auto& wrong, auto&, auto&) { op.bias = wrong; }},
      {"gate needs a residual", [](Gemm& op, auto& right, auto&, auto&, auto&) { op.gate = right; }},
      {"a_scale needs an I8 weight", [](Gemm& op, auto& right, auto&, auto&, auto&) { op.a_scale = right; }},
      {"must have out's dtype",
       [](Gemm& op, auto&, auto&, auto& f32, auto&) {
         op.residual = f32;
         op.out.data = f32.data;
       }},
  };
  for (const Case& c : cases) {
    Gemm op = good;
    c.spoil(op, row.tensor(), wrong_row.tensor(), out_f32.tensor(), narrow.tensor());
    const absl::Status status = Validate(op);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << c.message;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(c.message));
  }
}

// 54,900 tokens of the largest preset: 787 million outputs, 3.1e9 bytes of f32.
TEST(Gemm, OffsetsPassTwoToTheThirtyOne) {
  EXPECT_EQ(cpu::ElementOffset(54'899, 14'336, 14'335), 54'900LL * 14'336 - 1);
  EXPECT_EQ(cpu::ElementOffset(1'000'000, 14'336, 1), 14'336'000'001LL);
}

TEST(AmxLayout, BlocksTileTheWeightWithoutGapsOrOverlap) {
  for (const Size& size : {Size{0, 1, 1}, Size{0, 33, 31}, Size{0, 800, 130}, Size{0, 3072, 3072},
                           Size{0, 14'336, 3072}, Size{0, 3072, 14'336}, Size{0, 262'144, 8192}}) {
    const cpu::AmxLayout layout(DType::kBF16, size.n, size.k);
    std::int64_t next = 0;
    for (std::int64_t group = 0; group < layout.panels(); group += cpu::AmxLayout::kGroupPanels) {
      const std::int64_t end = std::min(group + cpu::AmxLayout::kGroupPanels, layout.panels());
      for (std::int64_t block = 0; block < layout.blocks(); ++block) {
        ASSERT_LE(layout.BlockSteps(block), cpu::AmxLayout::kBlockSteps);
        ASSERT_GE(layout.BlockSteps(block), 1);
        for (std::int64_t panel = group; panel < end; ++panel) {
          ASSERT_EQ(layout.Offset(panel, block), next);
          next += layout.BlockSteps(block) * cpu::AmxLayout::kPanelStepBytes;
        }
      }
    }
    EXPECT_EQ(next, layout.bytes());
    EXPECT_GE(layout.bytes(), size.n * size.k * 2);  // the last size: 4.3e9
  }
}

TEST(VnniLayout, PanelsTileTheWeightWithoutGapsOrOverlap) {
  using cpu::VnniLayout;
  for (const Size& size : {Size{0, 1, 1}, Size{0, 49, 31}, Size{0, 800, 520}, Size{0, 3072, 3072},
                           Size{0, 14'336, 3072}, Size{0, 3072, 14'336}, Size{0, 262'144, 16'384}}) {
    const VnniLayout layout(size.n, size.k);
    std::int64_t next = 0;
    for (std::int64_t panel = 0; panel < layout.panels(); ++panel) {
      for (std::int64_t block = 0; block < layout.blocks(); ++block) {
        ASSERT_LE(layout.BlockSteps(block), VnniLayout::kBlockSteps);
        ASSERT_GE(layout.BlockSteps(block), 1);
        ASSERT_EQ(layout.Offset(panel, layout.BlockBegin(block)), next);
        next += layout.BlockSteps(block) * VnniLayout::kPanelStepBytes;
      }
    }
    EXPECT_GE(next, size.n * size.k);  // the last size: 4.3e9
    EXPECT_EQ(layout.SumsOffset(0), next);
    EXPECT_EQ(layout.SumsOffset(0) % 64, 0);
    EXPECT_GE(layout.bytes(), next + size.n * 4);
  }
}

template <typename Layout>
class NarrowLayouts : public testing::Test {};
using EveryNarrowLayout = testing::Types<cpu::WidenedLayout, cpu::AmxNarrowLayout>;
TYPED_TEST_SUITE(NarrowLayouts, EveryNarrowLayout);

TYPED_TEST(NarrowLayouts, PanelsTileTheWeightWithoutGapsOrOverlap) {
  using Layout = TypeParam;
  for (const Size& size : {Size{0, 1, 1}, Size{0, 49, 31}, Size{0, 800, 1111}, Size{0, 3072, 3072},
                           Size{0, 14'336, 3072}, Size{0, 3072, 14'336}, Size{0, 262'144, 16'384}}) {
    const Layout layout({.dtype = DType::kF8E4M3, .n = size.n, .k = size.k});
    std::int64_t next = 0;
    for (std::int64_t panel = 0; panel < layout.panels(); ++panel) {
      for (std::int64_t block = 0; block < layout.blocks(); ++block) {
        ASSERT_LE(layout.BlockSteps(block), Layout::kBlockSteps);
        ASSERT_GE(layout.BlockSteps(block), 1);
        ASSERT_EQ(layout.Offset(panel, block), next);
        next += layout.BlockBytes(block);
      }
    }
    EXPECT_EQ(next, layout.bytes());
    EXPECT_GE(next, size.n * size.k);  // the last size: 4.3e9
  }
}

// Of 4 bits: values, scales and tails.
TYPED_TEST(NarrowLayouts, FourBitPartsTileTheWeightWithoutOverlap) {
  using Layout = TypeParam;
  for (const Size& size : {Size{0, 1, 1}, Size{5, 49, 31}, Size{32, 800, 1111}, Size{64, 3072, 14'336},
                           Size{1600, 100, 70}, Size{128, 262'144, 32'768}}) {
    const FourBitFormat format{size.m};
    const Layout layout({.dtype = DType::kBF16, .n = size.n, .k = size.k, .four_bit = format});
    std::int64_t next = 0;
    std::int64_t next_tail = layout.TailOffset(0, 0);
    for (std::int64_t panel = 0; panel < layout.panels(); ++panel) {
      for (std::int64_t block = 0; block < layout.blocks(); ++block) {
        ASSERT_LE(layout.BlockSteps(block), Layout::kBlockSteps);
        ASSERT_GE(layout.BlockSteps(block), 1);
        std::int64_t& here = layout.IsTail(block) ? next_tail : next;
        ASSERT_EQ(layout.Offset(panel, block), here);
        here += layout.BlockBytes(block);
        if (!layout.IsTail(block)) {
          ASSERT_EQ(layout.BlockBegin(block) % Layout::kGroupSteps, 0);
        }
      }
    }
    EXPECT_EQ(layout.ScaleOffset(0, 0), next);
    EXPECT_GE(layout.TailOffset(0, 0), layout.ScaleOffset(layout.panels(), 0));
    EXPECT_EQ(layout.TailOffset(0, 0) % 64, 0);
    EXPECT_EQ(next_tail, layout.bytes());
    EXPECT_GE(next, size.n * size.k / 2);  // the last size: 4.3e9
  }
}

// Of values a byte or more each, and of 4 bits: no two of a panel in one place, none outside of it.
TYPED_TEST(NarrowLayouts, EveryValueOfAPanelHasItsPlace) {
  using Layout = TypeParam;
  constexpr std::int64_t kValues = 3 * Layout::kStepValues;
  std::vector<int> values(Layout::kPanelRows * kValues);
  std::vector<int> words(Layout::kPanelRows * kValues / 2 / 64);
  for (std::int64_t row = 0; row < Layout::kPanelRows; ++row) {
    for (std::int64_t i = 0; i < kValues; ++i) {
      ++values.at(static_cast<std::size_t>(Layout::ValueOffset(row, i)));
      const std::int64_t offset = Layout::WordsOffset(row, i);
      ASSERT_EQ(offset % 64, 0);
      ++words.at(static_cast<std::size_t>(offset / 64));
    }
  }
  EXPECT_THAT(values, testing::Each(1));
  EXPECT_THAT(words, testing::Each(128));
}

TEST(GemmKernels, FollowTheProcessor) {
  const cpu::Features old{};
  cpu::Features avx512{};
  avx512.avx512 = true;
  cpu::Features vnni = avx512;
  vnni.avx512_bf16 = vnni.avx512_vnni = true;
  cpu::Features amx = vnni;
  amx.amx = true;
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kF32, amx), GemmKernel::kOneDnn);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kBF16, amx), GemmKernel::kAmx);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kI8, amx), GemmKernel::kAmx);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kBF16, vnni), GemmKernel::kOneDnn);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kI8, vnni), GemmKernel::kVnni);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kI8, avx512), GemmKernel::kPortable);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kBF16, old), GemmKernel::kPortable);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kF8E4M3, amx), GemmKernel::kAmx);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kF8E4M3, vnni), GemmKernel::kWidened);
  EXPECT_EQ(cpu::ChooseGemmKernel(DType::kF8E4M3, avx512), GemmKernel::kPortable);
  EXPECT_EQ(cpu::ChooseFourBitGemmKernel(amx), GemmKernel::kAmx);
  EXPECT_EQ(cpu::ChooseFourBitGemmKernel(vnni), GemmKernel::kWidened);
  EXPECT_EQ(cpu::ChooseFourBitGemmKernel(avx512), GemmKernel::kPortable);
}

}  // namespace
}  // namespace ovi
