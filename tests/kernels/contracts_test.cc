// Every clause of every contract, broken one at a time: the op is refused as a bug of ours, by its name,
// before any memory is touched. gemm_test.cc, attention_test.cc and quantise_test.cc hold the tables of those
// three.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "kernels/op.h"
#include "tests/kernels/op_test.h"

namespace ovi {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// An address that is never followed.
Tensor Fake(DType dtype, const Shape& shape) {
  return {reinterpret_cast<std::byte*>(std::uintptr_t{64}), dtype, shape};
}
Tensor F32(const Shape& shape) {
  return Fake(DType::kF32, shape);
}
Tensor Bf16(const Shape& shape) {
  return Fake(DType::kBF16, shape);
}

struct Refusal {
  const char* clause;  // what the message says
  Op op;
};

void ExpectRefusals(const Op& accepted, const std::vector<Refusal>& refusals) {
  EXPECT_EQ(Validate(accepted), absl::OkStatus()) << OpName(accepted);
  for (const Refusal& refusal : refusals) {
    const absl::Status status = Validate(refusal.op);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << OpName(accepted) << ": " << refusal.clause;
    EXPECT_THAT(std::string(status.message()),
                StartsWith(std::string(OpName(accepted)) + ": contract broken: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(refusal.clause));
  }
}

// `valid` with one change.
template <typename OpType, typename Change>
Op With(OpType valid, const Change& change) {
  change(valid);
  return valid;
}

TEST(Contracts, OfLayerNorm) {
  using T = LayerNorm;
  const Tensor c = F32({5});
  const T ok{.x = Bf16({3, 5}), .weight = c, .bias = c, .scale = c, .shift = c, .out = Bf16({3, 5})};
  ExpectRefusals(ok,
                 {{"x must be F32 or BF16", With(ok, [](T& op) { op.x.dtype = DType::kI8; })},
                  {"x must be (T, C)", With(ok,
                                            [](T& op) {
                                              op.x.shape = {3, 5, 1};
                                            })},
                  {"out is BF16 3x4, expected BF16 3x5", With(ok,
                                                              [](T& op) {
                                                                op.out.shape = {3, 4};
                                                              })},
                  {"out is F32 3x5, expected BF16 3x5", With(ok, [](T& op) { op.out.dtype = DType::kF32; })},
                  {"out is BF16 3x5", With(ok, [](T& op) { op.out.data = nullptr; })},
                  {"weight and bias come together", With(ok, [](T& op) { op.bias = {}; })},
                  {"scale and shift come together", With(ok, [](T& op) { op.scale = {}; })},
                  {"weight is F32 6, expected F32 5", With(ok, [](T& op) { op.weight.shape = {6}; })},
                  {"bias is BF16 5", With(ok, [](T& op) { op.bias.dtype = DType::kBF16; })},
                  {"scale is F32 1x5", With(ok,
                                            [](T& op) {
                                              op.scale.shape = {1, 5};
                                            })},
                  {"shift is F32 4", With(ok, [](T& op) { op.shift.shape = {4}; })}});
}

TEST(Contracts, OfRmsNormAndRope) {
  using N = RmsNorm;
  const N norm{
      .x = F32({3, 24}), .weight = F32({24}), .rope_table = F32({2, 4, 2}), .heads = 3, .out = F32({3, 24})};
  ExpectRefusals(norm, {{"x must be F32 or BF16", With(norm, [](N& op) { op.x.dtype = DType::kU8; })},
                        {"x must be (T, C)", With(norm, [](N& op) { op.x.shape = {72}; })},
                        {"out is F32 3x12", With(norm,
                                                 [](N& op) {
                                                   op.out.shape = {3, 12};
                                                 })},
                        {"weight is F32 23", With(norm, [](N& op) { op.weight.shape = {23}; })},
                        {"weight is F32 24", With(norm, [](N& op) { op.weight.data = nullptr; })},
                        {"heads must divide C into even parts", With(norm, [](N& op) { op.heads = 5; })},
                        {"heads must divide C into even parts", With(norm, [](N& op) { op.heads = 8; })},
                        {"table has more pairs", With(norm, [](N& op) {
                           op.rope_table.shape = {2, 5, 2};
                         })}});
  using R = Rope;
  const R rope{.x = Bf16({3, 24}), .table = F32({2, 4, 2}), .heads = 3, .out = Bf16({3, 24})};
  ExpectRefusals(rope, {{"x must be F32 or BF16", With(rope, [](R& op) { op.x.dtype = DType::kF16; })},
                        {"x must be (T, C)", With(rope,
                                                  [](R& op) {
                                                    op.x.shape = {1, 3, 24};
                                                  })},
                        {"out is BF16 4x24", With(rope,
                                                  [](R& op) {
                                                    op.out.shape = {4, 24};
                                                  })},
                        {"heads must divide", With(rope, [](R& op) { op.heads = 0; })},
                        {"table must be F32 (positions, P, 2)", With(rope,
                                                                     [](R& op) {
                                                                       op.table.shape = {2, 8};
                                                                     })},
                        {"table must be F32", With(rope, [](R& op) { op.table.dtype = DType::kBF16; })},
                        {"table must be F32 (positions, P, 2)", With(rope,
                                                                     [](R& op) {
                                                                       op.table.shape = {2, 4, 3};
                                                                     })},
                        {"table has more pairs than a head", With(rope, [](R& op) { op.heads = 4; })}});
}

TEST(Contracts, OfChannelNorm) {
  using T = ChannelNorm;
  const T ok{.x = F32({2, 3, 5}), .weight = F32({5}), .out = F32({2, 3, 5})};
  ExpectRefusals(
      ok,
      {{"x must be F32 or BF16", With(ok, [](T& op) { op.x.dtype = DType::kI32; })},
       {"x must have a channel axis", With(ok, [](T& op) { op.x.shape = {}; })},
       {"out is F32 2x15", With(ok,
                                [](T& op) {
                                  op.out.shape = {2, 15};
                                })},
       {"weight is F32 6", With(ok, [](T& op) { op.weight.shape = {6}; })},
       {"weight is F32 scalar", With(ok, [](T& op) { op.weight = {}; })},
       {"kMagnitude has no weight", With(ok, [](T& op) { op.rule = ChannelNormRule::kMagnitude; })},
       {"activation must be none or silu", With(ok, [](T& op) { op.activation = Activation::kGeluTanh; })}});
}

TEST(Contracts, OfConv) {
  using T = Conv;
  const ConvWeight weight{.storage = Fake(DType::kU8, {1}),
                          .dtype = DType::kF32,
                          .out_channels = 7,
                          .in_channels = 4,
                          .kernel = {1, 3, 3}};
  const T ok{.in = F32({2, 5, 6, 4}),
             .weight = &weight,
             .bias = F32({7}),
             .pad_before = {0, 1, 1},
             .residual = F32({2, 4, 5, 7}),
             .out = F32({2, 4, 5, 7})};
  ExpectRefusals(ok,
                 {{"weight is missing", With(ok, [](T& op) { op.weight = nullptr; })},
                  {"in must be F32 or BF16", With(ok, [](T& op) { op.in.dtype = DType::kF16; })},
                  {"in must be (T, H, W, C)", With(ok,
                                                   [](T& op) {
                                                     op.in.shape = {5, 6, 4};
                                                   })},
                  {"in has other channels", With(ok,
                                                 [](T& op) {
                                                   op.in.shape = {2, 5, 6, 3};
                                                 })},
                  {"in has another dtype", With(ok, [](T& op) { op.in.dtype = DType::kBF16; })},
                  {"strides and dilations are >= 1", With(ok, [](T& op) { op.stride[2] = 0; })},
                  {"strides and dilations are >= 1", With(ok, [](T& op) { op.dilation[0] = 0; })},
                  {"pads >= 0", With(ok, [](T& op) { op.pad_before[1] = -1; })},
                  {"pads >= 0", With(ok, [](T& op) { op.pad_after[1] = -1; })},
                  {"out is F32 2x4x5x7, expected F32 2x5x5x7", With(ok, [](T& op) { op.pad_after[1] = 1; })},
                  {"bias is F32 4", With(ok, [](T& op) { op.bias.shape = {4}; })},
                  {"residual is F32 2x4x5x1", With(ok,
                                                   [](T& op) {
                                                     op.residual.shape = {2, 4, 5, 1};
                                                   })},
                  {"residual and activation exclude each other",
                   With(ok, [](T& op) { op.activation = Activation::kSilu; })}});
}

TEST(Contracts, OfConvTranspose) {
  using T = ConvTranspose;
  const ConvTransposeWeight weight{.storage = Fake(DType::kU8, {1}),
                                   .dtype = DType::kBF16,
                                   .in_channels = 4,
                                   .out_channels = 3,
                                   .kernel = 8};
  const T ok{
      .in = Bf16({5, 4}), .weight = &weight, .bias = F32({3}), .stride = 4, .pad = 2, .out = Bf16({20, 3})};
  ExpectRefusals(ok, {{"weight is missing", With(ok, [](T& op) { op.weight = nullptr; })},
                      {"in must be F32 or BF16", With(ok, [](T& op) { op.in.dtype = DType::kI64; })},
                      {"in must be (L, C)", With(ok, [](T& op) { op.in.shape = {20}; })},
                      {"stride >= 1, pad >= 0", With(ok, [](T& op) { op.stride = 0; })},
                      {"stride >= 1, pad >= 0", With(ok, [](T& op) { op.pad = -1; })},
                      {"in has other channels", With(ok,
                                                     [](T& op) {
                                                       op.in.shape = {5, 3};
                                                     })},
                      {"in has another dtype", With(ok, [](T& op) { op.in.dtype = DType::kF32; })},
                      {"out is BF16 20x3, expected BF16 22x3", With(ok, [](T& op) { op.pad = 1; })},
                      {"bias is F32 4", With(ok, [](T& op) { op.bias.shape = {4}; })}});
}

TEST(Contracts, OfElementwiseAndFill) {
  using T = Elementwise;
  const T binary{.kind = ElementwiseKind::kMul, .a = F32({4, 6}), .b = Bf16({6}), .out = Bf16({24})};
  ExpectRefusals(
      binary, {{"a must be F32 or BF16", With(binary, [](T& op) { op.a.dtype = DType::kI32; })},
               {"out has another size than a", With(binary, [](T& op) { op.out.shape = {23}; })},
               {"out must be F32 or BF16", With(binary, [](T& op) { op.out.dtype = DType::kU8; })},
               {"b belongs to binary kinds", With(binary, [](T& op) { op.b = {}; })},
               {"b belongs to binary kinds", With(binary, [](T& op) { op.kind = ElementwiseKind::kSilu; })},
               {"b must be F32 or BF16", With(binary, [](T& op) { op.b.dtype = DType::kI8; })},
               {"b's size must divide a's", With(binary, [](T& op) { op.b.shape = {5}; })},
               {"b's size must divide a's", With(binary, [](T& op) { op.b.shape = {0}; })}});
  const T pixels{.kind = ElementwiseKind::kUnitToU8, .a = F32({4}), .out = Fake(DType::kU8, {4})};
  ExpectRefusals(pixels, {{"u8 comes from F32", With(pixels, [](T& op) { op.a.dtype = DType::kBF16; })},
                          {"u8 comes from F32", With(pixels, [](T& op) { op.out.dtype = DType::kI8; })}});
  ExpectRefusals(Fill{.out = F32({3})}, {{"out must be F32 or BF16", Fill{.out = Fake(DType::kU8, {3})}}});
}

TEST(Contracts, OfPermute) {
  using T = Permute;
  const T ok{.in = F32({2, 3, 4}), .axes = {2, 0, 1}, .out = F32({4, 2, 3})};
  ExpectRefusals(ok, {{"rank and dtype", With(ok,
                                              [](T& op) {
                                                op.out.shape = {4, 6};
                                              })},
                      {"rank and dtype", With(ok, [](T& op) { op.out.dtype = DType::kI32; })},
                      {"axes must be a permutation", With(ok,
                                                          [](T& op) {
                                                            op.axes = {2, 0, 0};
                                                          })},
                      {"axes must be a permutation", With(ok,
                                                          [](T& op) {
                                                            op.axes = {2, 0, 3};
                                                          })},
                      {"axes must be a permutation", With(ok,
                                                          [](T& op) {
                                                            op.axes = {2, -1, 1};
                                                          })},
                      {"out does not have the permuted extents", With(ok, [](T& op) {
                         op.axes = {2, 1, 0};
                       })}});
}

TEST(Contracts, OfUpsample) {
  using T = Upsample;
  const T ok{.in = F32({2, 3, 4, 5}), .out = F32({2, 6, 8, 5})};
  ExpectRefusals(ok, {{"in must be F32 or BF16", With(ok, [](T& op) { op.in.dtype = DType::kU8; })},
                      {"(F, H, W, C) of one dtype", With(ok,
                                                         [](T& op) {
                                                           op.in.shape = {2, 3, 20};
                                                         })},
                      {"(F, H, W, C) of one dtype", With(ok, [](T& op) { op.out.dtype = DType::kBF16; })},
                      {"whole factors", With(ok,
                                             [](T& op) {
                                               op.out.shape = {1, 6, 8, 5};
                                             })},
                      {"whole factors", With(ok,
                                             [](T& op) {
                                               op.out.shape = {2, 7, 8, 5};
                                             })},
                      {"whole factors", With(ok,
                                             [](T& op) {
                                               op.out.shape = {2, 6, 9, 5};
                                             })},
                      {"whole factors", With(ok, [](T& op) {
                         op.out.shape = {2, 6, 8, 10};
                       })}});
}

TEST(Contracts, OfTheShortcuts) {
  using U = UpShortcut;
  const U up{.in = F32({2, 3, 4, 8}), .time_factor = 2, .drop = 1, .x = F32({3, 6, 8, 4})};
  ExpectRefusals(up, {{"in must be F32 or BF16", With(up, [](U& op) { op.in.dtype = DType::kI8; })},
                      {"of one dtype", With(up, [](U& op) { op.x.dtype = DType::kBF16; })},
                      {"of one dtype", With(up,
                                            [](U& op) {
                                              op.x.shape = {3, 48, 4};
                                            })},
                      {"0 <= drop < time_factor", With(up, [](U& op) { op.drop = 2; })},
                      {"0 <= drop < time_factor", With(up, [](U& op) { op.drop = -1; })},
                      {"0 <= drop < time_factor", With(up, [](U& op) { op.time_factor = 0; })},
                      {"x is F32 3x6x8x4, expected F32 4x6x8x4", With(up, [](U& op) { op.drop = 0; })},
                      {"Ci must divide Co * ft * 4", With(up,
                                                          [](U& op) {
                                                            op.in.shape = {2, 3, 4, 5};
                                                          })},
                      {"Ci must divide Co * ft * 4", With(up, [](U& op) {
                         op.in.shape = {2, 3, 4, 0};
                       })}});
  using D = DownShortcut;
  const D down{.in = F32({3, 6, 4, 2}), .time_factor = 2, .space_factor = 2, .x = F32({2, 3, 2, 4})};
  ExpectRefusals(down, {{"in must be F32 or BF16", With(down, [](D& op) { op.in.dtype = DType::kI8; })},
                        {"of one dtype", With(down, [](D& op) { op.x.dtype = DType::kBF16; })},
                        {"factors are >= 1", With(down, [](D& op) { op.time_factor = 0; })},
                        {"factors are >= 1", With(down, [](D& op) { op.space_factor = 0; })},
                        {"rows and columns must divide", With(down,
                                                              [](D& op) {
                                                                op.in.shape = {3, 7, 4, 2};
                                                              })},
                        {"rows and columns must divide", With(down,
                                                              [](D& op) {
                                                                op.in.shape = {3, 6, 5, 2};
                                                              })},
                        {"x is F32 1x3x2x4, expected F32 2x3x2x4", With(down,
                                                                        [](D& op) {
                                                                          op.x.shape = {1, 3, 2, 4};
                                                                        })},
                        {"Co must divide Ci * ft * fs * fs", With(down,
                                                                  [](D& op) {
                                                                    op.x.shape = {2, 3, 2, 5};
                                                                  })},
                        {"Co must divide", With(down, [](D& op) {
                           op.x.shape = {2, 3, 2, 0};
                         })}});
}

TEST(Contracts, OfAntiAliasedSnake) {
  using T = AntiAliasedSnake;
  T ok{.x = F32({9, 3}),
       .alpha = F32({3}),
       .inv_beta = F32({3}),
       .filter_up = F32({12}),
       .filter_down = F32({12}),
       .out = F32({9, 3})};
  ok.out.data += 4096;
  ExpectRefusals(ok, {{"x must be F32 or BF16", With(ok, [](T& op) { op.x.dtype = DType::kI8; })},
                      {"x must be (L, C)", With(ok, [](T& op) { op.x.shape = {27}; })},
                      {"out is F32 9x2", With(ok,
                                              [](T& op) {
                                                op.out.shape = {9, 2};
                                              })},
                      {"out may not be x", With(ok, [](T& op) { op.out = op.x; })},
                      {"alpha is F32 4", With(ok, [](T& op) { op.alpha.shape = {4}; })},
                      {"inv_beta is BF16 3", With(ok, [](T& op) { op.inv_beta.dtype = DType::kBF16; })},
                      {"filter_up is F32 11", With(ok, [](T& op) { op.filter_up.shape = {11}; })},
                      {"filter_down is F32 1x12", With(ok, [](T& op) {
                         op.filter_down.shape = {1, 12};
                       })}});
}

TEST(Contracts, OfCopyColumns) {
  using T = CopyColumns;
  const T ok{.in = Bf16({3, 8}), .in_begin = 2, .columns = 4, .out = Bf16({3, 5}), .out_begin = 1};
  ExpectRefusals(ok, {{"in and out must be (T, C)", With(ok, [](T& op) { op.in.shape = {24}; })},
                      {"in and out must have one dtype", With(ok, [](T& op) { op.out.dtype = DType::kF32; })},
                      {"as many rows", With(ok,
                                            [](T& op) {
                                              op.out.shape = Shape{4, 5};
                                            })},
                      {"the band must lie in in", With(ok, [](T& op) { op.in_begin = 5; })},
                      {"the band must lie in in", With(ok, [](T& op) { op.in_begin = -1; })},
                      {"the band must lie in in", With(ok, [](T& op) { op.columns = -1; })},
                      {"the band must lie in out", With(ok, [](T& op) { op.out_begin = 2; })}});
}

TEST(Contracts, OfMergeAttention) {
  using T = MergeAttention;
  const T ok{.parts = F32({2, 3, 8}), .lse = F32({2, 4, 3}), .out = Bf16({3, 8})};
  ExpectRefusals(ok, {{"parts must be F32", With(ok, [](T& op) { op.parts.dtype = DType::kBF16; })},
                      {"parts must be (P, T, H*D)", With(ok,
                                                         [](T& op) {
                                                           op.parts.shape = Shape{6, 8};
                                                         })},
                      {"parts must be (P, T, H*D), P >= 1", With(ok,
                                                                 [](T& op) {
                                                                   op.parts.shape = {0, 3, 8};
                                                                 })},
                      {"lse must be F32 (P, H, T)", With(ok, [](T& op) { op.lse.dtype = DType::kBF16; })},
                      {"lse's heads must divide", With(ok,
                                                       [](T& op) {
                                                         op.lse.shape = {2, 3, 3};
                                                       })},
                      {"lse is F32 1x4x3, expected F32 2x4x3", With(ok,
                                                                    [](T& op) {
                                                                      op.lse.shape = {1, 4, 3};
                                                                    })},
                      {"out must be F32 or BF16", With(ok, [](T& op) { op.out.dtype = DType::kI8; })}});
}

TEST(Contracts, TakeShapesOfMoreThan32Bits) {
  const std::int64_t rows = 54900;
  const Tensor x = Bf16({rows, 143360});
  EXPECT_EQ(Validate(LayerNorm{.x = x, .out = x}), absl::OkStatus());
  EXPECT_EQ(Validate(Elementwise{.kind = ElementwiseKind::kMul, .a = x, .b = F32({143360}), .out = x}),
            absl::OkStatus());
  EXPECT_EQ(Validate(Permute{.in = x, .axes = {1, 0}, .out = Bf16({143360, rows})}), absl::OkStatus());
  // Equal but for a multiple of 2^32 elements.
  EXPECT_FALSE(Validate(Elementwise{.a = F32({(std::int64_t{1} << 32) + 5}), .out = F32({5})}).ok());
  const ConvWeight weight{.out_channels = 1, .in_channels = 1, .kernel = {1, 1, 3}};
  const Conv conv{.in = F32({1, 1, (std::int64_t{1} << 33) + 2, 1}), .weight = &weight, .stride = {1, 1, 2}};
  EXPECT_EQ(ConvOutExtent(conv)[2], std::int64_t{1} << 32);
}

class StreamErrors : public test::OpTest {};
OVI_ON_EVERY_BACKEND(StreamErrors);

TEST_P(StreamErrors, StickAndStopWhatFollows) {
  const Tensor x = Put(DType::kF32, {2}, {1, 2});
  const Tensor y = Put(DType::kF32, {2}, {3, 4});
  const absl::StatusOr<GemmWeight> weight =
      backend().AllocateGemmWeight(arena(), DType::kF32, 1, 2, "weight");
  ASSERT_TRUE(weight.ok());
  const float row[] = {1, 1};
  stream().Upload(*weight, HostTensor{row, DType::kF32, {1, 2}});

  const absl::StatusOr<std::unique_ptr<Stream>> failing = backend().NewStream();
  ASSERT_TRUE(failing.ok());
  Stream& s = **failing;
  s.Run(Fill{.out = Fake(DType::kU8, {1})});
  s.Run(Fill{.out = x, .value = 9});
  s.Run(Permute{.in = x, .axes = {5}, .out = y});
  const float host[] = {7, 8};
  float back[] = {-1, -1};
  s.Upload(x, HostTensor{host, DType::kF32, {2}});
  s.Copy(x, y);
  s.Download(back, y);
  const float other_row[] = {0, 0};
  s.Upload(*weight, HostTensor{other_row, DType::kF32, {1, 2}});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(s.Sync(), absl::InternalError("fill: contract broken: out must be F32 or BF16"))
        << "sync " << i;
  }
  EXPECT_EQ(back[0], -1);

  EXPECT_EQ(Get(x), test::Numbers({1, 2})) << "the other stream is as it was";
  const Tensor product = Make(DType::kF32, {1, 1});
  ASSERT_EQ(Run(Gemm{.a = x.Reshaped({1, 2}), .weight = &*weight, .out = product}), absl::OkStatus());
  EXPECT_EQ(Get(product), test::Numbers({3}));
}

TEST_P(StreamErrors, ComeFromCopiesThatDoNotFit) {
  const Tensor x = Put(DType::kF32, {2}, {1, 2});
  const float host[] = {7, 8, 9};
  struct Case {
    const char* message;
    void (*enqueue)(Stream& stream, const Tensor& x, const float* host);
  };
  const Case cases[] = {
      {"upload: F32 x 3 does not fit F32 2",
       [](Stream& s, const Tensor& t, const float* h) {
         s.Upload(t, HostTensor{h, DType::kF32, {3}});
       }},
      {"upload: BF16 x 2 does not fit F32 2",
       [](Stream& s, const Tensor& t, const float* h) {
         s.Upload(t, HostTensor{h, DType::kBF16, {2}});
       }},
      {"copy: F32 x 1 does not fit F32 2",
       [](Stream& s, const Tensor& t, const float*) { s.Copy(t, t.Slice(0, 1)); }},
  };
  for (const Case& c : cases) {
    const absl::StatusOr<std::unique_ptr<Stream>> stream_or = backend().NewStream();
    ASSERT_TRUE(stream_or.ok());
    c.enqueue(**stream_or, x, host);
    EXPECT_EQ((*stream_or)->Sync(), absl::InternalError(c.message));
  }
  EXPECT_EQ(Get(x), test::Numbers({1, 2}));
}

TEST_P(StreamErrors, LeaveEventsUsable) {
  const Tensor x = Put(DType::kF32, {1}, {1});
  const absl::StatusOr<std::unique_ptr<Stream>> writer = backend().NewStream();
  ASSERT_TRUE(writer.ok());
  const std::unique_ptr<Event> written = backend().NewEvent();
  (*writer)->Run(Fill{.out = x, .value = 5});
  (*writer)->Record(*written);
  (*writer)->Run(Fill{.out = Fake(DType::kU8, {1})});
  stream().Wait(*written);
  EXPECT_EQ(Get(x), test::Numbers({5}));
  EXPECT_FALSE((*writer)->Sync().ok());
}

}  // namespace
}  // namespace ovi
