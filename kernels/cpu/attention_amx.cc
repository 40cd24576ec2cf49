// Attention on AMX tiles: bf16 products of 16 x 32 by 32 x 16 values, which AVX-512 turns into probabilities.
//
// Tile products and exponentials take turns. Interleaving them (products of one group of rows between the
// exponentials of another) was to hide the shorter one, but lost 7 %: 829 against 888 Gflop/s at 1,024
// tokens, 832 against 889 at 4,096 (D = 128, one core of a shared Xeon with AMX, means of 8 and 4 alternated
// runs).
//
// Scores live in the first-level cache and are never seen twice: the reference m of a row's exponentials is
// not its exact maximum but one fixed early, with a slack of 2^32. A row that outgrows it is rescaled by a
// power of two, which is exact in every format.
#if defined(__x86_64__)
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/attention_path.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/dtype.h"

namespace ovi::cpu {
namespace {

#define OVI_TARGET \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,amx-tile,amx-bf16")))
#define OVI_LANES 16
#define OVI_HAS_BF16
#include "kernels/cpu/attention_vector.inc"

constexpr std::int64_t kTileRows = 16;
constexpr std::int64_t kTileDepth = 32;                       // bf16 values, the bytes of a tile row
constexpr std::int64_t kTileValues = kTileRows * kTileDepth;  // bf16 values in a tile
constexpr std::int64_t kTileSums = kTileRows * kTileRows;     // f32 values in a tile
constexpr std::int64_t kPair = 2 * kTileRows;                 // rows or columns of a product
constexpr std::int64_t kGroup = 2 * kPair;  // rows that use a tile of k or v while it is in L1

// Where row r, column 0 of 2 x 2 tiles of sums is.
constexpr std::int64_t InPair(std::int64_t r) {
  return r / kTileRows * 2 * kTileSums + r % kTileRows * kTileRows;
}

// Two by two tiles, c (+)= a b.
struct TileProduct {
  const BFloat16* a;   // [2][depth] tiles, each [16][32]
  const BFloat16* b;   // [2][depth] tiles, each [16 pairs][16 columns][2]
  float* c;            // [2][2] tiles, each [16][16]
  std::int64_t depth;  // tiles
  bool add;            // to c, or overwrite it
};

// Tiles 0 to 3 are c (row-major), 4 and 5 are a, 6 and 7 are b.
OVI_TARGET void Multiply(const TileProduct& product) {
  // GCC 12 does not know that a tile load reads memory.
  asm volatile("" ::: "memory");
  if (product.add) {
    _tile_loadd(0, product.c, 64);
    _tile_loadd(1, product.c + kTileSums, 64);
    _tile_loadd(2, product.c + 2 * kTileSums, 64);
    _tile_loadd(3, product.c + 3 * kTileSums, 64);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const std::int64_t second = product.depth * kTileValues;
  for (std::int64_t along = 0; along < second; along += kTileValues) {
    const BFloat16* a = product.a + along;
    const BFloat16* b = product.b + along;
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + second, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + second, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, product.c, 64);
  _tile_stored(1, product.c + kTileSums, 64);
  _tile_stored(2, product.c + 2 * kTileSums, 64);
  _tile_stored(3, product.c + 3 * kTileSums, 64);
}

// Where a task keeps its blocks.
struct AmxScratch {
  AmxScratch(std::byte* base, std::int64_t rows, std::int64_t head_dim)
      : block(AttentionKeyBlock(head_dim)),
        rows_padded(RoundUp(rows, kPair)),
        columns(RoundUp(head_dim, kTileDepth)),
        depth(columns / kTileDepth) {
    ScratchPieces pieces(base);
    q = pieces.Take<BFloat16>(rows_padded * columns);
    k = pieces.Take<BFloat16>(block * columns);
    v = pieces.Take<BFloat16>(block * columns);
    scores = pieces.Take<float>(kGroup * kPair);
    p = pieces.Take<BFloat16>(kGroup * block);
    out = pieces.Take<float>(rows_padded * columns);
    max = pieces.Take<float>(rows_padded);
    weight = pieces.Take<float>(rows_padded);
    for (auto& s : sums) s = pieces.Take<float>(rows_padded * kLanes);
    row = pieces.Take<float>(columns);
    state = pieces.Take<RowState>(rows_padded);
    bytes = pieces.bytes();
  }

  std::int64_t block;        // keys
  std::int64_t rows_padded;  // to whole products
  std::int64_t columns;      // head_dim, padded to whole tiles
  std::int64_t depth;        // tiles along head_dim
  BFloat16* q;               // [rows / 16][depth] tiles
  BFloat16* k;               // [keys / 16][depth] tiles of pairs along head_dim
  BFloat16* v;               // [columns / 16][keys / 32] tiles of pairs along the keys
  float* scores;             // [kGroup / 32][2][2] tiles, of one pair of key tiles
  BFloat16* p;               // [kGroup / 16][keys / 32] tiles
  float* out;                // [rows / 32][columns / 32][2][2] tiles
  float* row;                // [columns], one row of out in order
  float* max;                // m of a row, in base 2
  float* weight;             // 1 / sum, for Sweep::kNormalised
  float* sums[2];            // [rows][kLanes], partial sums before and after the keys at hand, by turns
  RowState* state;
  std::int64_t bytes;
};

// Row i of the tile that holds column c of out.
float* OutputAt(const AmxScratch& scratch, std::int64_t i, std::int64_t c) {
  const std::int64_t tile = c / kPair * 4 + c % kPair / kTileRows;
  return scratch.out + i / kPair * kPair * scratch.columns + tile * kTileSums + InPair(i % kPair);
}

OVI_TARGET void PackQueries(const BFloat16* q, std::int64_t stride, std::int64_t rows, std::int64_t head_dim,
                            const AmxScratch& to) {
  for (std::int64_t i = 0; i < to.rows_padded; ++i) {
    for (std::int64_t t = 0; t < to.depth; ++t) {
      const std::int64_t d = t * kTileDepth;
      BFloat16* tile = to.q + (i / kTileRows * to.depth + t) * kTileValues;
      const Floats pairs = i < rows ? LoadPairs(q + i * stride + d, head_dim - d) : Floats{};
      std::memcpy(tile + i % kTileRows * kTileDepth, &pairs, sizeof pairs);
    }
  }
}

OVI_TARGET void PackKeys(const BFloat16* k, std::int64_t stride, std::int64_t count, std::int64_t head_dim,
                         const AmxScratch& to) {
  for (std::int64_t j = 0; j < RoundUp(count, kPair); j += kTileRows) {
    for (std::int64_t t = 0; t < to.depth; ++t) {
      BFloat16* tile = to.k + (j / kTileRows * to.depth + t) * kTileValues;
      PackKeyWords<PairUnit>(k + j * stride, stride, count - j, t * kLanes, head_dim,
                             reinterpret_cast<float*>(tile), kLanes);
    }
  }
}

OVI_TARGET void PackValues(const BFloat16* v, std::int64_t stride, std::int64_t count, std::int64_t head_dim,
                           const AmxScratch& to) {
  alignas(64) static constexpr std::uint16_t kLow[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                         37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                         11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  const std::int64_t depth = RoundUp(count, kTileDepth) / kTileDepth;
  for (std::int64_t j = 0; j < depth * kTileDepth; j += 2) {
    for (std::int64_t d = 0; d < to.columns; d += kPair) {
      BFloat16* tile =
          to.v + (d / kTileRows * depth + j / kTileDepth) * kTileValues + j % kTileDepth * kTileRows;
      const BFloat16* row = v + j * stride + d;
      const Floats even = j < count ? LoadPairs(row, head_dim - d) : Floats{};
      const Floats odd = j + 1 < count ? LoadPairs(row + stride, head_dim - d) : Floats{};
      const __m512i a = reinterpret_cast<__m512i>(even);
      const __m512i b = reinterpret_cast<__m512i>(odd);
      _mm512_store_si512(tile, _mm512_permutex2var_epi16(a, low, b));
      _mm512_store_si512(tile + depth * kTileValues, _mm512_permutex2var_epi16(a, high, b));
    }
  }
}

// A max no score is below, but finite: minus infinity minus itself would be NaN.
constexpr float kNoMax = -3e38f;
constexpr float kSlack = 32.0f;

// 2^-u. Exact arithmetic of infinities: 2^-inf is 0. NaN stays NaN. Error as CoarsePolynomial, whose odd
// coefficients are negated here.
OVI_INLINE __m512 NegativeExp2(__m512 u) {
  const __m512 r = _mm512_reduce_ps(u, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(9.57010221e-3f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(-5.59178591e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.40247443e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(-6.93121791e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.99999285e-1f));
  return _mm512_scalef_ps(p, _mm512_sub_ps(r, u));
}

// kPair x kPair scores on their way to probabilities.
struct ScoreBlock {
  float* scores;  // [2][2] tiles
  BFloat16* p;    // two tiles, the second p_down values behind the first
  std::int64_t p_down;
  const float* max;     // of each row
  const float* weight;  // of each row, or null
  const float* sums;    // [kPair][kLanes]
  float* sums_after;
};

// False if a score is above its row's max: raise that, and do it again.
OVI_TARGET bool ExponentialRows(const ScoreBlock& block, __m512 factor) {
  __m512i signs = _mm512_setzero_si512();  // of u: negative above the max
  for (std::int64_t r = 0; r < kPair; ++r) {
    const float* s = block.scores + InPair(r);
    const __m512 max = _mm512_set1_ps(block.max[r]);
    const __m512 u0 = _mm512_fnmadd_ps(factor, _mm512_load_ps(s), max);
    const __m512 u1 = _mm512_fnmadd_ps(factor, _mm512_load_ps(s + kTileSums), max);
    __m512 p0 = NegativeExp2(u0);
    __m512 p1 = NegativeExp2(u1);
    if (block.weight != nullptr) {
      p0 = _mm512_mul_ps(p0, _mm512_set1_ps(block.weight[r]));
      p1 = _mm512_mul_ps(p1, _mm512_set1_ps(block.weight[r]));
    }
    constexpr int kOr3 = 0xfe;
    signs = _mm512_ternarylogic_epi32(signs, _mm512_castps_si512(u0), _mm512_castps_si512(u1), kOr3);
    const __m512 sum = _mm512_add_ps(_mm512_load_ps(block.sums + r * kLanes), _mm512_add_ps(p0, p1));
    _mm512_store_ps(block.sums_after + r * kLanes, sum);
    _mm512_store_si512(block.p + r / kTileRows * block.p_down + r % kTileRows * kTileDepth,
                       reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(p1, p0)));
  }
  return _mm512_movepi32_mask(signs) == 0;
}

// One block of keys for all rows of a task.
class AmxBlock {
 public:
  AmxBlock(const Attention& op, const AttentionRows& rows, const AmxScratch& scratch, Sweep sweep,
           std::int64_t key, std::int64_t count)
      : op_(op),
        rows_(rows),
        scratch_(scratch),
        sweep_(sweep),
        rule_(op),
        key_(key),
        count_(count),
        key_pairs_(RoundUp(count, kPair) / kPair) {}

  OVI_TARGET void Attend() {
    for (std::int64_t row = 0; row < scratch_.rows_padded; row += kGroup) {
      const std::int64_t row_pairs = std::min(kGroup, scratch_.rows_padded - row) / kPair;
      for (std::int64_t pair = 0; pair < key_pairs_; ++pair) {
        for (std::int64_t i = 0; i < row_pairs; ++i) {
          Multiply({.a = scratch_.q + (row + i * kPair) * scratch_.columns,
                    .b = scratch_.k + pair * kPair * scratch_.columns,
                    .c = scratch_.scores + i * kPair * kPair,
                    .depth = scratch_.depth,
                    .add = false});
        }
        for (std::int64_t i = 0; i < row_pairs; ++i) Softmax(row, i, pair);
      }
      if (sweep_ == Sweep::kStatistics) continue;
      for (std::int64_t column = 0; column < scratch_.columns; column += kPair) {
        for (std::int64_t i = 0; i < row_pairs; ++i) {
          Multiply({.a = P(i, 0),
                    .b = scratch_.v + column * key_pairs_ * kPair,
                    .c = scratch_.out + (row + i * kPair) * scratch_.columns + column * kPair,
                    .depth = key_pairs_,
                    .add = true});
        }
      }
    }
  }

 private:
  // The tiles of a pair of row tiles follow each other along the keys.
  BFloat16* P(std::int64_t row_pair, std::int64_t pair) const {
    return scratch_.p + (row_pair * 2 * key_pairs_ + pair) * kTileValues;
  }

  // Probabilities of pair `row_pair` of row tiles of the group at `group_row`.
  OVI_TARGET void Softmax(std::int64_t group_row, std::int64_t row_pair, std::int64_t pair) const {
    const std::int64_t turn = (key_ / kPair + pair) % 2;
    const std::int64_t row = group_row + row_pair * kPair;
    const ScoreBlock block{.scores = scratch_.scores + row_pair * kPair * kPair,
                           .p = P(row_pair, pair),
                           .p_down = key_pairs_ * kTileValues,
                           .max = scratch_.max + row,
                           .weight = sweep_ == Sweep::kNormalised ? scratch_.weight + row : nullptr,
                           .sums = scratch_.sums[turn] + row * kLanes,
                           .sums_after = scratch_.sums[1 - turn] + row * kLanes};
    const __m512 factor = _mm512_set1_ps(rule_.log2_factor);
    if (!rule_.direct || count_ - pair * kPair < kPair) CompleteBlock(block, row, pair);
    if (sweep_ == Sweep::kNormalised) {
      (void)ExponentialRows(block, factor);
      return;
    }
    if (key_ + pair == 0) RaiseMax(block, row, pair);
    if (ExponentialRows(block, factor)) return;
    RaiseMax(block, row, pair);
    (void)ExponentialRows(block, factor);
  }

  // Scale, bias, roundings, and -infinity for what is not a key.
  OVI_TARGET void CompleteBlock(const ScoreBlock& block, std::int64_t row, std::int64_t pair) const {
    const std::int64_t rows = std::min(kPair, rows_.end - rows_.begin - row);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t half = 0; half < 2; ++half) {
        float* scores = block.scores + InPair(r) + half * kTileSums;
        const std::int64_t key = pair * kPair + half * kTileRows;
        const std::int64_t valid = std::clamp<std::int64_t>(count_ - key, 0, kTileRows);
        (void)CompleteScores(scores, valid, rule_,
                             BiasRow(op_, rows_.head, rows_.begin + row + r, key_ + key));
        if (valid == 0) std::fill_n(scores, kTileRows, -std::numeric_limits<float>::infinity());
      }
    }
  }

  // Raises the max of every row with a score above it, and rescales what the row has so far.
  OVI_TARGET void RaiseMax(const ScoreBlock& block, std::int64_t row, std::int64_t pair) const {
    for (std::int64_t r = 0; r < kPair; ++r) {
      const float* s = block.scores + InPair(r);
      const float max = ReduceMax(Max(Load(s), Load(s + kTileSums))) * rule_.log2_factor;
      if (!(max > scratch_.max[row + r])) continue;
      const float before = scratch_.max[row + r];
      const float raised = std::ceil(max) + kSlack;
      scratch_.max[row + r] = raised;
      if (before == kNoMax) continue;
      const float shrink = std::exp2(before - raised);
      for (std::int64_t c = 0; c < scratch_.columns; c += kTileRows) {
        ScaleRow(OutputAt(scratch_, row + r, c), kTileRows, shrink);
      }
      float* sums = scratch_.sums[(key_ / kPair + pair) % 2] + (row + r) * kLanes;
      Store(sums, Load(sums) * shrink);
      for (std::int64_t before_pair = 1; before_pair <= pair; ++before_pair) {
        BFloat16* p =
            block.p - before_pair * kTileValues + r / kTileRows * block.p_down + r % kTileRows * kTileDepth;
        for (std::int64_t j = 0; j < kPair; ++j) p[j] = ToBFloat16(ToFloat(p[j]) * shrink);
      }
    }
  }

  const Attention& op_;
  const AttentionRows& rows_;
  const AmxScratch& scratch_;
  Sweep sweep_;
  ScoreRule rule_;
  std::int64_t key_;
  std::int64_t count_;
  std::int64_t key_pairs_;
};

// Makes the partial sums of a row one.
OVI_TARGET void CollectSums(const Attention& op, std::int64_t rows, const AmxScratch& scratch) {
  const float* sums = scratch.sums[RoundUp(op.keys, kPair) / kPair % 2];
  for (std::int64_t i = 0; i < rows; ++i) {
    const float sum = ReduceAdd(Load(sums + i * kLanes));
    scratch.state[i] = {scratch.max[i], sum};
    scratch.weight[i] = sum == 0.0f ? 1.0f : 1.0f / sum;
  }
}

}  // namespace

bool AttendAmx(const Attention& op, const AttentionRows& rows) {
  const std::int64_t width = op.q.shape[1];
  const std::int64_t head_dim = width / op.heads;
  const std::int64_t row_count = rows.end - rows.begin;
  const std::int64_t column = rows.head * head_dim;
  std::byte* memory = AttentionScratch(AmxScratch(nullptr, row_count, head_dim).bytes);
  if (memory == nullptr) return false;
  const AmxScratch scratch(memory, row_count, head_dim);

  const BFloat16* k = reinterpret_cast<const BFloat16*>(op.k.data) + column;
  const BFloat16* v = reinterpret_cast<const BFloat16*>(op.v.data) + column;
  PackQueries(reinterpret_cast<const BFloat16*>(op.q.data) + rows.begin * width + column, width, row_count,
              head_dim, scratch);
  std::fill_n(scratch.out, scratch.rows_padded * scratch.columns, 0.0f);
  std::fill_n(scratch.max, scratch.rows_padded, kNoMax);
  for (float* sums : scratch.sums) std::fill_n(sums, scratch.rows_padded * kLanes, 0.0f);

  const AmxTiles tiles;
  const auto attend_keys = [&](Sweep sweep) {
    for (std::int64_t key = 0; key < op.keys; key += scratch.block) {
      const std::int64_t count = std::min(scratch.block, op.keys - key);
      PackKeys(k + key * width, width, count, head_dim, scratch);
      if (sweep != Sweep::kStatistics) PackValues(v + key * width, width, count, head_dim, scratch);
      AmxBlock(op, rows, scratch, sweep, key, count).Attend();
    }
  };
  attend_keys(op.round_scores ? Sweep::kStatistics : Sweep::kOnline);
  CollectSums(op, row_count, scratch);
  if (op.round_scores) attend_keys(Sweep::kNormalised);
  FinishRows(op, rows, scratch.state, [&scratch](std::int64_t i) {
    for (std::int64_t c = 0; c < scratch.columns; c += kTileRows) {
      std::copy_n(OutputAt(scratch, i, c), kTileRows, scratch.row + c);
    }
    return scratch.row;
  });
  return true;
}

}  // namespace ovi::cpu
#endif
