// Conv and ConvTranspose against plain loops.
//
// Method: operands are eighths, so that every f32 sum is exact whatever its order, and results agree to the
// last bit; with an activation they agree to one unit of the last place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_test.h"

namespace ovi {
namespace {

using test::ExpectNumbers;
using test::Numbers;
using test::OpTest;
using test::Round;

constexpr DType kDTypes[] = {DType::kF32, DType::kBF16};

struct ConvCase {
  const char* name;
  Extent3 in;
  std::int64_t in_channels, out_channels;
  Extent3 kernel{1, 1, 1}, stride{1, 1, 1}, pad_before{0, 0, 0}, pad_after{0, 0, 0}, dilation{1, 1, 1};
};

const ConvCase kConvCases[] = {
    {.name = "1-D, same padding",
     .in = {1, 1, 13},
     .in_channels = 5,
     .out_channels = 7,
     .kernel = {1, 1, 7},
     .pad_before = {0, 0, 3},
     .pad_after = {0, 0, 3}},
    {.name = "1-D, dilated",
     .in = {1, 1, 40},
     .in_channels = 3,
     .out_channels = 16,
     .kernel = {1, 1, 3},
     .pad_before = {0, 0, 5},
     .pad_after = {0, 0, 5},
     .dilation = {1, 1, 5}},
    {.name = "1-D, dilated far",
     .in = {1, 1, 90},
     .in_channels = 24,
     .out_channels = 24,
     .kernel = {1, 1, 11},
     .pad_before = {0, 0, 25},
     .pad_after = {0, 0, 25},
     .dilation = {1, 1, 5}},
    {.name = "1-D, wide, dilated far",
     .in = {1, 1, 60},
     .in_channels = 16,
     .out_channels = 130,
     .kernel = {1, 1, 11},
     .pad_before = {0, 0, 25},
     .pad_after = {0, 0, 25},
     .dilation = {1, 1, 5}},
    {.name = "1-D, one channel out",
     .in = {1, 1, 65},
     .in_channels = 24,
     .out_channels = 1,
     .kernel = {1, 1, 7},
     .pad_before = {0, 0, 3},
     .pad_after = {0, 0, 3}},
    {.name = "1-D, a batch of rows",
     .in = {3, 2, 9},
     .in_channels = 4,
     .out_channels = 3,
     .kernel = {1, 1, 3}},
    {.name = "pointwise", .in = {2, 3, 5}, .in_channels = 17, .out_channels = 33},
    {.name = "pointwise, every third column",
     .in = {2, 3, 10},
     .in_channels = 4,
     .out_channels = 2,
     .stride = {1, 1, 3}},
    {.name = "2-D, same padding",
     .in = {2, 5, 7},
     .in_channels = 6,
     .out_channels = 20,
     .kernel = {1, 3, 3},
     .pad_before = {0, 1, 1},
     .pad_after = {0, 1, 1}},
    {.name = "2-D, halving, padded right and below",
     .in = {3, 6, 10},
     .in_channels = 16,
     .out_channels = 16,
     .kernel = {1, 3, 3},
     .stride = {1, 2, 2},
     .pad_after = {0, 1, 1}},
    {.name = "2-D, column kernel",
     .in = {1, 6, 4},
     .in_channels = 2,
     .out_channels = 3,
     .kernel = {1, 5, 1},
     .stride = {1, 2, 1},
     .dilation = {1, 1, 1}},
    {.name = "3-D, causal",
     .in = {4, 5, 3},
     .in_channels = 9,
     .out_channels = 12,
     .kernel = {3, 3, 3},
     .pad_before = {2, 1, 1},
     .pad_after = {0, 1, 1}},
    {.name = "3-D, time only",
     .in = {5, 2, 3},
     .in_channels = 8,
     .out_channels = 16,
     .kernel = {3, 1, 1},
     .pad_before = {2, 0, 0}},
    {.name = "3-D, strided time",
     .in = {5, 2, 3},
     .in_channels = 8,
     .out_channels = 8,
     .kernel = {3, 1, 1},
     .stride = {2, 1, 1}},
    {.name = "3-D, all different",
     .in = {7, 9, 8},
     .in_channels = 3,
     .out_channels = 5,
     .kernel = {2, 3, 4},
     .stride = {3, 2, 1},
     .pad_before = {1, 0, 2},
     .pad_after = {0, 3, 1},
     .dilation = {2, 1, 2}},
    {.name = "no frames", .in = {0, 5, 3}, .in_channels = 3, .out_channels = 4, .kernel = {1, 3, 3}},
    {.name = "an input shorter than the kernel",
     .in = {1, 1, 4},
     .in_channels = 3,
     .out_channels = 4,
     .kernel = {1, 1, 7}},
};

// conv(in, W) + bias, in double. `weight` is (Co, Ci, kt, kh, kw).
Numbers ConvByHand(const ConvCase& c, const Extent3& out, const Numbers& in, const Numbers& weight,
                   const Numbers& bias) {
  Numbers result;
  Extent3 at{};
  for (at[0] = 0; at[0] < out[0]; ++at[0]) {
    for (at[1] = 0; at[1] < out[1]; ++at[1]) {
      for (at[2] = 0; at[2] < out[2]; ++at[2]) {
        for (std::int64_t co = 0; co < c.out_channels; ++co) {
          double sum = bias.empty() ? 0 : bias[static_cast<std::size_t>(co)];
          for (std::int64_t tap = 0; tap < c.kernel[0] * c.kernel[1] * c.kernel[2]; ++tap) {
            const Extent3 k{tap / (c.kernel[1] * c.kernel[2]), tap / c.kernel[2] % c.kernel[1],
                            tap % c.kernel[2]};
            std::int64_t pixel = 0;
            bool inside = true;
            for (std::size_t axis = 0; axis < 3; ++axis) {
              const std::int64_t i =
                  at[axis] * c.stride[axis] + k[axis] * c.dilation[axis] - c.pad_before[axis];
              inside = inside && i >= 0 && i < c.in[axis];
              pixel = pixel * c.in[axis] + i;
            }
            if (!inside) continue;
            for (std::int64_t ci = 0; ci < c.in_channels; ++ci) {
              const std::int64_t w =
                  (co * c.in_channels + ci) * c.kernel[0] * c.kernel[1] * c.kernel[2] + tap;
              sum += in[static_cast<std::size_t>(pixel * c.in_channels + ci)] *
                     weight[static_cast<std::size_t>(w)];
            }
          }
          result.push_back(sum);
        }
      }
    }
  }
  return result;
}

class ConvOp : public OpTest {
 protected:
  ConvWeight Weight(DType dtype, std::int64_t co, std::int64_t ci, const Extent3& kernel,
                    const Numbers& values, DType from = DType::kF32) {
    const absl::StatusOr<ConvWeight> weight =
        backend().AllocateConvWeight(arena(), dtype, co, ci, kernel, "weight");
    OVI_CHECK(weight.ok());
    const std::vector<std::uint8_t> bytes = Encoded(from, values);
    stream().Upload(*weight, HostTensor{bytes.data(), from, {co, ci, kernel[0], kernel[1], kernel[2]}});
    OVI_CHECK(stream().Sync().ok());
    return *weight;
  }
};
OVI_ON_EVERY_BACKEND(ConvOp);

TEST_P(ConvOp, EqualsAPlainLoopForEveryGeometry) {
  for (const DType dtype : kDTypes) {
    for (const ConvCase& c : kConvCases) {
      const Shape in_shape{c.in[0], c.in[1], c.in[2], c.in_channels};
      const Numbers in = Eighths(in_shape.elements());
      const Numbers weight_values =
          Eighths(c.out_channels * c.in_channels * c.kernel[0] * c.kernel[1] * c.kernel[2]);
      const Numbers bias = Eighths(c.out_channels);
      ArenaScope case_scope(arena());
      const ConvWeight weight = Weight(dtype, c.out_channels, c.in_channels, c.kernel, weight_values);
      Conv op{.in = Put(dtype, in_shape, in),
              .weight = &weight,
              .stride = c.stride,
              .pad_before = c.pad_before,
              .pad_after = c.pad_after,
              .dilation = c.dilation};
      const Extent3 out = ConvOutExtent(op);
      const Shape out_shape{out[0], out[1], out[2], c.out_channels};

      for (const bool with_bias : {false, true}) {
        op.bias = with_bias ? Put(DType::kF32, {c.out_channels}, bias) : Tensor{};
        const Numbers sums = ConvByHand(c, out, in, weight_values, with_bias ? bias : Numbers{});
        SCOPED_TRACE(absl::StrCat(std::string(DTypeName(dtype)), ", ", c.name, with_bias ? ", bias" : ""));
        ArenaScope scope(arena());
        Numbers expected = sums;
        for (double& value : expected) value = Round(dtype, value);
        op.out = Make(dtype, out_shape);
        op.residual = {};
        op.activation = Activation::kNone;
        ASSERT_EQ(Run(op), absl::OkStatus());
        EXPECT_EQ(Get(op.out), expected);

        op.activation = Activation::kSilu;
        op.out = Make(dtype, out_shape);
        for (double& value : expected) value = Round(dtype, value / (1 + std::exp(-value)));
        ASSERT_EQ(Run(op), absl::OkStatus());
        ExpectNumbers(dtype, Get(op.out), expected);

        // One rounding after everything is added, whether out is the residual or not.
        op.activation = Activation::kNone;
        const Numbers residual = Eighths(out_shape.elements());
        for (std::size_t i = 0; i < sums.size(); ++i) expected[i] = Round(dtype, sums[i] + residual[i]);
        op.residual = Put(dtype, out_shape, residual);
        op.out = Make(dtype, out_shape);
        ASSERT_EQ(Run(op), absl::OkStatus());
        EXPECT_EQ(Get(op.out), expected) << "residual apart";
        EXPECT_EQ(Get(op.residual), residual);
        op.out = op.residual;
        ASSERT_EQ(Run(op), absl::OkStatus());
        EXPECT_EQ(Get(op.out), expected) << "residual in place";
      }
    }
  }
}

// What malloc has handed out and not got back.
std::int64_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<std::int64_t>(info.uordblks + info.hblkhd);
}

// The vocoder's last stage at 5 s of sound. What the backend keeps of it is host memory outside any budget:
// the largest scratch of one convolution, 54 MB, and not 150 MB for each.
TEST_P(ConvOp, KeepsLittleOfLongNarrowSequences) {
  constexpr std::int64_t kLength = 80'384;
  constexpr std::int64_t kChannels = 24;
  std::int64_t kept = 0;
  for (const DType dtype : kDTypes) {
    for (const std::int64_t taps : {3, 7, 11}) {
      ArenaScope scope(arena());
      const ConvWeight weight =
          Weight(dtype, kChannels, kChannels, {1, 1, taps}, Eighths(kChannels * kChannels * taps));
      const std::int64_t pad = 5 * (taps - 1) / 2;
      const Conv op{.in = Put(dtype, {1, 1, kLength, kChannels}, Eighths(kLength * kChannels)),
                    .weight = &weight,
                    .pad_before = {0, 0, pad},
                    .pad_after = {0, 0, pad},
                    .dilation = {1, 1, 5},
                    .out = Make(dtype, {1, 1, kLength, kChannels})};
      const std::int64_t before = HeapBytes();
      ASSERT_EQ(Run(op), absl::OkStatus());
      kept += HeapBytes() - before;
    }
  }
  EXPECT_LT(kept, std::int64_t{100} << 20);
}

// Channels of the video autoencoder's kind and random values, of which every order of summing rounds
// differently. Each band reads the rows around it, and pads where the whole picture does.
TEST_P(ConvOp, GivesRowsTheSameBitsInBandsOfAnyHeight) {
  struct Case {
    std::int64_t rows, cols, in_channels, out_channels;
    Extent3 kernel, stride, pad_before, pad_after;
  };
  const Extent3 space{0, 1, 1};
  const Extent3 once{1, 1, 1};
  const Extent3 none{0, 0, 0};
  const Case cases[] = {
      {5, 7, 160, 160, {3, 3, 3}, once, space, space},  {22, 6, 160, 24, {3, 3, 3}, once, space, space},
      {10, 14, 160, 64, {3, 3, 3}, once, space, space}, {22, 6, 96, 64, {3, 3, 3}, once, space, space},
      {8, 5, 512, 256, {1, 3, 3}, once, space, space},  {20, 12, 160, 160, {1, 3, 3}, {1, 2, 2}, none, space},
      {9, 11, 160, 160, {3, 1, 1}, once, none, none},   {13, 10, 512, 160, once, once, none, none},
      {6, 4, 12, 40, {3, 3, 3}, once, space, space}};
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.rows, "x", c.cols, ", ", c.in_channels, " to ", c.out_channels, ", kernel ",
                              c.kernel[0], "x", c.kernel[1], "x", c.kernel[2]));
    ArenaScope scope(arena());
    const Numbers values =
        Random(DType::kF32, c.out_channels * c.in_channels * c.kernel[0] * c.kernel[1] * c.kernel[2]);
    const ConvWeight weight = Weight(DType::kF32, c.out_channels, c.in_channels, c.kernel, values);
    const Tensor bias = Put(DType::kF32, {c.out_channels}, Random(DType::kF32, c.out_channels));
    const std::int64_t frames = c.kernel[0];
    const std::int64_t in_row = c.cols * c.in_channels;
    const Numbers in = Random(DType::kF32, frames * c.rows * in_row);
    Conv op{.in = Put(DType::kF32, {frames, c.rows, c.cols, c.in_channels}, in),
            .weight = &weight,
            .bias = bias,
            .stride = c.stride,
            .pad_before = c.pad_before,
            .pad_after = c.pad_after};
    const Extent3 extent = ConvOutExtent(op);
    const std::int64_t out_row = extent[2] * c.out_channels;
    const Numbers residual = Random(DType::kF32, extent[1] * out_row);
    op.residual = Put(DType::kF32, {1, extent[1], extent[2], c.out_channels}, residual);
    op.out = op.residual;
    ASSERT_EQ(Run(op), absl::OkStatus());
    const Numbers whole = Get(op.out);

    for (std::int64_t height = 1; height < extent[1]; ++height) {
      for (std::int64_t begin = 0; begin < extent[1]; begin += height) {
        ArenaScope band_scope(arena());
        const std::int64_t end = std::min(begin + height, extent[1]);
        const std::int64_t first_read = begin * c.stride[1] - c.pad_before[1];
        const std::int64_t last_read = (end - 1) * c.stride[1] - c.pad_before[1] + c.kernel[1] - 1;
        const std::int64_t in_begin = std::max<std::int64_t>(first_read, 0);
        const std::int64_t in_end = std::min(last_read + 1, c.rows);
        Numbers band;
        for (std::int64_t t = 0; t < frames; ++t) {
          const auto frame = in.begin() + t * c.rows * in_row;
          band.insert(band.end(), frame + in_begin * in_row, frame + in_end * in_row);
        }
        Conv part = op;
        part.in = Put(DType::kF32, {frames, in_end - in_begin, c.cols, c.in_channels}, band);
        part.pad_before[1] = in_begin - first_read;
        part.pad_after[1] = last_read + 1 - in_end;
        part.residual = Put(DType::kF32, {1, end - begin, extent[2], c.out_channels},
                            Numbers(residual.begin() + begin * out_row, residual.begin() + end * out_row));
        part.out = part.residual;
        ASSERT_EQ(Run(part), absl::OkStatus());
        ASSERT_TRUE(Get(part.out) == Numbers(whole.begin() + begin * out_row, whole.begin() + end * out_row))
            << "rows " << begin << " to " << end - 1;
      }
    }
  }
}

TEST_P(ConvOp, TakesWeightsOfAnyFloatDType) {
  // 1.5, -0.25 in every format.
  const std::uint16_t half[] = {0x3e00, 0xb400};
  const std::uint8_t quarter[] = {0x3c, 0xa8};
  const std::vector<std::uint8_t> bf16 = Encoded(DType::kBF16, {1.5, -0.25});
  const std::vector<std::uint8_t> f32 = Encoded(DType::kF32, {1.5, -0.25});
  const struct {
    DType dtype;
    const void* data;
  } sources[] = {
      {DType::kF32, f32.data()}, {DType::kBF16, bf16.data()}, {DType::kF16, half}, {DType::kF8E4M3, quarter}};
  for (const auto& source : sources) {
    for (const DType dtype : kDTypes) {
      ArenaScope scope(arena());
      const absl::StatusOr<ConvWeight> weight =
          backend().AllocateConvWeight(arena(), dtype, 2, 1, {1, 1, 1}, "weight");
      ASSERT_TRUE(weight.ok()) << weight.status();
      stream().Upload(*weight, HostTensor{source.data, source.dtype, {2, 1, 1}});
      const Conv op{
          .in = Put(dtype, {1, 1, 2, 1}, {1, -2}), .weight = &*weight, .out = Make(dtype, {1, 1, 2, 2})};
      ASSERT_EQ(Run(op), absl::OkStatus());
      EXPECT_EQ(Get(op.out), Numbers({1.5, -0.25, -3, 0.5})) << DTypeName(source.dtype);
    }
  }
}

TEST_P(ConvOp, ReadsPixelsPastTheLastByteAndElementOf32Bits) {
  // 2.4e9 elements and 9.7e9 bytes of address space; the convolutions stride over all but a few pages of it.
  constexpr std::int64_t kFrames = 9;
  constexpr std::int64_t kRows = 1024;
  constexpr std::int64_t kColumns = 1024;
  constexpr std::int64_t kChannels = 256;
  absl::StatusOr<std::unique_ptr<DeviceBlock>> block = backend().AllocateBlock(std::int64_t{10} << 30);
  if (!block.ok()) GTEST_SKIP() << block.status();
  Arena large(*std::move(block));
  const absl::StatusOr<Tensor> in =
      large.Allocate(DType::kF32, {kFrames, kRows, kColumns, kChannels}, "clip");
  ASSERT_TRUE(in.ok()) << in.status();
  ASSERT_GT(in->elements(), std::int64_t{1} << 31);
  const Tensor pixels = in->Reshaped({kFrames * kRows * kColumns, kChannels});
  for (std::int64_t f = 0; f < kFrames; ++f) {
    const Tensor pixel = pixels.Slice((f * kRows + 512) * kColumns + 512, 1);
    ASSERT_EQ(Run(Fill{.out = pixel, .value = static_cast<float>(f + 1)}), absl::OkStatus());
  }
  // Output channel 2 is the last input channel, of one pixel under the kernel.
  const auto last_channel = [&](const Extent3& kernel, std::int64_t tap) {
    const std::int64_t taps = kernel[0] * kernel[1] * kernel[2];
    Numbers values(static_cast<std::size_t>(3 * kChannels * taps), 0.0);
    values[static_cast<std::size_t>((3 * kChannels - 1) * taps + tap)] = 1;
    return Weight(DType::kF32, 3, kChannels, kernel, values);
  };
  const ConvWeight pointwise = last_channel({1, 1, 1}, 0);
  const Conv columns{.in = *in,
                     .weight = &pointwise,
                     .stride = {1, 1, 512},
                     .out = Make(DType::kF32, {kFrames, kRows, 2, 3})};
  ASSERT_EQ(Run(columns), absl::OkStatus());
  const Numbers column_values = Get(columns.out);
  const ConvWeight cube = last_channel({3, 3, 3}, 2 * 9 + 1 * 3 + 1);
  const Conv causal{.in = *in,
                    .weight = &cube,
                    .stride = {1, 512, 512},
                    .pad_before = {0, 1, 1},
                    .pad_after = {0, 1, 1},
                    .out = Make(DType::kF32, {kFrames - 2, 2, 2, 3})};
  ASSERT_EQ(Run(causal), absl::OkStatus());
  const Numbers cube_values = Get(causal.out);
  for (std::int64_t f = 0; f < kFrames; ++f) {
    EXPECT_EQ(column_values[static_cast<std::size_t>(((f * kRows + 512) * 2 + 1) * 3 + 2)], f + 1);
    if (f >= 2) {
      EXPECT_EQ(cube_values[static_cast<std::size_t>(((f - 2) * 4 + 3) * 3 + 2)], f + 1);
    }
  }
  EXPECT_EQ(std::accumulate(column_values.begin(), column_values.end(), 0.0), 45) << "and zeros elsewhere";
  EXPECT_EQ(std::accumulate(cube_values.begin(), cube_values.end(), 0.0), 42) << "and zeros elsewhere";
}

class ConvTransposeOp : public OpTest {};
OVI_ON_EVERY_BACKEND(ConvTransposeOp);

TEST_P(ConvTransposeOp, EqualsAPlainLoopForEveryGeometry) {
  struct Case {
    std::int64_t length, in_channels, out_channels, kernel, stride, pad;
  };
  const Case cases[] = {{9, 5, 3, 8, 4, 2}, {17, 16, 8, 4, 2, 1},  {1, 3, 7, 8, 4, 2}, {6, 2, 1, 3, 1, 0},
                        {5, 4, 4, 2, 3, 0}, {33, 48, 24, 4, 2, 1}, {0, 3, 2, 4, 2, 1}};
  for (const DType dtype : kDTypes) {
    for (const Case& c : cases) {
      for (const bool with_bias : {false, true}) {
        SCOPED_TRACE(absl::StrCat(std::string(DTypeName(dtype)), " ", c.length, "x", c.in_channels, " to ",
                                  c.out_channels, with_bias ? ", bias" : ""));
        ArenaScope scope(arena());
        const Numbers in = Eighths(c.length * c.in_channels);
        const Numbers w = Eighths(c.in_channels * c.out_channels * c.kernel);
        const Numbers bias = Eighths(c.out_channels);
        const absl::StatusOr<ConvTransposeWeight> weight = backend().AllocateConvTransposeWeight(
            arena(), dtype, c.in_channels, c.out_channels, c.kernel, "weight");
        ASSERT_TRUE(weight.ok()) << weight.status();
        const std::vector<std::uint8_t> bytes = Encoded(DType::kF32, w);
        stream().Upload(*weight,
                        HostTensor{bytes.data(), DType::kF32, {c.in_channels, c.out_channels, c.kernel}});
        const std::int64_t length = c.length == 0 ? 0 : (c.length - 1) * c.stride + c.kernel - 2 * c.pad;
        ConvTranspose op{.in = Put(dtype, {c.length, c.in_channels}, in),
                         .weight = &*weight,
                         .stride = c.stride,
                         .pad = c.pad,
                         .out = Make(dtype, {length, c.out_channels})};
        if (with_bias) op.bias = Put(DType::kF32, {c.out_channels}, bias);
        ASSERT_EQ(Run(op), absl::OkStatus());

        Numbers expected;
        for (std::int64_t n = 0; n < length; ++n) {
          for (std::int64_t co = 0; co < c.out_channels; ++co)
            expected.push_back(with_bias ? bias[static_cast<std::size_t>(co)] : 0);
        }
        for (std::int64_t i = 0; i < c.length; ++i) {
          for (std::int64_t j = 0; j < c.kernel; ++j) {
            const std::int64_t n = c.stride * i + j - c.pad;
            if (n < 0 || n >= length) continue;
            for (std::int64_t ci = 0; ci < c.in_channels; ++ci) {
              for (std::int64_t co = 0; co < c.out_channels; ++co) {
                expected[static_cast<std::size_t>(n * c.out_channels + co)] +=
                    in[static_cast<std::size_t>(i * c.in_channels + ci)] *
                    w[static_cast<std::size_t>((ci * c.out_channels + co) * c.kernel + j)];
              }
            }
          }
        }
        for (double& value : expected) value = Round(dtype, value);
        EXPECT_EQ(Get(op.out), expected);
      }
    }
  }
}

}  // namespace
}  // namespace ovi
