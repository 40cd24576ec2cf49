// AntiAliasedSnake against the network it fuses, written out stage by stage: pad, transposed convolution,
// crop, snake, pad, strided convolution.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_test.h"

namespace ovi {
namespace {

using test::ExpectNumbers;
using test::Numbers;
using test::OpTest;
using test::Round;

class AntiAliasedSnakeOp : public OpTest {};
OVI_ON_EVERY_BACKEND(AntiAliasedSnakeOp);

Numbers ReplicatePad(const Numbers& x, std::size_t left, std::size_t right) {
  Numbers padded(left, x.front());
  padded.insert(padded.end(), x.begin(), x.end());
  padded.insert(padded.end(), right, x.back());
  return padded;
}

// One channel of at least one value.
Numbers SnakeByHand(const Numbers& x, double alpha, double inv_beta, const Numbers& filter_up,
                    const Numbers& filter_down) {
  const Numbers padded = ReplicatePad(x, 5, 5);
  Numbers up(2 * (padded.size() - 1) + 12, 0.0);
  for (std::size_t i = 0; i < padded.size(); ++i) {
    for (std::size_t j = 0; j < 12; ++j) up[2 * i + j] += 2 * padded[i] * filter_up[j];
  }
  Numbers s(up.begin() + 15, up.end() - 15);
  for (double& value : s) value += std::pow(std::sin(value * alpha), 2) * inv_beta;
  const Numbers again = ReplicatePad(s, 5, 6);
  Numbers out(x.size(), 0.0);
  for (std::size_t n = 0; n < out.size(); ++n) {
    for (std::size_t j = 0; j < 12; ++j) out[n] += again[2 * n + j] * filter_down[j];
  }
  return out;
}

TEST_P(AntiAliasedSnakeOp, EqualsTheStagesItFuses) {
  // The filters are lopsided, so that one that is applied backwards shows.
  const Numbers filter_up = Random(DType::kF32, 12, 0.5);
  const Numbers filter_down = Random(DType::kF32, 12, 0.5);
  const Tensor up = Put(DType::kF32, {12}, filter_up);
  const Tensor down = Put(DType::kF32, {12}, filter_down);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const std::int64_t length : {0, 1, 2, 5, 31, 32, 33, 65, 200}) {
      for (const std::int64_t channels : {1, 3, 24, 70}) {
        SCOPED_TRACE(absl::StrCat(length, "x", channels));
        ArenaScope scope(arena());
        const Numbers x = Random(dtype, length * channels);
        Numbers alpha = Random(DType::kF32, channels, 3);
        const Numbers inv_beta = Random(DType::kF32, channels);
        alpha[0] = 20;  // many periods
        const Shape shape{length, channels};
        const AntiAliasedSnake op{.x = Put(dtype, shape, x),
                                  .alpha = Put(DType::kF32, {channels}, alpha),
                                  .inv_beta = Put(DType::kF32, {channels}, inv_beta),
                                  .filter_up = up,
                                  .filter_down = down,
                                  .out = Make(dtype, shape)};
        ASSERT_EQ(Run(op), absl::OkStatus());
        Numbers expected(x.size());
        for (std::size_t c = 0; length > 0 && c < static_cast<std::size_t>(channels); ++c) {
          Numbers column;
          for (std::size_t i = c; i < x.size(); i += static_cast<std::size_t>(channels))
            column.push_back(x[i]);
          const Numbers out = SnakeByHand(column, alpha[c], inv_beta[c], filter_up, filter_down);
          for (std::size_t n = 0; n < out.size(); ++n)
            expected[n * static_cast<std::size_t>(channels) + c] = Round(dtype, out[n]);
        }
        ExpectNumbers(dtype, Get(op.out), expected, /*scale=*/8);
      }
    }
  }
}

}  // namespace
}  // namespace ovi
