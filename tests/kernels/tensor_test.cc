// Shapes, views and element addresses, in 64 bits throughout. No memory is behind the addresses.
#include "kernels/tensor.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "kernels/cpu/rows.h"

namespace ovi {
namespace {

constexpr std::uintptr_t kBase = std::uintptr_t{1} << 32;

Tensor At(DType dtype, const Shape& shape) {
  return {reinterpret_cast<std::byte*>(kBase), dtype, shape};
}
std::int64_t Offset(const std::byte* address) {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(address) - kBase);
}

TEST(Shape, CountsElements) {
  EXPECT_EQ(Shape().elements(), 1) << "a scalar";
  EXPECT_EQ(Shape({0}).elements(), 0);
  EXPECT_EQ(Shape({7, 0, 3}).elements(), 0);
  EXPECT_EQ(Shape({2, 3, 5}).elements(), 30);
  EXPECT_EQ(Shape({54900, 14336}).elements(), 787'046'400);
  EXPECT_EQ(Shape({241, 960, 960, 256}).elements(), 56'859'033'600);
}

TEST(Shape, IndexesFromBothEnds) {
  Shape shape{2, 3, 5};
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 5);
  EXPECT_EQ(shape[-3], 2);
  shape.set(-1, 7);
  shape.set(0, 4);
  EXPECT_EQ(shape, Shape({4, 3, 7}));
}

TEST(Shape, ComparesRankAndExtents) {
  EXPECT_EQ(Shape({2, 3}), Shape({2, 3}));
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_NE(Shape({2, 3}), Shape({2, 3, 1}));
  EXPECT_NE(Shape(), Shape({1}));
  const std::int64_t extents[] = {1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(Shape::FromRange(extents, 8), Shape({1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(Shape::FromRange(extents, 0), Shape());
}

TEST(Shape, PrintsItself) {
  EXPECT_EQ(Shape().ToString(), "scalar");
  EXPECT_EQ(Shape({3072}).ToString(), "3072");
  EXPECT_EQ(Shape({3072, 48, 1, 2, 2}).ToString(), "3072x48x1x2x2");
}

TEST(ShapeDeathTest, HasAtMostEightAxes) {
  const std::int64_t extents[9] = {};
  EXPECT_DEATH(Shape::FromRange(extents, 9), "broken invariant");
}

TEST(Tensor, CountsItsBytes) {
  EXPECT_TRUE(Tensor{}.empty());
  EXPECT_FALSE(At(DType::kF32, {0}).empty());
  EXPECT_EQ(At(DType::kF32, {54900, 14336}).bytes(), 3'148'185'600);
  EXPECT_EQ(At(DType::kBF16, {3}).bytes(), 6);
  EXPECT_EQ(At(DType::kI64, {3}).bytes(), 24);
  EXPECT_EQ(At(DType::kF8E4M3, {3}).bytes(), 3);
}

TEST(Tensor, SlicesItsFirstAxis) {
  const Tensor x = At(DType::kBF16, {5, 3, 7});
  const Tensor slice = x.Slice(2, 3);
  EXPECT_EQ(Offset(slice.data), 2 * 21 * 2);
  EXPECT_EQ(slice.shape, Shape({3, 3, 7}));
  EXPECT_EQ(slice.dtype, DType::kBF16);
  EXPECT_EQ(x.Slice(5, 0).shape, Shape({0, 3, 7}));
  EXPECT_EQ(Offset(x.Slice(5, 0).data), x.bytes());
  EXPECT_EQ(At(DType::kF32, {0, 4}).Slice(0, 0).shape, Shape({0, 4}));
  EXPECT_EQ(Offset(At(DType::kF32, {4, 0}).Slice(3, 1).data), 0);
}

TEST(Tensor, AddressesPast32Bits) {
  const Tensor ffn = At(DType::kF32, {54900, 14336});
  EXPECT_EQ(Offset(ffn.Slice(54899, 1).data), std::int64_t{54899} * 14336 * 4);
  EXPECT_EQ(Offset(ffn.Slice(54899, 1).data), 3'148'128'256);
  // More than 2^31 elements a row block, and more than 2^32 elements in all.
  const Tensor video = At(DType::kBF16, {241, 960, 960, 256});
  EXPECT_EQ(Offset(video.Slice(240, 1).data), std::int64_t{240} * 960 * 960 * 256 * 2);
  EXPECT_EQ(video.Slice(240, 1).elements(), 960 * 960 * 256);
  const Tensor flat = video.Reshaped({video.elements()});
  EXPECT_EQ(Offset(flat.Slice(video.elements() - 1, 1).data), video.bytes() - 2);
  const Tensor bytes = At(DType::kU8, {(std::int64_t{1} << 40) + 3});
  EXPECT_EQ(Offset(bytes.Slice(std::int64_t{1} << 40, 3).data), std::int64_t{1} << 40);
}

TEST(Tensor, RowsOfTheCpuBackendLieWhereSlicesDo) {
  const Tensor ffn = At(DType::kF32, {54900, 14336});
  EXPECT_EQ(cpu::RowAt(ffn, 54899, 14336), ffn.Slice(54899, 1).data);
  const Tensor wide = At(DType::kBF16, {std::int64_t{1} << 33, 3});
  EXPECT_EQ(cpu::RowAt(wide, (std::int64_t{1} << 33) - 1, 3),
            wide.Slice((std::int64_t{1} << 33) - 1, 1).data);
}

TEST(Tensor, ReshapesInPlace) {
  const Tensor x = At(DType::kF32, {6, 4});
  EXPECT_EQ(x.Reshaped({2, 3, 2, 2}).shape, Shape({2, 3, 2, 2}));
  EXPECT_EQ(x.Reshaped({24}).data, x.data);
  EXPECT_EQ(At(DType::kF32, {}).Reshaped({1, 1}).shape, Shape({1, 1}));
}

TEST(TensorDeathTest, ViewsOutsideItselfAreBugs) {
  const Tensor x = At(DType::kF32, {6, 4});
  EXPECT_DEATH(static_cast<void>(x.Reshaped({23})), "broken invariant");
  EXPECT_DEATH(static_cast<void>(x.Slice(-1, 2)), "broken invariant");
  EXPECT_DEATH(static_cast<void>(x.Slice(5, 2)), "broken invariant");
  EXPECT_DEATH(static_cast<void>(x.Slice(2, -1)), "broken invariant");
  EXPECT_DEATH(static_cast<void>(At(DType::kF32, {}).Slice(0, 1)), "broken invariant");
}

}  // namespace
}  // namespace ovi
