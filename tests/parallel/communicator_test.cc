// Every operation on every number of ranks: in host memory, in device memory that MPI may follow, and in
// device memory that is fatal to whoever touches it but the backend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <numeric>
#include <random>
#include <thread>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/guard_backend.h"
#include "tests/parallel/rank_main.h"
#include "worker/parallel/mpi_communicator.h"
#include "worker/parallel/shards.h"

namespace ovi {
namespace {

using testing::HasSubstr;
using Bytes = std::vector<std::byte>;

// What `from` has for `to`: bytes that no other message has.
Bytes Message(int from, int to, std::size_t count, int salt = 0) {
  Bytes bytes(count);
  std::uint32_t state = static_cast<std::uint32_t>(from * 7919 + to * 104729 + salt * 31 + 1);
  for (std::byte& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

// Unequal, odd, and often nothing.
std::size_t CountOf(int from, int to) {
  return static_cast<std::size_t>((from * 7 + to * 13) % 5) * 3331;
}

enum class Memory { kHost, kDirect, kStaged };

struct Setting {
  const char* name;
  Memory memory;
  std::int64_t chunk_bytes;
};

class CommunicatorTest : public testing::TestWithParam<Setting> {
 protected:
  // A receive, and what it must bring.
  struct Expected {
    std::span<std::byte> room;
    Bytes bytes;
  };
  struct Talk {
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    std::vector<Expected> expected;
    std::int64_t bytes_to_others = 0;
  };

  CommunicatorTest() {
    if (GetParam().memory != Memory::kHost) {
      backend_ = MakeCpuBackend();
      if (GetParam().memory == Memory::kStaged) backend_ = MakeGuardBackend(std::move(backend_));
      stream_ = *backend_->NewStream();
      arena_ = std::make_unique<Arena>(*backend_->AllocateBlock(64 << 20));
    }
    world_ = *NewMpiCommunicator(
        {.access = GetParam().memory == Memory::kStaged ? DeviceAccess::kStaged : DeviceAccess::kDirect,
         .chunk_bytes = GetParam().chunk_bytes});
  }

  int rank() const { return world_->rank(); }
  int size() const { return world_->size(); }
  int Neighbour(int steps) const { return (rank() + steps + size()) % size(); }
  Stream* stream() const { return stream_.get(); }

  // Memory of the setting's kind, for the length of the test.
  std::span<std::byte> Room(std::size_t count) {
    if (!arena_) return host_.emplace_back(count);
    return BytesOf(*arena_->Allocate(DType::kU8, {static_cast<std::int64_t>(count)}, "room"));
  }
  std::span<std::byte> Put(const Bytes& bytes) {
    const std::span<std::byte> room = Room(bytes.size());
    if (!stream_) {
      std::copy(bytes.begin(), bytes.end(), room.begin());
      return room;
    }
    const Shape shape{std::ssize(bytes)};
    stream_->Upload(Tensor{room.data(), DType::kU8, shape}, HostTensor{bytes.data(), DType::kU8, shape});
    EXPECT_EQ(stream_->Sync(), absl::OkStatus());
    return room;
  }
  Bytes Get(std::span<const std::byte> room) {
    if (!stream_) return {room.begin(), room.end()};
    Bytes bytes(room.size());
    stream_->Download(bytes.data(),
                      Tensor{const_cast<std::byte*>(room.data()), DType::kU8, {std::ssize(room)}});
    EXPECT_EQ(stream_->Sync(), absl::OkStatus());
    return bytes;
  }

  // Two pieces between every two ranks.
  Talk TalkOfAll(const Communicator& comm, int salt) {
    Talk talk;
    for (int other = 0; other < comm.size(); ++other) {
      for (const int piece : {0, 1}) {
        const std::size_t out = CountOf(comm.rank(), other) / (piece == 0 ? 1 : 3);
        const std::size_t in = CountOf(other, comm.rank()) / (piece == 0 ? 1 : 3);
        talk.send.push_back({other, Put(Message(comm.rank(), other, out, salt + piece))});
        talk.receive.push_back({other, Room(in)});
        talk.expected.push_back({talk.receive.back().bytes, Message(other, comm.rank(), in, salt + piece)});
        if (other != comm.rank()) talk.bytes_to_others += static_cast<std::int64_t>(out);
      }
    }
    return talk;
  }
  void ExpectArrived(const Talk& talk) {
    for (const Expected& expected : talk.expected) EXPECT_TRUE(Get(expected.room) == expected.bytes);
  }
  // One exchange of everything with everybody, as proof that the communicator works.
  void ExpectWorks(Communicator& comm, int salt) {
    const Talk talk = TalkOfAll(comm, salt);
    ASSERT_EQ(comm.AllToAllV(stream(), talk.send, talk.receive).Wait(), absl::OkStatus());
    ExpectArrived(talk);
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Arena> arena_;
  std::deque<Bytes> host_;
  std::unique_ptr<Communicator> world_;
};

TEST_P(CommunicatorTest, AllToAllBringsEveryPieceToItsPlace) {
  const Talk talk = TalkOfAll(*world_, 0);
  ASSERT_EQ(world_->AllToAllV(stream(), talk.send, talk.receive).Wait(), absl::OkStatus());
  ExpectArrived(talk);
  EXPECT_EQ(world_->counts().bytes(Exchange::kAllToAll), talk.bytes_to_others);
  EXPECT_EQ(world_->counts().bytes_total(), talk.bytes_to_others);
}

TEST_P(CommunicatorTest, AllGatherBringsAllPartsToAll) {
  for (const bool in_place : {false, true}) {
    world_->ResetCounts();
    std::vector<std::span<std::byte>> parts;
    for (int other = 0; other < size(); ++other) parts.push_back(Room(CountOf(other, 1)));
    const std::size_t own = CountOf(rank(), 1);
    std::span<std::byte> mine = Put(Message(rank(), -1, own));
    if (in_place) parts[static_cast<std::size_t>(rank())] = mine;
    ASSERT_EQ(world_->AllGatherV(stream(), mine, parts).Wait(), absl::OkStatus());
    for (int other = 0; other < size(); ++other) {
      EXPECT_TRUE(Get(parts[static_cast<std::size_t>(other)]) == Message(other, -1, CountOf(other, 1)));
    }
    EXPECT_EQ(world_->counts().bytes(Exchange::kAllGather),
              AllGatherBytesSent(static_cast<std::int64_t>(own), size()));
  }
}

TEST_P(CommunicatorTest, BroadcastComesFromEveryRoot) {
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{100'003}}) {
    for (int root = 0; root < size(); ++root) {
      world_->ResetCounts();
      const std::span<std::byte> room = rank() == root ? Put(Message(root, -1, count)) : Room(count);
      ASSERT_EQ(world_->Broadcast(stream(), root, room).Wait(), absl::OkStatus());
      EXPECT_TRUE(Get(room) == Message(root, -1, count));
      EXPECT_EQ(world_->counts().bytes(Exchange::kBroadcast),
                BroadcastBytesSent(static_cast<std::int64_t>(count), size(), rank() == root));
    }
  }
}

// Rows above and below, as a sharded picture's; nothing beyond its edges.
TEST_P(CommunicatorTest, NeighboursExchangeHalos) {
  constexpr std::size_t kRow = 12'345;
  Talk talk;
  for (const int other : {rank() - 1, rank() + 1}) {
    if (other < 0 || other >= size()) continue;
    talk.send.push_back({other, Put(Message(rank(), other, kRow))});
    talk.receive.push_back({other, Room(kRow)});
    talk.expected.push_back({talk.receive.back().bytes, Message(other, rank(), kRow)});
  }
  ASSERT_EQ(world_->SendReceive(stream(), talk.send, talk.receive).Wait(), absl::OkStatus());
  ExpectArrived(talk);
  EXPECT_EQ(world_->counts().bytes(Exchange::kSendReceive), std::ssize(talk.send) * std::ssize(Bytes(kRow)));
}

TEST_P(CommunicatorTest, MessagesOfOnePairKeepTheirOrder) {
  if (size() == 1) return;  // what a rank sends itself belongs into one operation
  std::vector<Pending> pending;
  std::vector<std::span<std::byte>> rooms;
  for (int i = 0; i < 5; ++i) {
    pending.push_back(world_->Send(stream(), Neighbour(1), Put(Message(rank(), Neighbour(1), 50'000, i))));
    rooms.push_back(Room(50'000));
    pending.push_back(world_->Receive(stream(), Neighbour(-1), rooms.back()));
  }
  for (Pending& operation : pending) ASSERT_EQ(operation.Wait(), absl::OkStatus());
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(Get(rooms[static_cast<std::size_t>(i)]) == Message(Neighbour(-1), rank(), 50'000, i));
  }
}

TEST_P(CommunicatorTest, ManyOperationsAreInFlightAndWaitedForInAnyOrder) {
  std::vector<Talk> talks;
  for (int i = 0; i < 4; ++i) talks.push_back(TalkOfAll(*world_, 100 * i));
  const std::span<std::byte> room = rank() == 0 ? Put(Message(0, -1, 70'000)) : Room(70'000);
  std::vector<Pending> pending;
  for (const Talk& talk : talks) pending.push_back(world_->AllToAllV(stream(), talk.send, talk.receive));
  Pending broadcast = world_->Broadcast(stream(), 0, room);
  world_->Advance();
  ASSERT_EQ(broadcast.Wait(), absl::OkStatus());
  if (rank() % 2 == 0) std::reverse(pending.begin(), pending.end());
  for (Pending& operation : pending) {
    world_->Advance();
    ASSERT_EQ(operation.Wait(), absl::OkStatus());
    ASSERT_EQ(operation.Wait(), absl::OkStatus()) << "the same again";
  }
  for (const Talk& talk : talks) ExpectArrived(talk);
  EXPECT_TRUE(Get(room) == Message(0, -1, 70'000));
  EXPECT_EQ(world_->counts().operations[static_cast<std::size_t>(Exchange::kAllToAll)], 4);
}

TEST_P(CommunicatorTest, SplitCommunicatorsAreApart) {
  // Halves; pairs across them; and all in reverse order.
  const int half = size() / 2;
  std::vector<int> mine;
  for (int other = 0; other < size(); ++other) {
    if ((other < half) == (rank() < half)) mine.push_back(other);
  }
  const std::unique_ptr<Communicator> halves = *world_->Split(mine);
  std::vector<int> backwards(static_cast<std::size_t>(size()));
  std::iota(backwards.rbegin(), backwards.rend(), 0);
  const std::unique_ptr<Communicator> reverse = *world_->Split(backwards);
  EXPECT_EQ(halves->size(), std::ssize(mine));
  EXPECT_EQ(mine[static_cast<std::size_t>(halves->rank())], rank());
  EXPECT_EQ(reverse->rank(), size() - 1 - rank());

  const Talk in_world = TalkOfAll(*world_, 1);
  const Talk in_half = TalkOfAll(*halves, 2);
  const Talk in_reverse = TalkOfAll(*reverse, 3);
  Pending first = world_->AllToAllV(stream(), in_world.send, in_world.receive);
  Pending second = halves->AllToAllV(stream(), in_half.send, in_half.receive);
  Pending third = reverse->AllToAllV(stream(), in_reverse.send, in_reverse.receive);
  ASSERT_EQ(third.Wait(), absl::OkStatus());
  ASSERT_EQ(second.Wait(), absl::OkStatus());
  ASSERT_EQ(first.Wait(), absl::OkStatus());
  for (const Talk* talk : {&in_world, &in_half, &in_reverse}) ExpectArrived(*talk);
  EXPECT_EQ(world_->counts().bytes_total(), in_world.bytes_to_others) << "each counts its own";
  EXPECT_EQ(halves->counts().bytes_total(), in_half.bytes_to_others);

  const std::vector<int> alone = {rank()};
  ExpectWorks(**world_->Split(alone), 4);
}

// Large ones of two communicators, which the ranks wait for in different orders.
TEST_P(CommunicatorTest, WaitsOfDifferentRanksDoNotHoldEachOtherUp) {
  std::vector<int> all(static_cast<std::size_t>(size()));
  std::iota(all.begin(), all.end(), 0);
  const std::unique_ptr<Communicator> twin = *world_->Split(all);
  constexpr std::size_t kCount = 3'000'000;
  const std::span<std::byte> first = Put(Message(rank(), -1, kCount));
  const std::span<std::byte> second = Put(Message(rank(), -2, kCount));
  const Outgoing sends[] = {{Neighbour(1), first}, {Neighbour(1), second}};
  const Incoming receives[] = {{Neighbour(-1), Room(kCount)}, {Neighbour(-1), Room(kCount)}};
  Pending one = world_->SendReceive(stream(), {&sends[0], 1}, {&receives[0], 1});
  Pending other = twin->SendReceive(stream(), {&sends[1], 1}, {&receives[1], 1});
  for (Pending* pending : rank() % 2 == 0 ? std::array{&one, &other} : std::array{&other, &one}) {
    ASSERT_EQ(pending->Wait(), absl::OkStatus());
  }
  EXPECT_TRUE(Get(receives[0].bytes) == Message(Neighbour(-1), -1, kCount));
  EXPECT_TRUE(Get(receives[1].bytes) == Message(Neighbour(-1), -2, kCount));
}

// Attention by heads, as models do it: tokens are sharded, then heads, then tokens again.
TEST_P(CommunicatorTest, TheVideoExchangeIsRightAndSendsWhatTheFormulaSays) {
  constexpr std::int64_t kTokens = 101;  // odd, and no multiple of any number of ranks here
  constexpr std::int64_t kHeads = 24;
  constexpr std::int64_t kHeadDim = 4;
  constexpr std::int64_t kElement = 4;
  for (const bool equal : {true, false}) {
    std::vector<int> shares(static_cast<std::size_t>(size()), 1);
    if (!equal) shares[0] = 3;
    const VideoExchange exchange{.head_dim = kHeadDim,
                                 .element_bytes = kElement,
                                 .tokens = Shard(kTokens, shares),
                                 .heads = *ShardHeads(kHeads, shares)};
    const auto self = static_cast<std::size_t>(rank());
    const ShardRange my_tokens = exchange.tokens[self];
    const ShardRange my_heads = exchange.heads[self];
    // The element of q, k, v or the output (which = 0..3).
    const auto value = [](int which, std::int64_t token, std::int64_t head, std::int64_t d) {
      return static_cast<std::int32_t>(((which * kTokens + token) * kHeads + head) * kHeadDim + d);
    };
    // (tokens, heads, dim) of these ranges, dense.
    const auto block = [&](int which, ShardRange tokens, ShardRange heads) {
      std::vector<std::int32_t> values;
      for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
        for (std::int64_t h = heads.begin; h < heads.end; ++h) {
          for (std::int64_t d = 0; d < kHeadDim; ++d) values.push_back(value(which, t, h, d));
        }
      }
      const std::span<const std::byte> bytes = std::as_bytes(std::span(values));
      return Bytes(bytes.begin(), bytes.end());
    };

    world_->ResetCounts();
    // q, k and v arrive as three tensors of all tokens and this rank's heads, without gaps.
    const ShardRange all_tokens{0, kTokens};
    const std::size_t row = static_cast<std::size_t>(my_heads.size() * kHeadDim * kElement);
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    std::vector<std::span<std::byte>> gathered;
    for (const int which : {0, 1, 2}) {
      gathered.push_back(Room(row * static_cast<std::size_t>(kTokens)));
      for (std::size_t other = 0; other < shares.size(); ++other) {
        const ShardRange tokens = exchange.tokens[other];
        send.push_back({static_cast<int>(other), Put(block(which, my_tokens, exchange.heads[other]))});
        receive.push_back({static_cast<int>(other),
                           gathered.back().subspan(row * static_cast<std::size_t>(tokens.begin),
                                                   row * static_cast<std::size_t>(tokens.size()))});
      }
    }
    ASSERT_EQ(world_->AllToAllV(stream(), send, receive).Wait(), absl::OkStatus());
    for (const int which : {0, 1, 2}) {
      EXPECT_TRUE(Get(gathered[static_cast<std::size_t>(which)]) == block(which, all_tokens, my_heads));
    }

    send.clear();
    receive.clear();
    const std::span<std::byte> output = Put(block(3, all_tokens, my_heads));
    std::vector<Expected> expected;
    for (std::size_t other = 0; other < shares.size(); ++other) {
      const ShardRange tokens = exchange.tokens[other];
      send.push_back(
          {static_cast<int>(other), output.subspan(row * static_cast<std::size_t>(tokens.begin),
                                                   row * static_cast<std::size_t>(tokens.size()))});
      expected.push_back({Room(0), block(3, my_tokens, exchange.heads[other])});
      expected.back().room = Room(expected.back().bytes.size());
      receive.push_back({static_cast<int>(other), expected.back().room});
    }
    ASSERT_EQ(world_->AllToAllV(stream(), send, receive).Wait(), absl::OkStatus());
    for (const Expected& one : expected) EXPECT_TRUE(Get(one.room) == one.bytes);
    EXPECT_EQ(world_->counts().bytes(Exchange::kAllToAll), VideoExchangeBytesPerBlock(exchange, rank()));
  }
}

TEST_P(CommunicatorTest, AFailureOnOneRankEndsTheWaitOfTheOthersAndIsForgottenAfterSettle) {
  for (int failing = 0; failing < size(); ++failing) {
    // Large ones are in the middle of their way, small ones have arrived.
    Talk large;
    for (int other = 0; other < size(); ++other) {
      large.send.push_back({other, Put(Message(rank(), other, 300'000))});
      large.receive.push_back({other, Room(300'000)});
    }
    const Talk small = TalkOfAll(*world_, 1);
    if (rank() == failing) {
      // It has started something, and never comes back to it.
      (void)world_->AllToAllV(stream(), large.send, large.receive);
    } else {
      int asked = 0;
      world_->SetInterruption([&asked]() -> absl::Status {
        return ++asked < 3 ? absl::OkStatus() : absl::AbortedError("another rank has failed");
      });
      Pending first = world_->AllToAllV(stream(), large.send, large.receive);
      Pending second = world_->AllToAllV(stream(), small.send, small.receive);
      Pending third = world_->Broadcast(stream(), failing, Room(5));
      const absl::Status status = third.Wait();
      EXPECT_EQ(status, absl::AbortedError("another rank has failed"));
      EXPECT_EQ(first.Wait(), status) << "the first failure sticks";
      EXPECT_EQ(second.Wait(), status);
      EXPECT_EQ(world_->Broadcast(stream(), 0, Room(5)).Wait(), status) << "and nothing more is started";
    }
    world_->SetInterruption(nullptr);
    ASSERT_EQ(world_->Settle(), absl::OkStatus());
    ExpectWorks(*world_, 2);
    if (arena_) arena_->ReleaseTo(0);
  }
}

// Each rank leaves somewhere in the same random row of operations, with some of them in flight.
TEST_P(CommunicatorTest, SettleMendsWhateverHappenedBefore) {
  for (unsigned seed = 0; seed < 25; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 common(seed);
    std::mt19937 own(seed * 100 + static_cast<unsigned>(rank()));
    const unsigned leaves_at = own() % 8;
    int asked = 0;
    world_->SetInterruption(
        [&asked]() { return ++asked < 4 ? absl::OkStatus() : absl::AbortedError("another rank has left"); });
    std::deque<Pending> pending;
    for (unsigned i = 0; i < 7; ++i) {
      const std::size_t count = common() % 3 == 0 ? 700'000 : common() % 5000;
      const int root = static_cast<int>(common() % static_cast<unsigned>(size()));
      const unsigned kind = common() % 3;
      if (i >= leaves_at) break;
      if (kind == 0) {
        pending.push_back(world_->Broadcast(stream(), root, Room(count)));
      } else if (kind == 1) {
        const std::vector<std::span<std::byte>> parts(static_cast<std::size_t>(size()), Room(count));
        pending.push_back(world_->AllGatherV(stream(), parts[0], parts));
      } else {
        const Outgoing send{.to = Neighbour(1), .bytes = Room(count)};
        const Incoming receive{.from = Neighbour(-1), .bytes = Room(count)};
        pending.push_back(world_->SendReceive(stream(), {&send, 1}, {&receive, 1}));
      }
      if (own() % 3 == 0) world_->Advance();
      if (own() % 3 != 0) continue;
      if (!pending.front().Wait().ok()) break;
      pending.pop_front();
    }
    pending.clear();
    world_->SetInterruption(nullptr);
    ASSERT_EQ(world_->Settle(), absl::OkStatus());
    ExpectWorks(*world_, 2);
    host_.clear();
    if (arena_) arena_->ReleaseTo(0);
  }
}

TEST_P(CommunicatorTest, AnOperationThatIsDroppedIsAnErrorUntilSettle) {
  const Talk talk = TalkOfAll(*world_, 0);
  (void)world_->AllToAllV(stream(), talk.send, talk.receive);
  Pending later = world_->Broadcast(stream(), 0, Room(3));
  EXPECT_EQ(later.Wait().code(), absl::StatusCode::kInternal);
  ASSERT_EQ(world_->Settle(), absl::OkStatus());
  ExpectWorks(*world_, 1);

  const Talk another = TalkOfAll(*world_, 2);
  Pending kept = world_->AllToAllV(stream(), another.send, another.receive);
  ASSERT_EQ(world_->Settle(), absl::OkStatus());
  EXPECT_EQ(kept.Wait().code(), absl::StatusCode::kAborted) << "thrown away";
  ExpectWorks(*world_, 3);
}

TEST_P(CommunicatorTest, RanksThatDisagreeAboutASizeAreToldSo) {
  if (size() < 2) return;
  for (const std::size_t expected : {std::size_t{700}, std::size_t{500}}) {
    absl::Status status;
    if (rank() == 0) status = world_->Send(stream(), 1, Put(Message(0, 1, 600))).Wait();
    if (rank() == 1) {
      status = world_->Receive(stream(), 0, Room(expected)).Wait();
      EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("send from rank 0: "));
    }
    ASSERT_EQ(world_->Settle(), absl::OkStatus());
    ExpectWorks(*world_, 1);
  }
}

TEST_P(CommunicatorTest, SettleWithNothingToSettleIsHarmless) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(world_->Settle(), absl::OkStatus());
    if (i % 3 == rank() % 3) world_->Advance();
  }
  ExpectWorks(*world_, 0);
  ASSERT_EQ(world_->Settle(), absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(Everywhere, CommunicatorTest,
                         testing::Values(Setting{"host", Memory::kHost, 1 << 20},
                                         Setting{"host_in_crumbs", Memory::kHost, 1000},
                                         Setting{"direct", Memory::kDirect, 1 << 20},
                                         Setting{"staged", Memory::kStaged, 1 << 20},
                                         Setting{"staged_in_crumbs", Memory::kStaged, 1000}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Communicator, SumsInRankOrderHaveTheSameBitsEverywhere) {
  const std::unique_ptr<Communicator> world = *NewMpiCommunicator({});
  const auto value = [](int rank, int i) { return 1.0f / static_cast<float>(3 + rank * 1000 + i); };
  std::vector<float> values;
  std::vector<float> expected;
  for (int i = 0; i < 1001; ++i) {
    values.push_back(value(world->rank(), i));
    expected.push_back(value(0, i));
    for (int rank = 1; rank < world->size(); ++rank) expected.back() += value(rank, i);
  }
  ASSERT_EQ(SumInRankOrder(*world, values), absl::OkStatus());
  EXPECT_TRUE(values == expected);
}

// 2^31 + 12,345 bytes that are 16 MiB of memory, seen again and again.
class LongView {
 public:
  static constexpr std::size_t kBytes = (std::size_t{1} << 31) + 12'345;
  static constexpr std::size_t kPeriod = std::size_t{16} << 20;

  LongView() : fd_(memfd_create("long_view", 0)) {
    EXPECT_EQ(ftruncate(fd_, kPeriod), 0);
    base_ = mmap(nullptr, Mapped(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (std::size_t at = 0; at < Mapped(); at += kPeriod) {
      EXPECT_NE(mmap(static_cast<std::byte*>(base_) + at, kPeriod, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, fd_, 0),
                MAP_FAILED);
    }
  }
  ~LongView() {
    munmap(base_, Mapped());
    close(fd_);
  }
  LongView(const LongView&) = delete;
  LongView& operator=(const LongView&) = delete;

  std::span<std::byte> bytes() { return {static_cast<std::byte*>(base_), kBytes}; }
  std::span<std::byte> period() { return bytes().first(kPeriod); }

 private:
  static constexpr std::size_t Mapped() { return (kBytes + kPeriod - 1) / kPeriod * kPeriod; }
  int fd_;
  void* base_;
};

TEST(Communicator, OneMessageMayHaveMoreThan2GiB) {
  if (Session().size() != 2) return;
  LongView view;
  const Bytes pattern = Message(0, 1, LongView::kPeriod);
  if (Session().rank() == 0) std::copy(pattern.begin(), pattern.end(), view.period().begin());
  const std::unique_ptr<Communicator> world = *NewMpiCommunicator({});
  ASSERT_EQ(world->Broadcast(nullptr, 0, view.bytes()).Wait(), absl::OkStatus());
  EXPECT_TRUE(std::equal(pattern.begin(), pattern.end(), view.period().begin()));
  if (Session().rank() == 0) {
    EXPECT_EQ(world->counts().bytes_total(), static_cast<std::int64_t>(LongView::kBytes));
  }
}

TEST(Communicator, WaitingCostsLittle) {
  const std::unique_ptr<Communicator> world = *NewMpiCommunicator({});
  const auto cpu_time = [] {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  ASSERT_EQ(world->Settle(), absl::OkStatus());
  const auto before = cpu_time();
  std::array<std::byte, 8> bytes{};
  constexpr std::chrono::milliseconds kLate{500};
  if (world->rank() == 0) std::this_thread::sleep_for(kLate);  // the slow rank
  ASSERT_EQ(world->Broadcast(nullptr, 0, bytes).Wait(), absl::OkStatus());
  EXPECT_LT(cpu_time() - before, kLate / 5);
}

TEST(Communicator, RefusesChunksThatMpiCannotCount) {
  for (const std::int64_t chunk_bytes : {std::int64_t{0}, std::int64_t{1} << 31}) {
    const auto made = NewMpiCommunicator({.chunk_bytes = chunk_bytes});
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace ovi
