// doctor: what is wrong with this machine and the cluster, before a job finds out.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "base/format.h"
#include "client/ovictl/checks.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/table.h"

namespace ovi::client {
namespace {

struct DoctorArguments {
  bool client = false;
  std::string state = "/var/lib/ovi";
  bool state_given = false;
};

const char* VerdictWord(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "OK";
    case Verdict::kWarning:
      return "WARN";
    case Verdict::kFail:
      return "FAIL";
  }
  return "?";
}

Tint TintOf(Verdict verdict) {
  return verdict == Verdict::kOk ? Tint::kGood : verdict == Verdict::kWarning ? Tint::kWarning : Tint::kBad;
}

void PrintResult(const CheckResult& result, bool json) {
  if (json) {
    const nlohmann::json line = {{"check", result.name},
                                 {"result", VerdictWord(result.verdict)},
                                 {"detail", result.detail},
                                 {"hint", result.hint}};
    PrintLine(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  const std::string word = Tinted(absl::StrFormat("%-4s", VerdictWord(result.verdict)),
                                  TintOf(result.verdict), CurrentScreen().colours);
  PrintLine(absl::StrFormat("%s  %-12s %s", word, result.name, OneLine(result.detail)));
  if (!result.hint.empty()) PrintLine(absl::StrFormat("      %-12s %s", "", OneLine(result.hint)));
}

std::vector<Check> LocalChecks(const Session& session, const DoctorArguments& arguments) {
  std::vector<Check> checks;
  if (!arguments.client) {
    checks = MachineChecks();
    std::error_code error;
    // On a machine that never ran a coordinator or an agent there is none, and none is missed.
    if (arguments.state_given || std::filesystem::exists(arguments.state, error)) {
      checks.emplace_back([&] { return CheckFolder("state disk", arguments.state); });
    }
  }
  const std::string out = session.settings.out.empty() ? "." : session.settings.out;
  checks.emplace_back([out] { return CheckFolder("output disk", out); });
  return checks;
}

absl::StatusOr<int> Doctor(Session& session, const DoctorArguments& arguments) {
  int exit_code = kExitDone;
  // False when it failed.
  const auto run = [&](const Check& check) {
    const CheckResult result = check();
    if (session.interrupt().triggered()) return false;
    PrintResult(result, session.json);
    if (result.verdict == Verdict::kFail) exit_code = kExitFailed;
    return result.verdict != Verdict::kFail;
  };
  for (const Check& check : LocalChecks(session, arguments)) run(check);
  for (const Check& check : ClusterChecks(session)) {
    if (!run(check)) break;  // what the next ones ask would fail for the same reason
  }
  if (session.interrupt().triggered()) return absl::CancelledError("interrupted");
  return exit_code;
}

}  // namespace

void AddDoctorCommand(Commands& commands) {
  auto arguments = std::make_shared<DoctorArguments>();
  CLI::App* command =
      commands.Add("doctor", "Check this machine and the cluster; exit code 1 when anything fails",
                   [arguments](Session& session) { return Doctor(session, *arguments); });
  command->add_flag("--client", arguments->client,
                    "this machine only submits jobs: check the connection alone");
  command
      ->add_option("--state", arguments->state,
                   "state folder of a coordinator or agent (default /var/lib/ovi)")
      ->each([arguments](const std::string&) { arguments->state_given = true; });
  command->add_option("--out", commands.options().settings.out, "folder for results (OVI_OUT)");
}

}  // namespace ovi::client
