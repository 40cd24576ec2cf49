#include "client/ovictl/watcher.h"

#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPauseMin(200);
constexpr milliseconds kPauseMax(5000);

// What a stream tells: the job, or that the stream is over.
struct StreamEvent {
  std::size_t index = 0;
  v1::Job job;
  std::optional<absl::Status> end;
};

// From gRPC's threads and the signal thread to the one that follows.
class EventQueue {
 public:
  void Push(StreamEvent event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    changed_.notify_one();
  }
  // Pop returns at once, one time.
  void Wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_one();
  }
  // nullopt at `until`, or when woken.
  std::optional<StreamEvent> Pop(Clock::time_point until) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, until, [this] { return woken_ || !events_.empty(); });
    woken_ = false;
    if (events_.empty()) return std::nullopt;
    StreamEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<StreamEvent> events_;
  bool woken_ = false;
};

// One WatchJob call. It may be destroyed once its `end` has come out of the queue: OnDone is gRPC's last
// word.
class JobStream final : public grpc::ClientReadReactor<v1::WatchJobResponse> {
 public:
  JobStream(Connection& connection, const std::string& id, std::size_t index, EventQueue& queue)
      : connection_(connection), index_(index), queue_(queue) {
    request_.set_job_id(id);
    connection.AddToken(context_);
    connection.jobs().async()->WatchJob(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    queue_.Push({.index = index_, .job = std::move(*response_.mutable_job())});
    response_.Clear();
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    queue_.Push(
        {.index = index_, .end = status.ok() ? absl::OkStatus() : connection_.ErrorOf(status, context_)});
  }

 private:
  Connection& connection_;
  const std::size_t index_;
  EventQueue& queue_;
  grpc::ClientContext context_;
  v1::WatchJobRequest request_;
  v1::WatchJobResponse response_;
};

class Follower {
 public:
  Follower(Connection& connection, const std::vector<std::string>& ids, const WatchEvents& events)
      : connection_(connection), ids_(ids), events_(events), streams_(ids.size()), redial_at_(ids.size()) {}

  ~Follower() {
    for (const auto& stream : streams_) {
      if (stream != nullptr) stream->Cancel();
    }
    while (
        std::any_of(streams_.begin(), streams_.end(), [](const auto& stream) { return stream != nullptr; })) {
      const std::optional<StreamEvent> event = queue_.Pop(Clock::now() + kPauseMax);
      if (event && event->end) streams_[event->index].reset();
    }
  }

  absl::StatusOr<std::vector<v1::Job>> Run() {
    OVI_RETURN_IF_ERROR(AskForAll());
    const auto subscription = connection_.interrupt().Subscribe([this] { queue_.Wake(); });
    while (
        !std::all_of(jobs_.begin(), jobs_.end(), [](const v1::Job& job) { return HasEnded(job.state()); })) {
      const Clock::time_point wake_at = DialAgain();
      const std::optional<StreamEvent> event = queue_.Pop(wake_at);
      if (connection_.interrupt().triggered()) return absl::CancelledError("interrupted");
      if (!event) continue;
      if (event->end) {
        OVI_RETURN_IF_ERROR(Ended(event->index, *event->end));
      } else {
        Heard(event->index, event->job);
      }
    }
    return jobs_;
  }

 private:
  // Opens what has none and is due; when the next one is.
  Clock::time_point DialAgain() {
    const Clock::time_point now = Clock::now();
    Clock::time_point next = now + std::chrono::hours(1);
    bool dialled = false;
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      if (streams_[i] != nullptr || HasEnded(jobs_[i].state())) continue;
      if (redial_at_[i] > now) {
        next = std::min(next, redial_at_[i]);
        continue;
      }
      streams_[i] = std::make_unique<JobStream>(connection_, ids_[i], i, queue_);
      dialled = true;
    }
    if (dialled) pause_ = std::min(pause_ * 2, kPauseMax);
    return next;
  }

  absl::Status AskForAll() {
    for (const std::string& id : ids_) {
      OVI_ASSIGN_OR_RETURN(v1::Job job, connection_.GetJob(id));
      jobs_.push_back(std::move(job));
    }
    for (std::size_t i = 0; i < jobs_.size(); ++i) events_.changed(jobs_, i);
    return absl::OkStatus();
  }

  void Heard(std::size_t index, const v1::Job& job) {
    pause_ = kPauseMin;
    if (outage_) events_.outage("");
    outage_ = false;
    // A stream begins with the job as it is, which after a dial is often known.
    if (job.SerializeAsString() == jobs_[index].SerializeAsString()) return;
    jobs_[index] = job;
    events_.changed(jobs_, index);
  }

  // The stream is over: because its job is, because the connection broke, or because the call is refused.
  absl::Status Ended(std::size_t index, const absl::Status& status) {
    streams_[index].reset();
    if (HasEnded(jobs_[index].state())) return absl::OkStatus();
    // A coordinator that shuts down cancels its calls (ABORTED here), or ends them as if nothing were wrong.
    if (!status.ok() && !absl::IsUnavailable(status) && !absl::IsAborted(status)) return status;
    redial_at_[index] = Clock::now() + pause_;
    if (!outage_) {
      events_.outage(absl::StrCat("the connection to coordinator ", connection_.coordinator(),
                                  " was lost; trying again"));
    }
    outage_ = true;
    return absl::OkStatus();
  }

  Connection& connection_;
  const std::vector<std::string>& ids_;
  const WatchEvents& events_;
  std::vector<v1::Job> jobs_;
  EventQueue queue_;
  std::vector<std::unique_ptr<JobStream>> streams_;
  std::vector<Clock::time_point> redial_at_;
  milliseconds pause_ = kPauseMin;
  bool outage_ = false;
};

}  // namespace

absl::StatusOr<std::vector<v1::Job>> FollowJobs(Connection& connection, const std::vector<std::string>& ids,
                                                const WatchEvents& events) {
  return Follower(connection, ids, events).Run();
}

}  // namespace ovi::client
