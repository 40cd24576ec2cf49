#include "client/ovictl/fetch.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/errors.h"
#include "client/ovictl/job_ids.h"
#include "client/ovictl/transfer.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

std::string FileLine(const Session& session, const v1::Job& job, const v1::Artifact& artifact,
                     const Fetched& fetched) {
  if (!session.json) return fetched.path;
  const nlohmann::json line = {{"job_id", job.id()},
                               {"kind", v1::ArtifactKind_Name(artifact.kind())},
                               {"path", fetched.path},
                               {"sha256", artifact.sha256()},
                               {"size_bytes", artifact.size_bytes()},
                               {"was_there", fetched.was_there}};
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

struct FetchArguments {
  std::vector<std::string> ids;
  std::vector<std::string> kinds;
};

absl::StatusOr<int> Fetch(Session& session, const FetchArguments& arguments) {
  FetchOptions options{.out = session.settings.out.empty() ? "." : session.settings.out};
  for (const std::string& word : arguments.kinds) {
    const std::optional<v1::ArtifactKind> kind = ParseKind(word);
    if (!kind) {
      return absl::InvalidArgumentError(
          absl::StrCat("--kind: must be video, poster or sheet, got ", Quoted(word)));
    }
    options.kinds.push_back(*kind);
  }
  OVI_RETURN_IF_ERROR(CannotBegin(PrepareFolder(options.out)));
  return ForEachJob(session, arguments.ids, [&](const std::string& id) -> absl::Status {
    OVI_ASSIGN_OR_RETURN(const v1::Job job, session.connection->GetJob(id));
    return FetchJob(session, job, options, PrintLine);
  });
}

}  // namespace

absl::Status FetchJob(Session& session, const v1::Job& job, const FetchOptions& options,
                      const std::function<void(std::string_view)>& say) {
  if (job.state() != v1::JOB_STATE_COMPLETED) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job.id(), " is ", StateWord(job.state()),
                     HasEnded(job.state()) ? ": it has no result" : "; ovictl wait waits for it"));
  }
  bool any = false;
  for (const v1::Artifact& artifact : job.artifacts()) {
    const auto& kinds = options.kinds;
    if (!kinds.empty() && std::find(kinds.begin(), kinds.end(), artifact.kind()) == kinds.end()) continue;
    OVI_ASSIGN_OR_RETURN(const Fetched fetched,
                         FetchArtifact(*session.connection, job.id(), artifact, options.out));
    say(FileLine(session, job, artifact, fetched));
    any = true;
  }
  if (any) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("job ", job.id(), " has no result of this kind"));
}

void AddFetchCommand(Commands& commands) {
  auto arguments = std::make_shared<FetchArguments>();
  CLI::App* command = commands.Add("fetch", "Fetch the results of completed jobs",
                                   [arguments](Session& session) { return Fetch(session, *arguments); });
  command->add_option("JOB", arguments->ids, "job ids")->required();
  command->add_option("--out", commands.options().settings.out, "folder (OVI_OUT; default: the current one)");
  command->add_option("--kind", arguments->kinds, "video, poster or sheet; may be repeated (default: all)")
      ->allow_extra_args(false);
}

}  // namespace ovi::client
