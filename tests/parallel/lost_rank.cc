// A rank that gets into an operation and stays there. lost_rank <operation> <folder>
//
// Rank 0 never takes part, so that the others wait for ever. Each says in <folder>/<rank> which process it
// is, once it waits; what the wait ended with, if it does, goes to stderr.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "worker/group/mpi_session.h"
#include "worker/parallel/mpi_communicator.h"

namespace ovi {
namespace {

Pending Begin(Communicator& world, const std::string& operation, std::vector<std::byte>& memory) {
  const std::size_t part = memory.size() / static_cast<std::size_t>(world.size()) / 2;
  const auto at = [&](int i) { return std::span(memory).subspan(static_cast<std::size_t>(i) * part, part); };
  if (operation == "all_gather") {
    std::vector<std::span<std::byte>> parts;
    for (int rank = 0; rank < world.size(); ++rank) parts.push_back(at(rank));
    return world.AllGatherV(nullptr, at(world.size()), parts);
  }
  if (operation == "broadcast") return world.Broadcast(nullptr, 0, memory);
  std::vector<Outgoing> send;
  std::vector<Incoming> receive;
  for (int rank = 0; rank < world.size(); ++rank) {
    send.push_back({rank, at(rank)});
    receive.push_back({rank, at(world.size() + rank)});
  }
  return operation == "all_to_all" ? world.AllToAllV(nullptr, send, receive)
                                   : world.SendReceive(nullptr, send, receive);
}

int Main(const std::string& operation, const std::string& folder) {
  absl::StatusOr<std::unique_ptr<MpiSession>> session = MpiSession::Start();
  if (!session.ok()) return 1;
  absl::StatusOr<std::unique_ptr<Communicator>> world = NewMpiCommunicator({});
  if (!world.ok()) return 1;
  std::vector<std::byte> memory(16 << 20);
  Pending pending;
  if ((*world)->rank() != 0) pending = Begin(**world, operation, memory);
  (*world)->Advance();
  const std::string name = absl::StrCat(folder, "/", (*world)->rank());
  std::ofstream(name + ".part") << getpid();
  std::rename((name + ".part").c_str(), name.c_str());
  if ((*world)->rank() == 0) {
    for (;;) pause();
  }
  std::fprintf(stderr, "wait ended: %s\n", pending.Wait().ToString().c_str());
  (*session)->Abort(3);
}

}  // namespace
}  // namespace ovi

int main(int argc, char** argv) {
  return argc == 3 ? ovi::Main(argv[1], argv[2]) : 2;
}
