#include "worker/group/coordinator_link.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace ovi {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBackoffMin{200};
constexpr milliseconds kBackoffMax{2'000};
// A connection that lived for so long was a good one.
constexpr milliseconds kGoodConnection{2'000};
constexpr int kKeepaliveMs = 10'000;  // a host that lost its power sends no farewell
constexpr int kKeepaliveTimeoutMs = 5'000;

// The coordinator has spoken, and dialling again would not change its mind.
bool IsRejection(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::INVALID_ARGUMENT:
      return true;
    default:
      return false;
  }
}

// Doubles from dial to dial, each spread by a quarter so that the groups of a lost coordinator do not all
// come at once.
class Backoff {
 public:
  milliseconds Next() {
    std::uniform_real_distribution<double> spread(0.75, 1.25);
    const milliseconds delay(static_cast<std::int64_t>(static_cast<double>(next_.count()) * spread(random_)));
    next_ = std::min(kBackoffMax, next_ * 2);
    return std::clamp(delay, kBackoffMin, kBackoffMax);
  }
  void Reset() { next_ = kBackoffMin; }

 private:
  std::mt19937 random_{std::random_device{}()};
  milliseconds next_ = kBackoffMin;
};

}  // namespace

CoordinatorLink::CoordinatorLink(CoordinatorLinkOptions options)
    : options_(std::move(options)), dialler_([this] { DialUntilTheEnd(); }) {}

CoordinatorLink::~CoordinatorLink() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    if (context_ != nullptr) context_->TryCancel();
    changed_.notify_all();
  }
  dialler_.join();
}

GroupOrder CoordinatorLink::WaitForOrder() {
  std::unique_lock lock(mutex_);
  heard_at_ = Clock::now();  // idle from now on
  while (!end_ && runs_.empty()) {
    const Clock::time_point deadline = heard_at_ + options_.idle_max;
    if (Clock::now() >= deadline) {
      end_ = GroupOrder{.kind = GroupOrder::Kind::kSilence,
                        .run = {},
                        .reason = absl::StrCat("heard nothing from ", options_.address, " for ",
                                               options_.idle_max.count(), " ms"),
                        .received_at = Clock::now()};
      break;
    }
    changed_.wait_until(lock, deadline);
  }
  return end_ ? *end_ : runs_.front().order;
}

void CoordinatorLink::Begin(const v1::AttemptRef& attempt) {
  const std::lock_guard lock(mutex_);
  running_ = attempt;
  outbox_.Clear();
  acknowledged_ = false;
  bool cancelled = false;
  if (!runs_.empty() && SameAttempt(runs_.front().order.run.attempt(), attempt)) {
    cancelled = runs_.front().cancelled;
    runs_.pop_front();
  }
  interrupted_ = cancelled || end_.has_value();
}

void CoordinatorLink::Report(v1::AttemptProgress progress) {
  const std::lock_guard lock(mutex_);
  outbox_.Report(std::move(progress));
  changed_.notify_all();
}

bool CoordinatorLink::ending() const {
  const std::lock_guard lock(mutex_);
  return end_.has_value();
}

bool CoordinatorLink::Pause(std::chrono::milliseconds delay) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, delay, [this] { return interrupted_.load(); });
}

absl::Status CoordinatorLink::Finish(v1::AttemptFinished finished) {
  std::unique_lock lock(mutex_);
  outbox_.Finish(std::move(finished));
  changed_.notify_all();
  const bool done =
      changed_.wait_for(lock, options_.delivery_max, [this] { return acknowledged_ || end_.has_value(); });
  const bool acknowledged = acknowledged_;
  running_.reset();
  outbox_.Clear();
  if (acknowledged) return absl::OkStatus();
  if (done) return absl::AbortedError(end_->reason);
  return absl::DeadlineExceededError(absl::StrCat(options_.address, " did not take the attempt's end within ",
                                                  options_.delivery_max.count(), " ms"));
}

std::shared_ptr<v1::Groups::Stub> CoordinatorLink::stub() const {
  const std::lock_guard lock(mutex_);
  return stub_;
}

void CoordinatorLink::Authorise(grpc::ClientContext& context) const {
  context.AddMetadata("authorization", absl::StrCat("Bearer ", options_.token));
}

std::shared_ptr<grpc::Channel> CoordinatorLink::NewChannel() const {
  grpc::ChannelArguments arguments;
  // Each dial is one of its own: the library would make a new one wait for the backoff of the last.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(kBackoffMax.count()));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, static_cast<int>(kBackoffMin.count()));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(kBackoffMax.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(
      options_.address, options_.insecure ? grpc::InsecureChannelCredentials() : grpc::SslCredentials({}),
      arguments);
}

void CoordinatorLink::DialUntilTheEnd() {
  Backoff backoff;
  for (;;) {
    const Clock::time_point begin = Clock::now();
    const grpc::Status status = Connect();
    if (IsRejection(status)) {
      End(GroupOrder::Kind::kRejected,
          absl::StrCat(options_.address, " refuses this group: ", status.error_message()));
      return;
    }
    if (Clock::now() - begin >= kGoodConnection) backoff.Reset();
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, backoff.Next(), [this] { return closing_; })) return;
  }
}

grpc::Status CoordinatorLink::Connect() {
  const std::shared_ptr<v1::Groups::Stub> stub = v1::Groups::NewStub(NewChannel());
  grpc::ClientContext context;
  Authorise(context);
  {
    const std::lock_guard lock(mutex_);
    if (closing_) return grpc::Status::CANCELLED;
    context_ = &context;
  }
  const std::unique_ptr<Stream> stream = stub->Attach(&context);
  const bool reached = SayHello(*stream, stub);
  if (reached) {
    Log(LogLevel::kInfo, "coordinator reached", {{"address", options_.address}});
    away_ = false;
    std::thread writer([&] { WriteReports(*stream, context); });
    for (v1::GroupCommand command; stream->Read(&command);) Handle(std::move(command));
    {
      const std::lock_guard lock(mutex_);
      stream_ended_ = true;
      changed_.notify_all();
    }
    writer.join();
  }
  grpc::Status status = stream->Finish();
  const std::lock_guard lock(mutex_);
  context_ = nullptr;
  const bool is_news = reached || !std::exchange(away_, true);  // not every dial of a long absence
  if (!closing_ && is_news) {
    Log(LogLevel::kWarning, "coordinator lost",
        {{"address", options_.address},
         {"code", static_cast<int>(status.error_code())},
         {"reason", status.error_message()}});
  }
  return status;
}

bool CoordinatorLink::SayHello(Stream& stream, std::shared_ptr<v1::Groups::Stub> stub) {
  v1::GroupMessage message;
  {
    const std::lock_guard lock(mutex_);
    *message.mutable_hello() = options_.hello;
    if (running_) *message.mutable_hello()->mutable_running() = *running_;
  }
  if (!stream.Write(message)) return false;
  const std::lock_guard lock(mutex_);
  stub_ = std::move(stub);
  heard_at_ = Clock::now();
  stream_ended_ = false;
  outbox_.OnNewStream();
  return true;
}

void CoordinatorLink::WriteReports(Stream& stream, grpc::ClientContext& context) {
  std::unique_lock lock(mutex_);
  while (!stream_ended_) {
    const std::optional<v1::GroupMessage> message = outbox_.Next(beats_, Clock::now());
    if (!message) {
      // Signs of life come without a notice.
      if (outbox_.beats()) {
        changed_.wait_for(lock, Outbox::kHeartbeat / 4);
      } else {
        changed_.wait(lock);
      }
      continue;
    }
    lock.unlock();
    const bool written = stream.Write(*message);
    lock.lock();
    if (!written) {
      context.TryCancel();  // lets the reader notice
      return;
    }
  }
}

void CoordinatorLink::Handle(v1::GroupCommand command) {
  if (command.has_run()) {
    HandleRun(std::move(*command.mutable_run()));
  } else if (command.has_cancel()) {
    HandleCancel(command.cancel().attempt());
  } else if (command.has_shut_down()) {
    End(GroupOrder::Kind::kShutDown, "the coordinator says so");
  } else if (command.has_acknowledged()) {
    const std::lock_guard lock(mutex_);
    if (outbox_.IsAcknowledgedBy(command.acknowledged().attempt())) acknowledged_ = true;
    changed_.notify_all();
  }
  const std::lock_guard lock(mutex_);
  heard_at_ = Clock::now();
}

// The same order may come twice, when the coordinator was not sure that the first one came through.
void CoordinatorLink::HandleRun(v1::RunAttempt run) {
  const std::lock_guard lock(mutex_);
  if (running_ && SameAttempt(*running_, run.attempt())) return;
  for (const QueuedRun& queued : runs_) {
    if (SameAttempt(queued.order.run.attempt(), run.attempt())) return;
  }
  runs_.push_back({.order = {.kind = GroupOrder::Kind::kRun,
                             .run = std::move(run),
                             .reason = "",
                             .received_at = Clock::now()}});
  changed_.notify_all();
}

void CoordinatorLink::HandleCancel(const v1::AttemptRef& attempt) {
  const std::lock_guard lock(mutex_);
  if (running_ && SameAttempt(*running_, attempt)) interrupted_ = true;
  for (QueuedRun& queued : runs_) {
    if (SameAttempt(queued.order.run.attempt(), attempt)) queued.cancelled = true;
  }
  changed_.notify_all();
}

void CoordinatorLink::End(GroupOrder::Kind kind, std::string reason) {
  const std::lock_guard lock(mutex_);
  if (end_) return;
  end_ = GroupOrder{.kind = kind, .run = {}, .reason = std::move(reason), .received_at = Clock::now()};
  interrupted_ = true;
  changed_.notify_all();
}

}  // namespace ovi
