// Messages of a call that have many small parts: on an arena they are made and freed as a whole.
#pragma once

#include <google/protobuf/arena.h>
#include <grpcpp/support/message_allocator.h>

#include <cstddef>

namespace ovi {

// Thread-safe. For CallbackService::SetMessageAllocatorFor_..., and must outlive that service's server.
template <typename Request, typename Response>
class ArenaMessages final : public grpc::MessageAllocator<Request, Response> {
 public:
  grpc::MessageHolder<Request, Response>* AllocateMessages() override { return new Holder; }

 private:
  // Owns itself: gRPC releases it when the call is over.
  class Holder final : public grpc::MessageHolder<Request, Response> {
   public:
    Holder() : arena_(Options()) {
      this->set_request(google::protobuf::Arena::CreateMessage<Request>(&arena_));
      this->set_response(google::protobuf::Arena::CreateMessage<Response>(&arena_));
    }
    void Release() override { delete this; }

   private:
    static google::protobuf::ArenaOptions Options() {
      google::protobuf::ArenaOptions options;
      options.start_block_size = std::size_t{4} << 10;
      options.max_block_size = std::size_t{64} << 10;
      return options;
    }
    google::protobuf::Arena arena_;
  };
};

}  // namespace ovi
