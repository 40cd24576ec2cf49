#include "tests/metrics/metrics_page.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "tests/temp_folder.h"

namespace ovi {

absl::StatusOr<std::string> ReadMetricsPage(int port) {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  constexpr std::string_view kRequest = "GET /metrics HTTP/1.0\r\n\r\n";
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::write(fd.get(), kRequest.data(), kRequest.size()) != static_cast<ssize_t>(kRequest.size())) {
    return absl::UnavailableError(absl::StrCat("nobody serves metrics on port ", port));
  }
  std::string answer;
  char buffer[4096];
  for (ssize_t count; (count = ::read(fd.get(), buffer, sizeof(buffer))) > 0;)
    answer.append(buffer, static_cast<std::size_t>(count));
  const std::size_t body = answer.find("\r\n\r\n");
  if (body == std::string::npos) return absl::DataLossError(absl::StrCat("no page: ", answer));
  return answer.substr(body + 4);
}

absl::Status CheckWithPromtool(const std::string& page) {
  OVI_RETURN_IF_ERROR(FindProgram("promtool").status());
  const TempFolder temp;
  const std::string file = temp.Write("metrics", page);
  OVI_ASSIGN_OR_RETURN(const CapturedRun run,
                       RunAndCapture({"/bin/sh", "-c", absl::StrCat("promtool check metrics <", file)}));
  const std::string words = run.stdout_text + run.stderr_tail;
  if (run.exit.ok() && words.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("promtool, ", run.exit.ToString(), ": ", words));
}

}  // namespace ovi
