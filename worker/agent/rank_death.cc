#include "worker/agent/rank_death.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace ovi {
namespace {

constexpr std::size_t kSignalNameBytesMax = 40;

// The number right behind `before`, which is taken off `text` with all that is in front of it.
std::optional<int> NumberAfter(std::string_view& text, std::string_view before) {
  const std::size_t found = text.find(before);
  if (found == std::string_view::npos) return std::nullopt;
  text.remove_prefix(found + before.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

// "mpirun noticed that process rank 1 with PID 42 on node box-1 exited on signal 9 (Killed)."
std::string DiedOfSignal(std::string_view line) {
  if (line.find(" noticed that process rank ") == std::string_view::npos) return "";
  const std::optional<int> rank = NumberAfter(line, " noticed that process rank ");
  const std::optional<int> signal = rank ? NumberAfter(line, " exited on signal ") : std::nullopt;
  if (!signal) return "";
  std::string name;
  const std::size_t close = line.find(')');
  if (line.starts_with(" (") && close != std::string_view::npos) {
    name = absl::StrCat(" (", Escaped(std::string(line.substr(2, close - 2)).substr(0, kSignalNameBytesMax)),
                        ")");
  }
  return absl::StrCat("rank ", *rank, " died of signal ", *signal, name);
}

}  // namespace

std::string DescribeRankDeath(std::string_view output) {
  // The first process that ended badly is described over two lines: "Process name: [[4242,1],3]" with the
  // rank last, then "Exit code: 3".
  std::optional<int> named;
  while (!output.empty()) {
    const std::size_t newline = output.find('\n');
    std::string_view line = output.substr(0, newline);
    output.remove_prefix(newline == std::string_view::npos ? output.size() : newline + 1);
    if (line.starts_with("[")) continue;  // a rank's
    if (std::string died = DiedOfSignal(line); !died.empty()) return died;
    line = Trimmed(line);
    if (line.starts_with("Process name:")) named = NumberAfter(line, ",1],");
    if (!named || !line.starts_with("Exit code:")) continue;
    if (const std::optional<int> code = NumberAfter(line, "Exit code:"))
      return absl::StrCat("rank ", *named, " ended with exit code ", *code);
  }
  return "";
}

}  // namespace ovi
