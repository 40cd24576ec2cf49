#include "worker/agent/node_link.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/small_file.h"
#include "base/status.h"

namespace ovi {
namespace {

using std::chrono::milliseconds;

// A pause is drawn from the upper half of what has been reached, so 0.2 to 5 s.
constexpr milliseconds kBackoffMin{400};
constexpr milliseconds kBackoffMax{5'000};
constexpr milliseconds kWelcomePatience{10'000};
constexpr int kConnectMs = 5'000;
// A coordinator that vanished without a word is noticed after at most both together.
constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 5'000;
constexpr std::int64_t kCertificateBytesMax = 1 << 20;

absl::Status FromGrpc(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const NodeLinkSettings& settings) {
  grpc::ChannelArguments arguments;
  // A connection of its own each time: a shared one would bring gRPC's backoff on top of ours.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!settings.tls_ca_file.empty()) {
    grpc::SslCredentialsOptions options;
    OVI_ASSIGN_OR_RETURN(options.pem_root_certs, ReadSmallFile(settings.tls_ca_file, kCertificateBytesMax));
    credentials = grpc::SslCredentials(options);
  }
  return grpc::CreateCustomChannel(settings.address, credentials, arguments);
}

}  // namespace

NodeLink::NodeLink(NodeLinkSettings settings, Listener listener)
    : settings_(std::move(settings)),
      listener_(std::move(listener)),
      random_(std::random_device{}()),
      backoff_(kBackoffMin) {}

NodeLink::~NodeLink() {
  Stop(milliseconds(0));
}

void NodeLink::Start() {
  thread_ = std::thread([this] { Run(); });
}

void NodeLink::Send(v1::NodeMessage message) {
  const std::lock_guard lock(mutex_);
  if (message.has_report()) {
    if (!welcomed_) return;
    std::erase_if(queue_, [](const v1::NodeMessage& other) { return other.has_report(); });
  }
  queue_.push_back(std::move(message));
  changed_.notify_all();
}

void NodeLink::Stop(milliseconds patience) {
  if (!thread_.joinable()) return;
  {
    std::unique_lock lock(mutex_);
    stop_when_written_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, patience, [this] { return context_ == nullptr; });
    stop_now_ = true;
    if (context_ != nullptr) context_->TryCancel();
    changed_.notify_all();
  }
  thread_.join();
}

void NodeLink::Run() {
  for (;;) {
    const absl::Status ended = Hold();
    {
      const std::lock_guard lock(mutex_);
      if (stop_now_ || stop_when_written_) return;
    }
    if (IsRefusal(ended)) {
      listener_.refused(ended);
      return;
    }
    Pause();
  }
}

absl::Status NodeLink::Hold() {
  OVI_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Dial(settings_));
  const std::unique_ptr<v1::Nodes::Stub> stub = v1::Nodes::NewStub(channel);
  v1::NodeMessage first;
  *first.mutable_hello() = listener_.hello();

  grpc::ClientContext context;
  if (!settings_.token.empty()) context.AddMetadata("authorization", "Bearer " + settings_.token);
  {
    const std::lock_guard lock(mutex_);
    if (stop_now_ || stop_when_written_) return absl::CancelledError("stopped");
    context_ = &context;
    welcomed_ = reading_ended_ = false;
  }
  const std::unique_ptr<Stream> stream = stub->Connect(&context);
  stream->Write(first);  // where it fails, so does Read
  std::thread writer([&] { WriteQueued(*stream, context); });
  v1::NodeCommand command;
  bool was_welcomed = false;
  while (stream->Read(&command)) {
    if (!command.has_welcome()) {
      listener_.command(command);
    } else if (!std::exchange(was_welcomed, true)) {
      backoff_ = kBackoffMin;
      clash_since_.reset();
      logged_code_ = absl::StatusCode::kOk;
      listener_.connected(command.welcome());
      const std::lock_guard lock(mutex_);
      welcomed_ = true;
      changed_.notify_all();
    }
  }
  {
    const std::lock_guard lock(mutex_);
    reading_ended_ = true;
    changed_.notify_all();
  }
  writer.join();
  absl::Status ended = FromGrpc(stream->Finish());
  if (ended.ok()) ended = absl::UnavailableError("the coordinator ended the stream");
  {
    const std::lock_guard lock(mutex_);
    context_ = nullptr;
    welcomed_ = false;
    std::erase_if(queue_, [](const v1::NodeMessage& message) { return message.has_report(); });
    changed_.notify_all();
  }
  if (was_welcomed) listener_.disconnected(ended);
  return ended;
}

void NodeLink::WriteQueued(Stream& stream, grpc::ClientContext& context) {
  std::unique_lock lock(mutex_);
  const auto welcomed = [this] { return welcomed_ || reading_ended_ || stop_when_written_; };
  if (!changed_.wait_for(lock, kWelcomePatience, welcomed)) context.TryCancel();
  for (;;) {
    changed_.wait(lock,
                  [this] { return reading_ended_ || stop_when_written_ || (welcomed_ && !queue_.empty()); });
    if (reading_ended_) return;
    if (!welcomed_ || queue_.empty()) break;
    const v1::NodeMessage message = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    const bool written = stream.Write(message);
    lock.lock();
    if (written) continue;
    // Read ends too, and the message waits for the next connection.
    if (!message.has_report()) queue_.push_front(message);
    return;
  }
  lock.unlock();
  stream.WritesDone();
}

bool NodeLink::IsRefusal(const absl::Status& status) {
  const bool clash = absl::IsAlreadyExists(status);
  const bool final_word = absl::IsUnauthenticated(status) || absl::IsFailedPrecondition(status) ||
                          absl::IsInvalidArgument(status);
  if (final_word) return true;  // whoever is told says so
  if (std::exchange(logged_code_, status.code()) != status.code()) {
    Log(clash ? LogLevel::kError : LogLevel::kWarning, "coordinator not reached",
        {{"coordinator", settings_.address}, {"reason", status.message()}});
  }
  if (!clash) {
    clash_since_.reset();
    return false;
  }
  // The other agent of our name may be our own previous start, whose stream the coordinator has not given up
  // yet.
  if (!clash_since_) clash_since_ = Clock::now();
  return Clock::now() - *clash_since_ >= settings_.clash_patience;
}

void NodeLink::Pause() {
  const std::int64_t jittered =
      std::uniform_int_distribution<std::int64_t>(backoff_.count() / 2, backoff_.count())(random_);
  backoff_ = std::min(backoff_ * 2, kBackoffMax);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, milliseconds(jittered), [this] { return stop_now_ || stop_when_written_; });
}

}  // namespace ovi
