// ovi-worker: makes clips on this machine, alone or as a rank of a cluster's group, looks into checkpoint
// files, and converts them.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "worker/cli/convert.h"
#include "worker/cli/exit_codes.h"
#include "worker/cli/generate.h"
#include "worker/cli/inspect.h"
#include "worker/cli/print_error.h"
#include "worker/group/group.h"
#include "worker/job/vram_bytes.h"
#include "worker/weights/compressed_matrix.h"

namespace {

// Threads of an OpenMP team spin while they wait. On a core that something else wants too, that made a
// one-second clip take 27 s, and letting them sleep costs nothing measurable. libgomp reads its settings when
// it is loaded, before main, so the program starts itself once more with them in place. A user's own setting
// stands.
void LetThreadsSleep(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);  // returns only where it fails; then it runs as it is
}

// What CLI11 says, except that it calls a misspelt subcommand a missing one.
std::string UsageMessage(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> words = app.remaining();
  if (!app.get_subcommands().empty() || words.empty()) return error.what();
  return "unknown command \"" + words.front() + "\"";
}

CLI::App* AddGenerateCommand(CLI::App& app, ovi::GenerateOptions& options) {
  CLI::App* command = app.add_subcommand("generate", "Make the clips of a job in this process, on the CPU");
  command->add_option("--config", options.config, "job YAML (docs/job-config.md)")->required();
  command->add_option("--model", options.model,
                      "model folder, folder of downloaded weights, or a model's name");
  command->add_option("--set", options.sets, "key=value, overrides the job's YAML; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--out", options.out, "folder for the MP4, its poster and its contact sheet");
  command
      ->add_option("--max-vram,--max-memory", options.memory_bytes,
                   "memory for weights and activations, e.g. 8GiB (default: the job's max_vram, else 90 % of "
                   "what is free)")
      ->transform(CLI::Validator(ovi::VramBytesArgument, "SIZE"));
  command->add_option("--threads", options.threads, "threads (default: all cores)")
      ->check(CLI::Range(1, 1024));
  command->add_option("--noise", options.noise,
                      "safetensors with video_noise and audio_noise, instead of the seed's");
  command->add_option("--dump", options.dump,
                      "write latents, pixels and samples of the last clip to this safetensors file");
  command->add_flag("--json", options.json, "one JSON object a line");
  return command;
}

CLI::App* AddInspectCommand(CLI::App& app, ovi::InspectOptions& options) {
  CLI::App* command =
      app.add_subcommand("inspect", "List the tensors of a checkpoint (safetensors, .pth, .pt)");
  command->add_option("FILE", options.file, "checkpoint file")->required();
  command->add_option("--model", options.model,
                      "hold an adapter (LoRA) against this model: its folder, or its name");
  command->add_flag("--json", options.json, "machine-readable output");
  return command;
}

CLI::App* AddConvertCommand(CLI::App& app, ovi::ConvertOptions& options) {
  CLI::App* command = app.add_subcommand(
      "convert", "Write a model's transformer in one byte a weight or less (docs/vram.md)");
  command
      ->add_option("--model", options.model, "model folder, folder of downloaded weights, or a model's name")
      ->required();
  command->add_option("--model-name", options.model_name,
                      "which model a folder of downloaded weights is meant for (default: 960x960_5s)");
  command->add_option("--format", options.format, "fp8, int8 or low_rank")
      ->required()
      ->check(CLI::IsMember({"fp8", "int8", "low_rank"}));
  command
      ->add_option("--rank", options.rank,
                   "of low_rank's pairs, for matrices of 3072 and more; smaller ones have less in proportion "
                   "(default: 128)")
      ->check(CLI::Range(std::int64_t{1}, ovi::kRankMax));
  command->add_option("--out", options.out,
                      "file to write (default: one in the cache folder, see OVI_CACHE_DIR)");
  command->add_option("--threads", options.threads, "threads (default: all cores)")
      ->check(CLI::Range(1, 1024));
  return command;
}

CLI::App* AddGroupCommand(CLI::App& app, ovi::GroupOptions& options) {
  CLI::App* command = app.add_subcommand(
      "group", "Serve a coordinator's jobs as one rank of a group; agents start it, under mpirun");
  command->add_option("--group-dir", options.group_dir, "folder with the group's group.json and token")
      ->required();
  return command;
}

int Run(int argc, char** argv) {
  CLI::App app{"Ovi worker: a prompt becomes a video with sound", "ovi-worker"};
  app.set_version_flag("--version", "ovi-worker " OVI_VERSION);
  app.require_subcommand(1);
  ovi::ConvertOptions convert;
  ovi::GenerateOptions generate;
  ovi::GroupOptions group;
  ovi::InspectOptions inspect;
  CLI::App* generate_command = AddGenerateCommand(app, generate);
  CLI::App* group_command = AddGroupCommand(app, group);
  AddInspectCommand(app, inspect);
  CLI::App* convert_command = AddConvertCommand(app, convert);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const char* help = generate_command->parsed()  ? "; see ovi-worker generate --help"
                       : convert_command->parsed() ? "; see ovi-worker convert --help"
                                                   : "; see ovi-worker --help";
    ovi::PrintError(UsageMessage(app, error) + help);
    return ovi::kExitUsage;
  }
  if (group_command->parsed()) return ovi::RunGroup(group);
  if (convert_command->parsed()) return ovi::RunConvert(convert);
  return generate_command->parsed() ? ovi::RunGenerate(generate) : ovi::RunInspect(inspect);
}

}  // namespace

int main(int argc, char** argv) {
  LetThreadsSleep(argv);
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {  // out of memory, above all
    ovi::PrintError(error.what());
    return ovi::kExitFailed;
  }
}
