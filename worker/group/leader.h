// Rank 0 of a group: takes the coordinator's orders, makes clips with the other ranks' help, hands them over.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "ovi/v1/groups.pb.h"
#include "worker/group/attempt.h"
#include "worker/group/coordinator_link.h"
#include "worker/group/group_files.h"
#include "worker/group/mpi_session.h"
#include "worker/group/peer_watch.h"
#include "worker/group/transfer.h"
#include "worker/media/image.h"
#include "worker/pipeline/engine.h"
#include "worker/plan/clip_settler.h"

namespace ovi {

// Borrows all it is given. Used by the computing thread.
class Leader {
 public:
  struct Parts {
    MpiSession& session;
    Communicator& world;
    CoordinatorLink& link;
    Engine& engine;
    ClipSettler& settler;
    const GroupFacts& facts;
    std::string group_dir;
    std::int64_t low_rank = kDefaultRank;  // of the model's compressed weights
  };
  explicit Leader(Parts parts) : parts_(parts) {}

  // Until the group is to end; tells the other ranks. UNAVAILABLE when a rank is lost: nothing to save then.
  absl::StatusOr<v1::GroupExitCode> Lead();

 private:
  // What is collected while an attempt runs.
  struct Attempt {
    v1::RunAttempt run;
    std::chrono::steady_clock::time_point received_at;
    std::string folder;  // of its result, removed with the attempt
    std::vector<ArtifactFile> files;
    v1::AttemptFinished finished;
    std::vector<v1::MemoryReport> untold;  // for the next report of progress
    bool started = false;                  // the first stage was announced
  };
  struct Inputs {
    std::optional<Image> image;
    AttemptRequest request;
    std::vector<LoraAdapter> loras;
    std::string fusion_weights;  // compressed, where the job wants that
  };

  absl::StatusOr<v1::GroupExitCode> RunAttempts();
  absl::Status RunOne(const GroupOrder& order);
  // The clip's own end is in `attempt`; an error is that of a lost rank.
  absl::Status Compute(Attempt& attempt, absl::Status& outcome);
  absl::StatusOr<Inputs> Prepare(const v1::RunAttempt& run);
  // With the others, which have their orders already.
  absl::Status ComputeTogether(Attempt& attempt, const Inputs& inputs, absl::Status& outcome);
  absl::Status Generate(Attempt& attempt, const Inputs& inputs, PeerWatch* watch, RankGroup* ranks);
  absl::Status HandOver(Attempt& attempt);
  Control ControlOf(Attempt& attempt, PeerWatch* watch);
  static v1::MemoryReport MemoryOf(int rank, const StageReport& stage, const MemoryPlan& plan);
  void LogEnd(const Attempt& attempt) const;

  Parts parts_;
  std::uint32_t sequence_ = 0;  // attempts so far
};

}  // namespace ovi
