// The agent's YAML: what is taken, what is refused and how that is said.
#include "worker/agent/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/small_file.h"

namespace ovi {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kLeast = "coordinator: localhost:7000\nnode_token_file: /t\nstate_dir: /s\n";

absl::StatusOr<AgentConfig> Parse(const std::string& yaml, const std::vector<std::string>& sets = {}) {
  return ParseAgentConfig(yaml, "agent.yaml", "/etc/ovi", sets);
}

TEST(AgentConfig, HasDefaultsForAllButThreeKeys) {
  const auto config = Parse(kLeast);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "");
  EXPECT_EQ(config->coordinator, "localhost:7000");
  EXPECT_EQ(config->declared_gpus, std::nullopt);
  EXPECT_EQ(config->mpirun, "mpirun");
  EXPECT_EQ(config->metrics_address, "");
  EXPECT_FALSE(config->keep_groups);
  EXPECT_TRUE(config->log.to_stderr);
}

TEST(AgentConfig, TakesEveryKey) {
  const auto config = Parse(R"(
name: box-1
coordinator: "[::1]:7000"
node_token_file: node_token
state_dir: state
models_dir: ../models
weights_dir: /data/weights
cache_dir: cache
gpus:
  - {name: RTX 3090, vram: 24GiB, share: 1000}
  - {vram: "600 MB"}
  - {name: odd, vram: 629145600}
groups:
  mpirun: /opt/mpi/bin/mpirun
  worker: bin/ovi-worker
  threads_per_rank: 3
  keep: true
  environment: {OMPI_MCA_btl: "tcp,self", N: 5}
metrics_address: 127.0.0.1:9101
report_interval_ms: 500
log: {level: debug, json: true, file: agent.log}
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "box-1");
  EXPECT_EQ(config->coordinator, "[::1]:7000");
  EXPECT_EQ(config->node_token_file, "/etc/ovi/node_token");
  EXPECT_EQ(config->state_dir, "/etc/ovi/state");
  EXPECT_EQ(config->models_dir, "/etc/models");
  EXPECT_EQ(config->weights_dir, "/data/weights");
  EXPECT_EQ(config->cache_dir, "/etc/ovi/cache");
  ASSERT_TRUE(config->declared_gpus);
  EXPECT_THAT(*config->declared_gpus,
              ElementsAre(DeclaredGpu{"RTX 3090", std::int64_t{24} << 30, 1000},
                          DeclaredGpu{"declared", 600'000'000}, DeclaredGpu{"odd", 629'145'600}));
  EXPECT_EQ(config->mpirun, "/opt/mpi/bin/mpirun");
  EXPECT_EQ(config->worker, "/etc/ovi/bin/ovi-worker");
  EXPECT_EQ(config->threads_per_rank, 3);
  EXPECT_TRUE(config->keep_groups);
  EXPECT_THAT(config->group_environment, ElementsAre("OMPI_MCA_btl=tcp,self", "N=5"));
  EXPECT_EQ(config->metrics_address, "127.0.0.1:9101");
  EXPECT_EQ(config->report_interval_ms, 500);
  EXPECT_EQ(config->log.level, LogLevel::kDebug);
  EXPECT_TRUE(config->log.json);
  EXPECT_EQ(config->log.file, "/etc/ovi/agent.log");
  EXPECT_FALSE(config->log.to_stderr);
}

TEST(AgentConfig, LetsTheCommandLineHaveTheLastWord) {
  const auto config =
      Parse(kLeast, {"name=a", "name=b", "groups.worker=w", "coordinator=unix:/run/c", "log.level=error",
                     "gpus=[{vram: 1GiB}, {vram: 2GiB}]", "node_token_file=", "insecure=true"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "b");
  EXPECT_EQ(config->worker, "w") << "a path of the command line counts from the current folder";
  EXPECT_EQ(config->coordinator, "unix:/run/c");
  EXPECT_EQ(config->node_token_file, "") << "an empty value unsets";
  EXPECT_EQ(config->declared_gpus->size(), 2u);
}

TEST(AgentConfig, NeedsNoFileAtAll) {
  EXPECT_TRUE(Parse("", {"coordinator=127.0.0.1:1", "state_dir=s", "insecure=true"}).ok());
}

TEST(AgentConfig, RefusesWhatItDoesNotUnderstandAndSaysWhere) {
  struct Case {
    const char* yaml;
    std::vector<std::string> sets;
    const char* message;
  };
  const std::string least = kLeast;
  const Case cases[] = {
      {"cordinator: a:1", {}, "agent.yaml:1: unknown key \"cordinator\"; did you mean \"coordinator\"?"},
      {"groups:\n  mpirum: x",
       {},
       "agent.yaml:2: unknown key \"groups.mpirum\"; did you mean \"groups.mpirun\"?"},
      {"zzz: 1", {}, "agent.yaml:1: unknown key \"zzz\" (configs/cluster/agent.yaml shows all)"},
      {"groups: mpirun", {}, "agent.yaml:1: groups must be a map of keys, got"},
      {"- a", {}, "agent.yaml:1: a configuration is a list of \"key: value\" lines"},
      {"name: a b", {}, "agent.yaml:1: name must be 1 to 64 letters, digits, - _ . and is \"a b\""},
      {"name: [a]", {}, "agent.yaml:1: name must be text"},
      {"coordinator: head",
       {},
       "agent.yaml:1: coordinator must be host:port, such as head:7000, got \"head\""},
      {"coordinator: head:70000", {}, "coordinator must be host:port"},
      {"coordinator: :7000", {}, "coordinator must be host:port"},
      {"gpus: some", {}, "agent.yaml:1: gpus must be auto or a list of {name, vram, share}, got"},
      {"gpus:\n- {vram: 1GiB}\n- {vram: much}", {}, "gpus [1].vram must be bytes from 1 MiB to 1024 TiB"},
      {"gpus: [{vram: 3}]", {}, "gpus [0].vram must be bytes from 1 MiB"},
      {"gpus: [{vram: -1GiB}]", {}, "gpus [0].vram must be bytes"},
      {"gpus: [{name: a}]", {}, "gpus [0] needs vram"},
      {"gpus: [{vram: 1GiB, share: 0}]", {}, "gpus [0].share must be"},
      {"gpus: [{vram: 1GiB, share: 1001}]", {}, "gpus [0].share must be"},
      {"gpus: [{vram: 1GiB, share: fast}]", {}, "gpus [0].share must be"},
      {"gpus: [{vram: 1GiB, memory: 1}]",
       {},
       "gpus [0] has the unknown key \"memory\"; a GPU has name, vram and share"},
      {"groups: {threads_per_rank: -1}",
       {},
       "groups.threads_per_rank must be a whole number from 0 to 1024, got -1"},
      {"groups: {environment: [a]}", {}, "groups.environment must be a map of NAME: value"},
      {"groups: {environment: {A: [1]}}", {}, "groups.environment [\"A\"] must be text"},
      {"insecure: yes", {}, "insecure must be true or false"},
      {"log: {level: loud}", {}, "log.level must be debug, info, warning or error"},
      {"", {"nonsense"}, "--set \"nonsense\": must be key=value"},
      {"", {"groups.mpirum=x"}, "--set: unknown key \"groups.mpirum\"; did you mean \"groups.mpirun\"?"},
      {"",
       {"report_interval_ms=soon"},
       "--set report_interval_ms: report_interval_ms must be a whole number"},
      {"state_dir: s", {}, "agent.yaml: coordinator is missing"},
      {"coordinator: localhost:1", {}, "agent.yaml: state_dir is missing"},
      {"coordinator: localhost:1\nstate_dir: s", {}, "agent.yaml: node_token_file is missing"},
      {"coordinator: head:1\nstate_dir: s\nnode_token_file: t",
       {},
       "agent.yaml:1: coordinator is on another machine, so tls_ca_file is needed"},
      {"coordinator: head:1\nstate_dir: s\ninsecure: true\ntls_ca_file: c",
       {},
       "agent.yaml:4: tls_ca_file contradicts insecure: true"},
      {"coordinator: localhost:1\nstate_dir: s\ninsecure: true\nnvml_library: l\ngpus: []",
       {},
       "agent.yaml:4: nvml_library is only for gpus: auto"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.message);
    const auto config = Parse(c.yaml, c.sets);
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(c.message));
  }
}

TEST(AgentConfig, OfTheExampleIsValid) {
  const std::string path = OVI_SOURCE_DIR "/configs/cluster/agent.yaml";
  const auto text = ReadSmallFile(path, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto config = ParseAgentConfig(*text, path, OVI_SOURCE_DIR "/configs/cluster", {});
  EXPECT_TRUE(config.ok()) << config.status();
}

}  // namespace
}  // namespace ovi
