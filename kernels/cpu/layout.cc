// Ops that move values: permute, bands of columns, upsample and the autoencoder's shortcuts.
#include <array>
#include <cstring>
#include <vector>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd.h"

namespace ovi::cpu {
namespace {

using Strides = std::array<std::int64_t, Shape::kMaxRank>;

Strides RowMajor(const Shape& shape) {
  Strides strides{};
  std::int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

// Offset in `in` of the output row with this index; a row is the innermost output axis.
std::int64_t InOffset(const Shape& out, const Strides& from, std::int64_t row) {
  std::int64_t offset = 0;
  for (int axis = out.rank() - 2; axis >= 0; --axis) {
    offset += row % out[axis] * from[static_cast<std::size_t>(axis)];
    row /= out[axis];
  }
  return offset;
}

template <typename Word>
void GatherRow(const std::byte* in, std::int64_t offset, std::int64_t stride, std::int64_t count,
               std::byte* out) {
  const auto* source = reinterpret_cast<const Word*>(in) + offset;
  auto* target = reinterpret_cast<Word*>(out);
  for (std::int64_t i = 0; i < count; ++i) target[i] = source[i * stride];
}

void CopyRow(const std::byte* in, std::int64_t offset, std::int64_t stride, std::int64_t count,
             std::int64_t bytes, std::byte* out) {
  if (stride == 1) {
    std::memcpy(out, in + offset * bytes, static_cast<std::size_t>(count * bytes));
    return;
  }
  switch (bytes) {
    case 1:
      return GatherRow<std::uint8_t>(in, offset, stride, count, out);
    case 2:
      return GatherRow<std::uint16_t>(in, offset, stride, count, out);
    case 4:
      return GatherRow<std::uint32_t>(in, offset, stride, count, out);
    default:
      return GatherRow<std::uint64_t>(in, offset, stride, count, out);
  }
}

}  // namespace

void RunPermute(const Permute& op) {
  const int rank = op.in.shape.rank();
  const std::int64_t bytes = ElementBytes(op.in.dtype);
  if (op.in.elements() == 0) return;
  if (rank == 0) {
    std::memcpy(op.out.data, op.in.data, static_cast<std::size_t>(bytes));
    return;
  }
  const Strides in_strides = RowMajor(op.in.shape);
  Strides from{};
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(rank); ++axis) {
    from[axis] = in_strides[static_cast<std::size_t>(op.axes[axis])];
  }
  const std::int64_t count = op.out.shape[-1];
  const std::int64_t stride = from[static_cast<std::size_t>(rank - 1)];
  ParallelFor(op.out.elements() / count, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      CopyRow(op.in.data, InOffset(op.out.shape, from, row), stride, count, bytes,
              op.out.data + row * count * bytes);
    }
  });
}

void RunCopyColumns(const CopyColumns& op) {
  const std::int64_t size = ElementBytes(op.in.dtype);
  const std::int64_t in_row = op.in.shape[1] * size;
  const std::int64_t out_row = op.out.shape[1] * size;
  const auto bytes = static_cast<std::size_t>(op.columns * size);
  if (bytes == 0) return;
  ParallelFor(op.in.shape[0], 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      std::memcpy(op.out.data + row * out_row + op.out_begin * size,
                  op.in.data + row * in_row + op.in_begin * size, bytes);
    }
  });
}

void RunUpsample(const Upsample& op) {
  if (op.in.elements() == 0) return;
  const std::int64_t rows = op.out.shape[1];
  const std::int64_t columns = op.out.shape[2];
  const std::int64_t fy = rows / op.in.shape[1];
  const std::int64_t fx = columns / op.in.shape[2];
  const std::int64_t pixel = op.in.shape[3] * ElementBytes(op.in.dtype);
  ParallelFor(op.out.shape[0] * rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t in_row = row / rows * op.in.shape[1] + row % rows / fy;
      const std::byte* source = op.in.data + in_row * op.in.shape[2] * pixel;
      std::byte* target = op.out.data + row * columns * pixel;
      for (std::int64_t x = 0; x < columns; ++x) {
        std::memcpy(target + x * pixel, source + x / fx * pixel, static_cast<std::size_t>(pixel));
      }
    }
  });
}

void RunUpShortcut(const UpShortcut& op) {
  const std::int64_t rows = op.x.shape[1];
  const std::int64_t columns = op.x.shape[2];
  const std::int64_t ci = op.in.shape[3];
  const std::int64_t co = op.x.shape[3];
  const std::int64_t ft = op.time_factor;
  const std::int64_t repeat = co * ft * 4 / ci;
  ParallelFor(op.x.shape[0] * rows, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> from(static_cast<std::size_t>(ci));
    std::vector<float> sum(static_cast<std::size_t>(co));
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t frame = row / rows + op.drop;
      const std::int64_t y = row % rows;
      for (std::int64_t x = 0; x < columns; ++x) {
        const std::int64_t in_pixel = ((frame / ft) * op.in.shape[1] + y / 2) * op.in.shape[2] + x / 2;
        const std::int64_t phase = frame % ft * 4 + y % 2 * 2 + x % 2;
        std::byte* target = RowAt(op.x, row * columns + x, co);
        LoadRow(RowAt(op.in, in_pixel, ci), op.in.dtype, ci, from.data());
        LoadRow(target, op.x.dtype, co, sum.data());
        for (std::int64_t o = 0; o < co; ++o) {
          sum[static_cast<std::size_t>(o)] += from[static_cast<std::size_t>((o * ft * 4 + phase) / repeat)];
        }
        StoreRow(sum.data(), op.x.dtype, co, target);
      }
    }
  });
}

void RunDownShortcut(const DownShortcut& op) {
  const std::int64_t rows = op.x.shape[1];
  const std::int64_t columns = op.x.shape[2];
  const std::int64_t ci = op.in.shape[3];
  const std::int64_t co = op.x.shape[3];
  const std::int64_t ft = op.time_factor;
  const std::int64_t fs = op.space_factor;
  const std::int64_t block = ft * fs * fs;  // values a channel gives
  const std::int64_t group = ci * block / co;
  const std::int64_t missing = op.x.shape[0] * ft - op.in.shape[0];
  ParallelFor(op.x.shape[0] * rows, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> values(
        static_cast<std::size_t>(ci * block));  // in the order (position in block, channel)
    std::vector<float> sum(static_cast<std::size_t>(co));
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t x = 0; x < columns; ++x) {
        for (std::int64_t place = 0; place < block; ++place) {
          float* target = values.data() + place * ci;
          const std::int64_t frame = row / rows * ft + place / (fs * fs) - missing;
          if (frame < 0) {
            std::fill_n(target, ci, 0.0f);
            continue;
          }
          const std::int64_t in_row = row % rows * fs + place / fs % fs;
          const std::int64_t in_column = x * fs + place % fs;
          const std::int64_t pixel = (frame * op.in.shape[1] + in_row) * op.in.shape[2] + in_column;
          LoadRow(RowAt(op.in, pixel, ci), op.in.dtype, ci, target);
        }
        std::byte* out = RowAt(op.x, row * columns + x, co);
        LoadRow(out, op.x.dtype, co, sum.data());
        for (std::int64_t o = 0; o < co; ++o) {
          float total = 0.0f;
          for (std::int64_t g = 0; g < group; ++g) {
            const std::int64_t flat = o * group + g;  // (channel, position in block)
            total += values[static_cast<std::size_t>(flat % block * ci + flat / block)];
          }
          sum[static_cast<std::size_t>(o)] += total / static_cast<float>(group);
        }
        StoreRow(sum.data(), op.x.dtype, co, out);
      }
    }
  });
}

}  // namespace ovi::cpu
