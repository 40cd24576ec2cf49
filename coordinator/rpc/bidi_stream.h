// A bidirectional stream of the callback API with a queue for what goes out: Send from any thread, one write
// at a time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace ovi {

// Thread-safe. Lives until gRPC is done with it: it owns itself, others hold weak_ptr.
template <typename Incoming, typename Outgoing>
class BidiStream : public grpc::ServerBidiReactor<Incoming, Outgoing>,
                   public std::enable_shared_from_this<BidiStream<Incoming, Outgoing>> {
 public:
  // Dropped silently once the stream has ended. Order is kept.
  void Send(Outgoing message) {
    const std::lock_guard lock(mutex_);
    if (end_ || finished_) return;
    queue_.push_back(std::move(message));
    if (!writing_ && !held_) WriteNext();
  }

  // Ends the stream after what is queued has been written; later calls do nothing.
  void End(grpc::Status status) {
    const std::lock_guard lock(mutex_);
    if (end_ || finished_) return;
    end_ = std::move(status);
    if (std::exchange(held_, false)) queue_.clear();
    if (!writing_) WriteNextOrFinish();
  }

 protected:
  // On one thread at a time.
  virtual void OnMessage(const Incoming& message) = 0;
  // The last call: the peer is gone, or End has ended it.
  virtual void OnClosed() = 0;

  // Holds back what is sent, until Release puts `first` before it.
  void Hold() {
    const std::lock_guard lock(mutex_);
    held_ = true;
  }
  void Release(Outgoing first) {
    const std::lock_guard lock(mutex_);
    held_ = false;
    if (end_ || finished_) return;
    queue_.push_front(std::move(first));
    if (!writing_) WriteNext();
  }

  // To be called once, after the object is held by a shared_ptr.
  void Begin() {
    self_ = this->shared_from_this();
    this->StartRead(&incoming_);
  }

 private:
  void OnReadDone(bool ok) final {
    if (!ok) {  // the peer closed its side, or is gone
      End(grpc::Status::OK);
      return;
    }
    OnMessage(incoming_);
    const std::lock_guard lock(mutex_);
    if (!finished_) this->StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) final {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    queue_.pop_front();
    if (!ok) queue_.clear();
    if (!ok && !end_) end_ = grpc::Status::CANCELLED;
    if (!held_) WriteNextOrFinish();
  }

  void OnCancel() final { End(grpc::Status::CANCELLED); }

  void OnDone() final {
    OnClosed();
    self_.reset();
  }

  void WriteNext() {
    writing_ = true;
    this->StartWrite(&queue_.front());
  }

  void WriteNextOrFinish() {
    if (!queue_.empty()) {
      WriteNext();
    } else if (end_ && !finished_) {
      finished_ = true;
      this->Finish(*end_);
    }
  }

  std::mutex mutex_;
  std::deque<Outgoing> queue_;  // a deque: the front stays where it is while it is written
  bool writing_ = false;
  bool held_ = false;
  bool finished_ = false;
  std::optional<grpc::Status> end_;
  Incoming incoming_;
  std::shared_ptr<BidiStream> self_;
};

}  // namespace ovi
