// ovi-worker: makes clips on this machine, and looks into checkpoint files.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "worker/cli/generate.h"
#include "worker/cli/inspect.h"

namespace {

// Exit codes that scripts rely on: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
constexpr int kExitUsage = 2;

int Run(int argc, char** argv) {
  CLI::App app{"Ovi worker: a prompt becomes a video with sound", "ovi-worker"};
  app.set_version_flag("--version", OVI_VERSION);
  app.require_subcommand(1);
  ovi::GenerateOptions generate;
  ovi::InspectOptions inspect;
  CLI::App* generate_command = ovi::AddGenerateCommand(app, generate);
  ovi::AddInspectCommand(app, inspect);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  return generate_command->parsed() ? ovi::RunGenerate(generate) : ovi::RunInspect(inspect);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {  // out of memory, above all
    std::fprintf(stderr, "ovi-worker: %s\n", error.what());
    return 1;
  }
}
