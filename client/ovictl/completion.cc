#include "client/ovictl/completion.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

// $1 is the program as it was typed, so that a build's own binary completes itself.
constexpr const char* kScript = R"bash(# bash completion for ovictl; made by `ovictl completion bash`.
_ovictl() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" command="" words="" word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in
      @COMMANDS_PATTERN@) command="$word"; break ;;
    esac
  done
  case "$previous" in
    --config|--csv|--token-file|--svg) compopt -o default; return ;;
    --out) compopt -o dirnames; return ;;
    --state) words="@STATES@" ;;
    --kind) words="video poster sheet" ;;
    *)
      if [[ "$current" == -* ]]; then
        case "$command" in
@OPTIONS@
          *) words="@GLOBAL_OPTIONS@" ;;
        esac
      else
        case "$command" in
          "") words="@COMMANDS@" ;;
          @JOB_COMMANDS@) words="$("$1" --timeout 2 list --quiet --limit 100 2>/dev/null)" ;;
          @NODE_COMMANDS@) words="$("$1" --timeout 2 nodes --quiet 2>/dev/null)" ;;
          completion) words="bash" ;;
        esac
      fi ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _ovictl ovictl
)bash";

// "--json --timeout": the long options, blanks between them.
std::string LongOptions(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return absl::StrJoin(names, " ");
}

bool HasPositional(const CLI::App& app, const std::string& name) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() && option->get_name(true) == name) return true;
  }
  return false;
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  std::vector<std::string> commands, job_commands, node_commands, options;
  const std::string global_options = LongOptions(app);
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string& name = command->get_name();
    commands.push_back(name);
    if (HasPositional(*command, "JOB")) job_commands.push_back(name);
    if (HasPositional(*command, "NODE")) node_commands.push_back(name);
    options.push_back(
        absl::StrCat("          ", name, ") words=\"", LongOptions(*command), " ", global_options, "\" ;;"));
  }
  return absl::StrReplaceAll(kScript, {{"@COMMANDS_PATTERN@", absl::StrJoin(commands, "|")},
                                       {"@COMMANDS@", absl::StrJoin(commands, " ")},
                                       {"@JOB_COMMANDS@", absl::StrJoin(job_commands, "|")},
                                       {"@NODE_COMMANDS@", absl::StrJoin(node_commands, "|")},
                                       {"@STATES@", absl::StrReplaceAll(StateWords(), {{",", ""}})},
                                       {"@OPTIONS@", absl::StrJoin(options, "\n")},
                                       {"@GLOBAL_OPTIONS@", global_options}});
}

void AddCompletionCommand(Commands& commands) {
  const CLI::App& app = commands.app();
  auto shell = std::make_shared<std::string>();
  commands
      .AddOffline("completion", "Print a completion script: source <(ovictl completion bash)",
                  [&app] {
                    std::fputs(BashCompletion(app).c_str(), stdout);
                    return kExitDone;
                  })
      ->add_option("SHELL", *shell, "bash")
      ->required()
      ->check([shell](const std::string& word) {
        return word == "bash" ? std::string() : "there is a script for bash only, got " + word;
      });
}

}  // namespace ovi::client
