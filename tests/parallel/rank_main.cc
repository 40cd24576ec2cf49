// One rank of a test program that mpirun starts: all ranks run every test, each its own side of it.
#include "tests/parallel/rank_main.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace ovi {
namespace {

MpiSession* session = nullptr;

// A rank that failed does not answer the others any more.
class EndsTheGroup final : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "%s:%d: %s\n", result.file_name() != nullptr ? result.file_name() : "?",
                 result.line_number(), result.message());
    session->Abort(1);
  }
};

}  // namespace

MpiSession& Session() {
  return *session;
}

}  // namespace ovi

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  absl::StatusOr<std::unique_ptr<ovi::MpiSession>> started = ovi::MpiSession::Start();
  if (!started.ok()) return 1;
  ovi::session = started->get();
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (ovi::session->rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new ovi::EndsTheGroup);
  return RUN_ALL_TESTS();
}
