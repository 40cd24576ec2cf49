// Messages as JSON for programs.
#pragma once

#include <string>

namespace google::protobuf {
class Message;
}

namespace ovi::client {

// One line: protobuf's JSON with the contract's own field names (64-bit numbers are strings, enums their full
// names), and fields that hold their default value too, so that a reader finds them always.
std::string JsonLine(const google::protobuf::Message& message);

}  // namespace ovi::client
