#include "worker/parallel/communicator.h"

#include <algorithm>
#include <numeric>

#include "base/status.h"

namespace ovi {

std::string_view ExchangeName(Exchange exchange) {
  switch (exchange) {
    case Exchange::kAllToAll:
      return "all-to-all";
    case Exchange::kAllGather:
      return "all-gather";
    case Exchange::kBroadcast:
      return "broadcast";
    case Exchange::kSendReceive:
      return "send-receive";
    case Exchange::kSend:
      return "send";
  }
  return "?";
}

std::int64_t CommunicatorCounts::bytes_total() const {
  return std::accumulate(bytes_sent.begin(), bytes_sent.end(), std::int64_t{0});
}

absl::Status SumInRankOrder(Communicator& communicator, std::span<float> values) {
  const std::size_t count = values.size();
  std::vector<float> all(count * static_cast<std::size_t>(communicator.size()));
  std::vector<std::span<std::byte>> parts;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    parts.push_back(
        std::as_writable_bytes(std::span(all).subspan(static_cast<std::size_t>(rank) * count, count)));
  }
  OVI_RETURN_IF_ERROR(communicator.AllGatherV(nullptr, std::as_bytes(values), parts).Wait());
  std::copy_n(all.begin(), count, values.begin());
  for (int rank = 1; rank < communicator.size(); ++rank) {
    const float* part = all.data() + static_cast<std::size_t>(rank) * count;
    for (std::size_t i = 0; i < count; ++i) values[i] += part[i];
  }
  return absl::OkStatus();
}

}  // namespace ovi
