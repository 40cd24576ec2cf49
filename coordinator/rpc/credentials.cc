#include "coordinator/rpc/credentials.h"

#include "absl/strings/str_cat.h"
#include "base/secret.h"

namespace ovi {
namespace {

constexpr std::string_view kScheme = "Bearer ";

// "" where there is none.
std::string BearerOf(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return "";
  const std::string_view value(found->second.data(), found->second.size());
  return std::string(value.starts_with(kScheme) ? value.substr(kScheme.size()) : value);
}

}  // namespace

absl::Status Credentials::CheckNode(const grpc::CallbackServerContext& context) const {
  const std::string token = BearerOf(context);
  if (token.empty()) {
    if (options_.insecure) return absl::OkStatus();
    return absl::UnauthenticatedError("an agent needs the node token (node_token_file)");
  }
  if (EqualInConstantTime(token, options_.node_token)) return absl::OkStatus();
  return absl::UnauthenticatedError("this is not the coordinator's node token (node_token_file)");
}

absl::Status Credentials::CheckGroup(const grpc::CallbackServerContext& context,
                                     std::string_view group) const {
  if (EqualInConstantTime(BearerOf(context), GroupToken(group))) return absl::OkStatus();
  return absl::UnauthenticatedError(absl::StrCat("this is not the token of group ", std::string(group)));
}

std::string Credentials::GroupToken(std::string_view group) const {
  return HmacSha256Hex(options_.group_secret, group);
}

}  // namespace ovi
