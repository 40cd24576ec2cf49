// Attention against a plain double loop, on every implementation this processor can run.
#include "kernels/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_path.h"

namespace ovi {
namespace {

using cpu::AttentionPath;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The memory of a tensor, of f32 or bf16.
class Buffer {
 public:
  Buffer() = default;
  Buffer(DType dtype, const Shape& shape)
      : bytes_(static_cast<std::size_t>(shape.elements() * ElementBytes(dtype) + 1)),
        dtype_(dtype),
        shape_(shape) {}
  Tensor tensor() { return {bytes_.data(), dtype_, shape_}; }
  float get(std::int64_t i) const {
    return dtype_ == DType::kF32 ? reinterpret_cast<const float*>(bytes_.data())[i]
                                 : ToFloat(reinterpret_cast<const BFloat16*>(bytes_.data())[i]);
  }
  void set(std::int64_t i, float x) {
    if (dtype_ == DType::kF32) {
      reinterpret_cast<float*>(bytes_.data())[i] = x;
    } else {
      reinterpret_cast<BFloat16*>(bytes_.data())[i] = ToBFloat16(x);
    }
  }
  std::int64_t elements() const { return shape_.elements(); }
  bool operator==(const Buffer& other) const { return bytes_ == other.bytes_; }

 private:
  std::vector<std::byte> bytes_;
  DType dtype_ = DType::kF32;
  Shape shape_;
};

struct Case {
  std::int64_t rows, key_rows, keys, heads, head_dim;
  bool bias = false;
  bool round = false;
  bool accumulate = false;
  float scale = 0.0f;  // 0: 1 / sqrt(head_dim)
};

// Tensors of a case. Values are multiples of 1/8 below 2: q k^T is exact in f32 in any order,
// so every implementation rounds the same scores.
struct Problem {
  Problem(const Case& sizes, DType type)
      : c(sizes),
        dtype(type),
        q(type, {sizes.rows, sizes.heads * sizes.head_dim}),
        k(type, {sizes.key_rows, sizes.heads * sizes.head_dim}),
        v(type, {sizes.key_rows, sizes.heads * sizes.head_dim}),
        out(type, {sizes.rows, sizes.heads * sizes.head_dim}),
        bias(DType::kF32, {sizes.heads, std::max<std::int64_t>(sizes.rows + sizes.key_rows - 1, 0)}),
        lse(DType::kF32, {sizes.heads, sizes.rows}) {
    std::mt19937 random(42);
    for (Buffer* buffer : {&q, &k, &v, &out, &bias}) {
      for (std::int64_t i = 0; i < buffer->elements(); ++i) {
        buffer->set(i, (static_cast<float>(random() % 31) - 15.0f) / 8.0f);
      }
    }
  }

  Attention op() {
    return {.q = q.tensor(),
            .k = k.tensor(),
            .v = v.tensor(),
            .heads = c.heads,
            .keys = c.keys,
            .scale = c.scale != 0.0f ? c.scale : 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
            .rel_bias = c.bias ? bias.tensor() : Tensor{},
            .round_scores = c.round,
            .accumulate = c.accumulate,
            .out = out.tensor(),
            .lse = lse.tensor()};
  }

  Case c;
  DType dtype;
  Buffer q, k, v, out, bias, lse;
};

struct Expected {
  std::vector<double> out;        // before the last rounding
  std::vector<double> magnitude;  // the mean of |v| by the same weights: what rounding errors scale with
  std::vector<double> lse;
};

double RoundIf(bool round, double x) {
  return round ? RoundToBFloat16(static_cast<float>(x)) : x;
}

// The contract, in double; of its roundings only those of round_scores.
Expected Reference(const Problem& p, float scale) {
  const Case& c = p.c;
  const std::int64_t width = c.heads * c.head_dim;
  Expected expected;
  expected.out.resize(static_cast<std::size_t>(c.rows * width));
  expected.magnitude.resize(expected.out.size());
  expected.lse.resize(static_cast<std::size_t>(c.heads * c.rows));
  std::vector<double> s(static_cast<std::size_t>(c.keys));
  for (std::int64_t h = 0; h < c.heads; ++h) {
    for (std::int64_t i = 0; i < c.rows; ++i) {
      double max = -kInfinity;
      for (std::int64_t j = 0; j < c.keys; ++j) {
        double dot = 0.0;
        for (std::int64_t d = 0; d < c.head_dim; ++d) {
          dot += double{p.q.get(i * width + h * c.head_dim + d)} * p.k.get(j * width + h * c.head_dim + d);
        }
        double score = RoundIf(c.round, scale * dot);
        if (c.bias) {
          score = RoundIf(c.round, score + p.bias.get(h * (c.rows + c.key_rows - 1) + j - i + c.rows - 1));
        }
        s[static_cast<std::size_t>(j)] = score;
        max = std::max(max, score);
      }
      double sum = 0.0;
      for (const double score : s) sum += std::exp(score - max);
      const std::size_t row = static_cast<std::size_t>(i * width + h * c.head_dim);
      for (std::int64_t j = 0; j < c.keys; ++j) {
        const double weight = RoundIf(c.round, std::exp(s[static_cast<std::size_t>(j)] - max) / sum);
        for (std::int64_t d = 0; d < c.head_dim; ++d) {
          const double value = p.v.get(j * width + h * c.head_dim + d);
          expected.out[row + static_cast<std::size_t>(d)] += weight * value;
          expected.magnitude[row + static_cast<std::size_t>(d)] += weight * std::abs(value);
        }
      }
      expected.lse[static_cast<std::size_t>(h * c.rows + i)] = c.keys == 0 ? -kInfinity : max + std::log(sum);
    }
  }
  return expected;
}

// Half a bf16 step, 2^-8 of the value, for every probability and for the result is the contract's; the rest
// is f32.
void ExpectNear(const Expected& expected, const Problem& p, const Buffer& before) {
  const bool bf16 = p.dtype == DType::kBF16;
  const double step = bf16 ? 0x1p-8 : 0.0;
  int wrong = 0;
  for (std::size_t i = 0; i < expected.out.size() && wrong < 5; ++i) {
    const double magnitude = expected.magnitude[i];
    double want = expected.out[i];
    double tolerance = (step + 2e-6) * magnitude + step * std::abs(want) + 1e-7;
    if (p.c.accumulate) {
      want += before.get(static_cast<std::int64_t>(i));
      tolerance += (step + 1e-7) * std::abs(want);
    }
    const double got = p.out.get(static_cast<std::int64_t>(i));
    EXPECT_NEAR(got, want, tolerance) << "element " << i;
    wrong += std::abs(got - want) <= tolerance ? 0 : 1;
  }
  for (std::size_t i = 0; i < expected.lse.size() && wrong < 5; ++i) {
    const double got = p.lse.get(static_cast<std::int64_t>(i));
    const double want = expected.lse[i];
    const bool near = got == want || std::abs(got - want) <= 1e-6 * std::abs(want) + (bf16 ? 5e-6 : 1e-6);
    EXPECT_TRUE(near) << "lse " << i << ": got " << got << ", want " << want;
    wrong += near ? 0 : 1;
  }
}

class AttentionOn : public testing::TestWithParam<AttentionPath> {
 protected:
  // Runs `op` on the path of this test, through the checks that every caller goes through.
  void Run(const Attention& op) {
    ASSERT_TRUE(Validate(op).ok()) << Validate(op);
    ASSERT_TRUE(RunAttentionOn(GetParam(), op).ok());
  }
  bool Can(DType dtype) const { return cpu::CanRunAttention(GetParam(), dtype); }
  void SetUp() override {
    if (!Can(DType::kBF16)) {
      GTEST_SKIP() << "this processor, or OVI_CPU_ISA, has no " << cpu::AttentionPathName(GetParam());
    }
  }
};

TEST_P(AttentionOn, AgreesWithTheFormulaAtAnySize) {
  const Case cases[] = {
      {1, 1, 1, 1, 1},
      {3, 5, 5, 1, 8},
      {7, 33, 33, 2, 16},
      {31, 17, 16, 3, 24},
      {33, 100, 65, 2, 64},
      {32, 256, 256, 1, 128},
      {65, 300, 273, 2, 128},
      {130, 530, 513, 1, 128},
      {5, 700, 700, 2, 33},
      {40, 70, 70, 1, 97},
      {200, 150, 150, 1, 320},
      {34, 129, 129, 1, 1024},
      {26, 70, 67, 1, 1536},
      {9, 300, 300, 2, 64, /*bias=*/true},
      {70, 300, 290, 2, 128, /*bias=*/true},
      {35, 40, 40, 2, 128, false, false, /*accumulate=*/true},
      {11, 19, 19, 1, 13, true, false, true},
      {12, 50, 50, 1, 32, false, false, false, /*scale=*/-0.25f},
  };
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (!Can(dtype)) continue;
    for (const Case& c : cases) {
      SCOPED_TRACE(absl::StrCat(std::string(DTypeName(dtype)), " Tq=", c.rows, " Tk=", c.key_rows,
                                " keys=", c.keys, " H=", c.heads, " D=", c.head_dim, " bias=", c.bias,
                                " add=", c.accumulate));
      Problem p(c, dtype);
      const Buffer before = p.out;
      Run(p.op());
      ExpectNear(Reference(p, p.op().scale), p, before);
    }
  }
}

TEST_P(AttentionOn, NoKeysGiveZeroAndMinusInfinity) {
  for (const std::int64_t key_rows : {0, 4}) {
    Problem p({3, key_rows, 0, 2, 32}, DType::kBF16);
    Run(p.op());
    for (std::int64_t i = 0; i < p.out.elements(); ++i) EXPECT_EQ(p.out.get(i), 0.0f);
    for (std::int64_t i = 0; i < p.lse.elements(); ++i) EXPECT_EQ(p.lse.get(i), -kInfinity);
  }
}

TEST_P(AttentionOn, NoQueriesAreNoWork) {
  Problem p({0, 9, 9, 2, 32}, DType::kBF16);
  Run(p.op());
}

TEST_P(AttentionOn, RoundsScoresAndNormalisedProbabilitiesLikeTheExecutedT5) {
  for (const Case& c :
       {Case{33, 40, 40, 3, 64, true, true, false, 1.0f}, Case{7, 530, 513, 2, 64, true, true, false, 1.0f},
        Case{20, 45, 31, 1, 17, true, true, true, 1.0f}, Case{9, 31, 31, 2, 128, false, true, false, 1.0f}}) {
    SCOPED_TRACE(absl::StrCat("Tq=", c.rows, " keys=", c.keys, " D=", c.head_dim));
    Problem p(c, DType::kBF16);
    const Buffer before = p.out;
    Run(p.op());
    const Expected expected = Reference(p, 1.0f);
    ExpectNear(expected, p, before);
    // The probabilities are the reference's to the bit, but for one in a thousand that falls on the other
    // side of a tie: what is left is the rounding of the result.
    double error = 0.0;
    double norm = 0.0;
    for (std::size_t i = 0; i < expected.out.size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      const double want = RoundToBFloat16(static_cast<float>(expected.out[i]));
      const double sum = c.accumulate ? RoundToBFloat16(before.get(index) + static_cast<float>(want)) : want;
      error += std::pow(p.out.get(index) - sum, 2);
      norm += sum * sum;
    }
    EXPECT_LT(std::sqrt(error / norm), 3e-4);
  }
}

TEST_P(AttentionOn, HalvesMergedByTheirLogSumExpAreTheWhole) {
  Problem whole({45, 600, 600, 2, 128}, Can(DType::kF32) ? DType::kF32 : DType::kBF16);
  Run(whole.op());
  Problem left = whole;
  Problem right = whole;
  Attention op = left.op();
  op.keys = 233;
  Run(op);
  op = right.op();
  op.k = op.k.Slice(233, 600 - 233);
  op.v = op.v.Slice(233, 600 - 233);
  op.keys = 600 - 233;
  Run(op);
  const double tolerance = whole.dtype == DType::kF32 ? 1e-6 : 0x1p-7;
  for (std::int64_t i = 0; i < 45; ++i) {
    for (std::int64_t h = 0; h < 2; ++h) {
      const double a = left.lse.get(h * 45 + i);
      const double b = right.lse.get(h * 45 + i);
      const double merged = std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
      EXPECT_NEAR(merged, whole.lse.get(h * 45 + i), 1e-5);
      for (std::int64_t d = 0; d < 128; ++d) {
        const std::int64_t at = i * 256 + h * 128 + d;
        const double value =
            left.out.get(at) * std::exp(a - merged) + right.out.get(at) * std::exp(b - merged);
        ASSERT_NEAR(value, whole.out.get(at), tolerance) << at;
      }
    }
  }
}

TEST_P(AttentionOn, AFloatResultRoundsToTheBf16One) {
  if (!Can(DType::kBF16)) GTEST_SKIP() << "multiplies f32 only";
  Problem p({45, 130, 130, 2, 72}, DType::kBF16);
  Run(p.op());
  Buffer exact(DType::kF32, {45, 144});
  Attention op = p.op();
  op.out = exact.tensor();
  Run(op);
  bool finer = false;
  for (std::int64_t i = 0; i < exact.elements(); ++i) {
    ASSERT_EQ(RoundToBFloat16(exact.get(i)), p.out.get(i)) << i;
    finer |= exact.get(i) != p.out.get(i);
  }
  EXPECT_TRUE(finer);
}

TEST_P(AttentionOn, OutMayBeTheQueries) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (!Can(dtype)) continue;
    Problem p({150, 300, 300, 2, 128}, dtype);
    Run(p.op());
    Problem in_place = p;
    Attention op = in_place.op();
    op.out = op.q;
    Run(op);
    EXPECT_TRUE(in_place.q == p.out);
  }
}

TEST_P(AttentionOn, ARowDoesNotDependOnTheOtherRows) {
  for (const std::int64_t head_dim : {40, 128}) {
    Problem all({1100, 300, 290, 2, head_dim}, DType::kBF16);
    Run(all.op());
    for (const std::int64_t begin : {0, 37, 511, 1098}) {
      const std::int64_t count = begin == 511 ? 300 : 2;
      Problem some = all;
      Attention op = some.op();
      op.q = op.q.Slice(begin, count);
      op.out = op.out.Slice(begin, count);
      op.lse = {};
      Run(op);
      for (std::int64_t i = begin * 2 * head_dim; i < (begin + count) * 2 * head_dim; ++i) {
        ASSERT_EQ(some.out.get(i), all.out.get(i)) << "row " << i / (2 * head_dim);
      }
    }
  }
}

TEST_P(AttentionOn, SurvivesScoresOfAnySize) {
  constexpr std::int64_t kKeys = 600;
  const struct {
    const char* name;
    float (*score)(std::int64_t key);
  } kinds[] = {
      {"all large and equal", [](std::int64_t) { return 16384.0f; }},
      {"all small and equal", [](std::int64_t) { return -16384.0f; }},
      {"one dominates", [](std::int64_t key) { return key == 411 ? 16384.0f : -16384.0f; }},
      {"rising", [](std::int64_t key) { return static_cast<float>(key) * 32.0f; }},
      {"falling", [](std::int64_t key) { return static_cast<float>(key) * -32.0f; }},
  };
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (!Can(dtype)) continue;
    for (const auto& kind : kinds) {
      SCOPED_TRACE(absl::StrCat(kind.name, " ", std::string(DTypeName(dtype))));
      Problem p({3, kKeys, kKeys, 1, 32, false, false, false, 1.0f}, dtype);
      for (std::int64_t i = 0; i < p.q.elements(); ++i) p.q.set(i, i % 32 == 0 ? 1.0f : 0.0f);
      for (std::int64_t j = 0; j < kKeys; ++j) p.k.set(j * 32, kind.score(j));
      Run(p.op());
      ExpectNear(Reference(p, 1.0f), p, {});
    }
  }
}

TEST_P(AttentionOn, ARowWhoseScoresAreAllMinusInfinityIsZero) {
  Problem p({2, 70, 70, 1, 32, true}, DType::kBF16);
  for (std::int64_t i = 0; i < p.bias.elements(); ++i) p.bias.set(i, -kInfinity);
  Run(p.op());
  for (std::int64_t i = 0; i < p.out.elements(); ++i) EXPECT_EQ(p.out.get(i), 0.0f);
  for (std::int64_t i = 0; i < p.lse.elements(); ++i) EXPECT_EQ(p.lse.get(i), -kInfinity);
}

TEST_P(AttentionOn, ANaNIsNotHidden) {
  Problem p({2, 70, 70, 1, 32}, DType::kBF16);
  p.q.set(5, std::nanf(""));
  Run(p.op());
  EXPECT_TRUE(std::isnan(p.out.get(0)));
  EXPECT_FALSE(std::isnan(p.out.get(32)));
}

// k of 512 x 5,120,000 values has more than 2^31 of them; only the pages of its last head are ever touched.
TEST_P(AttentionOn, IndexesBeyondThirtyTwoBits) {
  constexpr std::int64_t kHeads = 40000;
  constexpr std::int64_t kWidth = kHeads * 128;
  constexpr std::int64_t kKeys = 512;
  constexpr std::size_t kBytes = static_cast<std::size_t>(kWidth) * kKeys * 2;
  void* memory =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "no 5 GB of address space";
  const Tensor k{static_cast<std::byte*>(memory), DType::kBF16, {kKeys, kWidth}};
  std::vector<BFloat16> q(kWidth, ToBFloat16(1.0f));
  auto* value = reinterpret_cast<BFloat16*>(memory) + kKeys * kWidth - 1;  // the last key's last value
  *value = ToBFloat16(64.0f);
  const Tensor rows{reinterpret_cast<std::byte*>(q.data()), DType::kBF16, {1, kWidth}};
  const Attention op{.q = rows, .k = k, .v = k, .heads = kHeads, .keys = kKeys, .out = rows};
  ASSERT_TRUE(Validate(op).ok());
  const cpu::AttentionRows task{kHeads - 1, 0, 1};
  switch (GetParam()) {
    case AttentionPath::kBase:
      EXPECT_TRUE(AttendBase(op, task));
      break;
    case AttentionPath::kAvx2:
      EXPECT_TRUE(AttendAvx2(op, task));
      break;
    case AttentionPath::kAvx512:
      EXPECT_TRUE(AttendAvx512(op, task));
      break;
    case AttentionPath::kAvx512Bf16:
      EXPECT_TRUE(AttendAvx512Bf16(op, task));
      break;
    case AttentionPath::kAmx:
      EXPECT_TRUE(AttendAmx(op, task));
      break;
  }
  EXPECT_EQ(ToFloat(q[kWidth - 1]), 64.0f);
  EXPECT_EQ(ToFloat(q[kWidth - 2]), 0.0f);
  EXPECT_EQ(ToFloat(q[kWidth - 129]), 1.0f);  // another head's
  munmap(memory, kBytes);
}

INSTANTIATE_TEST_SUITE_P(Paths, AttentionOn, testing::ValuesIn(cpu::kAttentionPaths),
                         [](const auto& test) { return std::string(cpu::AttentionPathName(test.param)); });

TEST(Attention, TakesTheFastestPathThatFitsTheOp) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const std::int64_t head_dim : {8, 128}) {
      Problem p({4, 6, 6, 2, head_dim}, dtype);
      const AttentionPath path = cpu::ChooseAttentionPath(p.op());
      EXPECT_TRUE(cpu::CanRunAttention(path, dtype));
      ASSERT_TRUE(cpu::RunAttention(p.op()).ok());
      ExpectNear(Reference(p, p.op().scale), p, {});
    }
  }
}

TEST(AttentionValidate, RefusesWhatBreaksTheContract) {
  const struct {
    const char* name;
    void (*spoil)(Attention& op);
    const char* message;
  } cases[] = {
      {"dtype", [](Attention& op) { op.q.dtype = DType::kF16; }, "q must be F32 or BF16"},
      {"rank",
       [](Attention& op) {
         op.q.shape = {4, 2, 32};
       },
       "q is 4x2x32, expected rank 2"},
      {"heads", [](Attention& op) { op.heads = 3; }, "multiple of heads=3"},
      {"no heads", [](Attention& op) { op.heads = 0; }, "multiple of heads=0"},
      {"k width",
       [](Attention& op) {
         op.k.shape = {6, 32};
       },
       "k is BF16 6x32, expected BF16 6x64"},
      {"v rows",
       [](Attention& op) {
         op.v.shape = {5, 64};
       },
       "v is BF16 5x64, expected BF16 6x64"},
      {"v dtype", [](Attention& op) { op.v.dtype = DType::kF32; }, "v is F32 6x64, expected BF16 6x64"},
      {"out",
       [](Attention& op) {
         op.out.shape = {5, 64};
       },
       "out is BF16 5x64, expected BF16 4x64"},
      {"no out", [](Attention& op) { op.out.data = nullptr; }, "out is BF16 4x64"},
      {"keys", [](Attention& op) { op.keys = 7; }, "keys=7, expected 0 to the 6 rows of k"},
      {"negative keys", [](Attention& op) { op.keys = -1; }, "keys=-1"},
      {"bias",
       [](Attention& op) {
         op.rel_bias.shape = {2, 10};
       },
       "rel_bias is F32 2x10, expected F32 2x9"},
      {"lse",
       [](Attention& op) {
         op.lse.shape = {4, 2};
       },
       "lse is F32 4x2, expected F32 2x4"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Problem p({4, 6, 6, 2, 32, true}, DType::kBF16);
    Attention op = p.op();
    ASSERT_TRUE(Validate(op).ok());
    c.spoil(op);
    const absl::Status status = Validate(op);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(c.message));
  }
}

TEST(AttentionValidate, RefusesRoundedScoresInF32) {
  Problem p({4, 6, 6, 2, 32, false, true}, DType::kF32);
  EXPECT_THAT(std::string(Validate(p.op()).message()), testing::HasSubstr("round_scores"));
}

}  // namespace
}  // namespace ovi
