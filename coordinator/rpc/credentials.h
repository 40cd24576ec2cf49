// Who may speak as what. Tokens travel in the metadata "authorization: Bearer <token>" and are compared in
// constant time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace ovi {

// Immutable, so thread-safe.
class Credentials {
 public:
  struct Options {
    std::string node_token;    // of agents
    std::string group_secret;  // keys the groups' tokens, so that none need be remembered over a restart
    bool insecure = false;     // agents without a token are let in; a wrong one never is
  };
  explicit Credentials(Options options) : options_(std::move(options)) {}

  // UNAUTHENTICATED.
  absl::Status CheckNode(const grpc::CallbackServerContext& context) const;
  absl::Status CheckGroup(const grpc::CallbackServerContext& context, std::string_view group) const;
  std::string GroupToken(std::string_view group) const;

 private:
  Options options_;
};

}  // namespace ovi
