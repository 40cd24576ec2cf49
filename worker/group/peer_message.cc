#include "worker/group/peer_message.h"

#include <cstring>
#include <type_traits>

#include "base/status.h"

namespace ovi {
namespace {

// Fields one after the other in the machine's own format: all ranks run one program on one kind of machine.
class Writer {
 public:
  template <typename Value>
  Writer& Add(Value value) {
    static_assert(std::is_arithmetic_v<Value>);
    char bytes[sizeof(value)];
    std::memcpy(bytes, &value, sizeof(value));
    text_.append(bytes, sizeof(value));
    return *this;
  }
  Writer& AddText(std::string_view text) {
    Add(static_cast<std::uint64_t>(text.size()));
    text_ += text;
    return *this;
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  template <typename Value>
  Value Take() {
    Value value{};
    const std::string_view bytes = TakeBytes(sizeof(value));
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), sizeof(value));
    return value;
  }
  std::string TakeText() { return std::string(TakeBytes(Take<std::uint64_t>())); }
  // All of it, and nothing more, was there.
  absl::Status Finish() const {
    if (broken_ || !text_.empty()) return absl::InternalError("message of another rank: broken");
    return absl::OkStatus();
  }

 private:
  std::string_view TakeBytes(std::uint64_t count) {
    if (broken_ || count > text_.size()) {
      broken_ = true;
      return {};
    }
    const std::string_view bytes = text_.substr(0, count);
    text_.remove_prefix(count);
    return bytes;
  }

  std::string_view text_;
  bool broken_ = false;
};

}  // namespace

std::string Encode(const PeerOrder& order) {
  return Writer()
      .Add(static_cast<std::uint8_t>(order.kind))
      .Add(order.sequence)
      .AddText(order.run)
      .Add(order.image.height)
      .Add(order.image.width)
      .Add(order.exit_code)
      .Take();
}

absl::StatusOr<PeerOrder> DecodeOrder(std::string_view text) {
  Reader reader(text);
  PeerOrder order;
  const auto kind = reader.Take<std::uint8_t>();
  order.kind = static_cast<PeerOrder::Kind>(kind);
  order.sequence = reader.Take<std::uint32_t>();
  order.run = reader.TakeText();
  order.image.height = reader.Take<std::int64_t>();
  order.image.width = reader.Take<std::int64_t>();
  order.exit_code = reader.Take<std::int32_t>();
  OVI_RETURN_IF_ERROR(reader.Finish());
  if (kind > static_cast<std::uint8_t>(PeerOrder::Kind::kShutDown)) {
    return absl::InternalError("message of another rank: an unknown order");
  }
  return order;
}

std::string Encode(const PeerOutcome& outcome) {
  Writer writer;
  writer.Add(static_cast<std::int32_t>(outcome.status.code()))
      .AddText(std::string_view(outcome.status.message().data(), outcome.status.message().size()))
      .Add(static_cast<std::uint32_t>(outcome.stages.size()));
  for (const StageReport& stage : outcome.stages) {
    writer.Add(static_cast<std::uint8_t>(stage.stage)).Add(stage.seconds).Add(stage.arena_bytes_peak);
  }
  return writer.Take();
}

absl::StatusOr<PeerOutcome> DecodeOutcome(std::string_view text) {
  Reader reader(text);
  PeerOutcome outcome;
  const auto code = static_cast<absl::StatusCode>(reader.Take<std::int32_t>());
  const std::string message = reader.TakeText();
  outcome.status = absl::Status(code, message);
  const auto stages = reader.Take<std::uint32_t>();
  for (std::uint32_t i = 0; i < stages && i < 16; ++i) {
    StageReport& stage = outcome.stages.emplace_back();
    stage.stage = static_cast<Stage>(reader.Take<std::uint8_t>());
    stage.seconds = reader.Take<double>();
    stage.arena_bytes_peak = reader.Take<std::int64_t>();
  }
  OVI_RETURN_IF_ERROR(reader.Finish());
  return outcome;
}

}  // namespace ovi
