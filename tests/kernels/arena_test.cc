// The arena: what fits, what does not and how it says so.
#include "kernels/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/op_test.h"

namespace ovi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr std::uintptr_t kBase = 1 << 16;

// Addresses without memory: the arena only counts.
class FakeBlock final : public DeviceBlock {
 public:
  using Discards = std::vector<std::pair<std::int64_t, std::int64_t>>;
  FakeBlock(std::int64_t bytes, Discards* discards) : bytes_(bytes), discards_(discards) {}
  std::byte* base() const override { return reinterpret_cast<std::byte*>(kBase); }
  std::int64_t bytes() const override { return bytes_; }
  void Discard(std::int64_t offset, std::int64_t bytes) override { discards_->emplace_back(offset, bytes); }

 private:
  std::int64_t bytes_;
  Discards* discards_;
};

class ArenaTest : public ::testing::Test {
 protected:
  Arena MakeArena(std::int64_t bytes) { return Arena(std::make_unique<FakeBlock>(bytes, &discards_)); }
  static std::int64_t OffsetOf(const absl::StatusOr<Tensor>& tensor) {
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(tensor.value().data) - kBase);
  }
  FakeBlock::Discards discards_;
};

TEST_F(ArenaTest, AlignsEveryTensor) {
  Arena arena = MakeArena(1024);
  EXPECT_EQ(OffsetOf(arena.Allocate(DType::kU8, {1}, "a")), 0);
  EXPECT_EQ(OffsetOf(arena.Allocate(DType::kF32, {16}, "b")), 64);
  EXPECT_EQ(OffsetOf(arena.Allocate(DType::kBF16, {33}, "c")), 128);
  EXPECT_EQ(OffsetOf(arena.Allocate(DType::kI64, {}, "a scalar has one element")), 256);
  EXPECT_EQ(OffsetOf(arena.Allocate(DType::kF32, {5, 0, 3}, "nothing takes no room")), 320);
  EXPECT_EQ(arena.bytes_in_use(), 320);
  EXPECT_EQ(arena.bytes_free(), 704);
  EXPECT_EQ(arena.bytes_max(), 1024);
}

TEST_F(ArenaTest, GivesItsLastByteAndNotOneMore) {
  Arena arena = MakeArena(256);
  ASSERT_TRUE(arena.Allocate(DType::kU8, {128}, "first").ok());
  const absl::Status status = arena.Allocate(DType::kF32, {11, 3}, "second").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "arena: no room for second (11x3): bytes_needed=192 bytes_free=128 bytes_max=256");
  EXPECT_EQ(arena.bytes_in_use(), 128) << "a refusal takes nothing";
  EXPECT_TRUE(arena.Allocate(DType::kF32, {32}, "exact fit").ok());
  EXPECT_EQ(arena.bytes_free(), 0);
  EXPECT_TRUE(arena.Allocate(DType::kF32, {0}, "nothing").ok());
  EXPECT_FALSE(arena.Allocate(DType::kU8, {1}, "one more").ok());
}

TEST_F(ArenaTest, NeedsWholeLinesEvenAtItsEnd) {
  Arena arena = MakeArena(100);
  EXPECT_TRUE(arena.Allocate(DType::kU8, {64}, "a").ok());
  EXPECT_THAT(std::string(arena.Allocate(DType::kU8, {36}, "b").status().message()),
              HasSubstr("bytes_needed=64 bytes_free=36"));
}

TEST_F(ArenaTest, RefusesSizesThatLeave63Bits) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  const Shape shapes[] = {{kMax},
                          {std::int64_t{1} << 32, std::int64_t{1} << 32},  // 2^66 bytes: 0 in 64 bits
                          {std::int64_t{1} << 31, std::int64_t{1} << 31},  // 2^64 bytes
                          {kMax / 4},                                      // fits, but not with the alignment
                          {-1},
                          {-2, -3}};
  Arena arena = MakeArena(kMax);
  for (const Shape& shape : shapes) {
    const absl::Status status = arena.Allocate(DType::kF32, shape, "huge").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << shape.ToString();
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("huge (" + shape.ToString() + ")"), HasSubstr("bytes_needed=overflow")));
  }
  EXPECT_EQ(arena.bytes_in_use(), 0);
}

TEST_F(ArenaTest, CountsPastFourGigabytes) {
  Arena arena = MakeArena(std::int64_t{1} << 40);
  ASSERT_TRUE(arena.Allocate(DType::kF32, {54900, 14336}, "feed-forward").ok());
  EXPECT_EQ(arena.bytes_in_use(), 3'148'185'600);
  EXPECT_EQ(OffsetOf(arena.Allocate(DType::kF32, {54900, 14336}, "another")), 3'148'185'600);
  EXPECT_EQ(OffsetOf(arena.Allocate(DType::kU8, {1}, "next")), 6'296'371'200);
}

TEST_F(ArenaTest, ScopesGiveBackInOrderAndThePeakStays) {
  Arena arena = MakeArena(4096);
  ASSERT_TRUE(arena.Allocate(DType::kU8, {64}, "kept").ok());
  {
    const ArenaScope outer(arena);
    ASSERT_TRUE(arena.Allocate(DType::kU8, {640}, "a").ok());
    {
      const ArenaScope inner(arena);
      ASSERT_TRUE(arena.Allocate(DType::kU8, {1000}, "b").ok());
      EXPECT_EQ(arena.bytes_in_use(), 64 + 640 + 1024);
    }
    EXPECT_EQ(OffsetOf(arena.Allocate(DType::kU8, {1}, "in b's place")), 64 + 640);
  }
  EXPECT_EQ(arena.bytes_in_use(), 64);
  EXPECT_EQ(arena.bytes_peak(), 64 + 640 + 1024);
  EXPECT_TRUE(discards_.empty());  // what is released is used again at once
  arena.Trim();
  EXPECT_THAT(discards_, ElementsAre(Pair(64, 640 + 1024)));
  arena.ResetPeak();
  EXPECT_EQ(arena.bytes_peak(), 64);
  ASSERT_TRUE(arena.Allocate(DType::kU8, {64}, "c").ok());
  EXPECT_EQ(arena.bytes_peak(), 128);
}

TEST_F(ArenaTest, ReleasesBackToAMark) {
  Arena arena = MakeArena(1024);
  const std::int64_t mark = arena.bytes_in_use();
  ASSERT_TRUE(arena.Allocate(DType::kU8, {1024}, "all").ok());
  arena.ReleaseTo(mark);
  EXPECT_EQ(arena.bytes_free(), 1024);
  EXPECT_TRUE(arena.Allocate(DType::kU8, {1024}, "all again").ok());
}

TEST(ArenaDeathTest, AMarkThatWasNeverReachedIsABug) {
  FakeBlock::Discards discards;
  Arena arena(std::make_unique<FakeBlock>(1024, &discards));
  EXPECT_DEATH(arena.ReleaseTo(64), "broken invariant");
  EXPECT_DEATH(arena.ReleaseTo(-64), "broken invariant");
}

TEST(CpuBackend, RefusesBlocksTheSystemCannotGive) {
  const std::unique_ptr<Backend> backend = MakeCpuBackend();
  for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 60}) {
    const absl::Status status = backend->AllocateBlock(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()), HasSubstr("bytes_needed=" + std::to_string(bytes)));
  }
}

TEST(CpuBackend, TakesPagesOnlyOnceTheyAreWritten) {
  // More than the machine has; a device's whole memory is one block.
  const std::unique_ptr<Backend> backend = MakeCpuBackend();
  const auto block = backend->AllocateBlock(std::int64_t{1} << 38);
  ASSERT_TRUE(block.ok()) << block.status();
  Arena arena(*backend->AllocateBlock(std::int64_t{1} << 24));
  const auto stream = *backend->NewStream();
  const Tensor x = *arena.Allocate(DType::kF32, {2 << 20}, "x");
  stream->Run(Fill{.out = x, .value = 1});
  arena.ReleaseTo(0);
  arena.Trim();
  // The pages went back to the system: the same place reads as zeros, and takes values again.
  std::vector<float> values(2 << 20);
  stream->Download(values.data(), x);
  EXPECT_EQ(values[1 << 20], 0);
  stream->Run(Fill{.out = x, .value = 2});
  stream->Download(values.data(), x);
  ASSERT_EQ(stream->Sync(), absl::OkStatus());
  EXPECT_EQ(values.back(), 2);
}

TEST_F(ArenaTest, TellsWhatItsPeakIsMadeOf) {
  Arena arena = MakeArena(4096);
  const auto take = [&](MemoryUse use, std::int64_t bytes) {
    const ArenaUse scope(arena, use);
    EXPECT_TRUE(arena.Allocate(DType::kU8, {bytes}, "bytes").ok());
  };
  const auto peak = [&] { return arena.peak_by_use(); };
  take(MemoryUse::kWeights, 64);
  {
    ArenaScope scope(arena);
    take(MemoryUse::kCommunication, 128);
    take(MemoryUse::kActivations, 256);
    take(MemoryUse::kCommunication, 64);
    EXPECT_EQ(peak(), (BytesByUse{256, 64, 0, 192}));
  }
  // Less than before: the peak stays what it was.
  take(MemoryUse::kWeightBuffers, 128);
  EXPECT_EQ(peak(), (BytesByUse{256, 64, 0, 192}));
  EXPECT_EQ(arena.bytes_peak(), 512);
  arena.ResetPeak();
  EXPECT_EQ(peak(), (BytesByUse{0, 64, 128, 0}));
  // Back into the middle of a run.
  take(MemoryUse::kWeights, 64);
  const std::int64_t mark = arena.bytes_in_use();
  take(MemoryUse::kWeights, 64);
  take(MemoryUse::kActivations, 64);
  arena.ReleaseTo(mark);
  arena.ResetPeak();
  EXPECT_EQ(peak(), (BytesByUse{0, 128, 128, 0}));
  arena.ReleaseTo(0);
  arena.ResetPeak();
  EXPECT_EQ(peak(), BytesByUse{});
}

}  // namespace
}  // namespace ovi
