#include "client/ovictl/json.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include "base/check.h"

namespace ovi::client {

std::string JsonLine(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string line;
  OVI_CHECK(google::protobuf::util::MessageToJsonString(message, &line, options).ok());
  return line;
}

}  // namespace ovi::client
