// Errors as users and scripts meet them.
#include "client/ovictl/errors.h"

#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "client/ovictl/exit_code.h"
#include "tests/client/fake_cluster.h"

namespace ovi::client {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;

const CallFacts kFacts = {.coordinator = "box:7700", .timeout_seconds = 2.5};
const CallFacts kAnswered = {.coordinator = "box:7700", .timeout_seconds = 2.5, .answered = true};

TEST(Errors, SayInOneLineWhatToDo) {
  const struct {
    grpc::Status status;
    CallFacts facts;
    const char* line;
    int exit_code;
  } rows[] = {
      {{StatusCode::UNAVAILABLE, "failed to connect to all addresses"},
       kFacts,
       "coordinator box:7700 does not answer; is ovi-coordinator running? (--coordinator, OVI_COORDINATOR)",
       kExitFailed},
      {{StatusCode::UNAVAILABLE, "replaying the journal"},
       kAnswered,
       "coordinator box:7700 is not ready: replaying the journal",
       kExitFailed},
      {{StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"},
       kFacts,
       "coordinator box:7700 did not answer within 2.5 s (--timeout)",
       kExitFailed},
      {{StatusCode::UNAUTHENTICATED, "no token"},
       kAnswered,
       "coordinator box:7700: no token (--token-file, OVI_TOKEN_FILE)",
       kExitFailed},
      {{StatusCode::UNIMPLEMENTED, "x"},
       kAnswered,
       "coordinator box:7700 does not know this call: is it older than ovictl " OVI_VERSION "? x",
       kExitFailed},
      {{StatusCode::NOT_FOUND, "no job 7"}, kAnswered, "no job 7", kExitFailed},
      {{StatusCode::INTERNAL, "a\nb\x1b[2J"}, kAnswered, "a b [2J", kExitFailed},
      {{StatusCode::INTERNAL, ""}, kAnswered, "coordinator box:7700: error 13", kExitFailed},
      {{StatusCode::INVALID_ARGUMENT, "job_id is empty"}, kAnswered, "job_id is empty", kExitUsage},
      {{StatusCode::FAILED_PRECONDITION, "no node could hold it"},
       kAnswered,
       "no node could hold it",
       kExitFailed},
      {{StatusCode::CANCELLED, "the server's doing"}, kAnswered, "the server's doing", kExitFailed},
      {{StatusCode::CANCELLED, "ours"},
       {.coordinator = "box:7700", .timeout_seconds = 1, .interrupted = true},
       "interrupted",
       kExitInterrupted},
  };
  for (const auto& row : rows) {
    const absl::Status status = FromGrpc(row.status, row.facts);
    EXPECT_THAT(ErrorLines(status), ElementsAre(row.line));
    EXPECT_EQ(ExitCodeOf(status), row.exit_code) << row.line;
  }
}

TEST(Errors, NameEveryWrongFieldByTheWordOfTheYaml) {
  const absl::Status status = FromGrpc(FieldErrors({{"spec.sample_steps", "must be from 1 to 1000, got 0"},
                                                    {"spec.solver", "has the unknown value 9"},
                                                    {"spec.loras[1].path", "is\nempty"}}),
                                       kAnswered);
  EXPECT_THAT(ErrorLines(status),
              ElementsAre("sample_steps: must be from 1 to 1000, got 0",
                          "solver_name: has the unknown value 9", "loras[1].path: is empty"));
  EXPECT_EQ(ExitCodeOf(status), kExitUsage);
}

TEST(Errors, SayOnceWhatIsWrongWithSeveralJobsOfABatch) {
  const absl::Status status = FromGrpc(FieldErrors({{"requests[0].spec.sample_steps", "must not be 0"},
                                                    {"requests[1].spec.sample_steps", "must not be 0"},
                                                    {"requests[1].spec.text_prompt", "must not be empty"}}),
                                       kAnswered);
  EXPECT_THAT(ErrorLines(status),
              ElementsAre("sample_steps: must not be 0", "text_prompt: must not be empty"));
  EXPECT_EQ(nlohmann::json::parse(ErrorJson(status), nullptr, false)["error"]["fields"].size(), 2u);
}

TEST(Errors, SayWhichJobOfSeveralIsWrong) {
  const absl::Status wrong =
      OfBatch(FromGrpc(FieldErrors({{"requests[0].spec.sample_steps", "must not be 0"},
                                    {"requests[1].spec.sample_steps", "must not be 0"},
                                    {"requests[1].spec.text_prompt", "must not be empty"}}),
                       kAnswered),
              1000, 1200);
  EXPECT_THAT(ErrorLines(wrong), ElementsAre("sample_steps: must not be 0",
                                             "text_prompt: must not be empty (job 1002 of 1200)"));
  const absl::Status refused = absl::FailedPreconditionError("requests[17]: needs 4 GPUs");
  EXPECT_EQ(OfBatch(refused, 1000, 1200).message(), "job 1018 of 1200: needs 4 GPUs");
  const absl::Status lost = absl::UnavailableError("no coordinator");
  EXPECT_EQ(OfBatch(lost, 0, 3), lost);
  // The only job needs no number.
  const absl::Status alone = OfBatch(
      FromGrpc(FieldErrors({{"requests[0].spec.text_prompt", "must not be empty"}}), kAnswered), 0, 1);
  EXPECT_THAT(ErrorLines(alone), ElementsAre("text_prompt: must not be empty"));
}

TEST(Errors, KnowTheWordsOfTheFields) {
  const struct {
    const char* path;
    const char* word;
  } rows[] = {{"spec.text_prompt", "text_prompt"},
              {"text_prompt", "text_prompt"},
              {"spec.duration_seconds", "duration"},
              {"spec.size.height", "resolution"},
              {"spec.size", "resolution"},
              {"spec.first_frame_sha256", "image_path"},
              {"spec.gpu_count", "gpu_allocation"},
              {"spec.torch_cuda.sm_count", "torch_cuda_sm_count"},
              {"spec.priority", "--priority"},
              {"spec.user", "--user"},
              {"request_id", "--request-id"},
              {"spec.name", "--name"},
              {"name", "NODE"},
              {"requests[17].spec.solver", "solver_name"},
              {"requests[0].request_id", "--request-id"},
              {"requests", "requests"},
              {"spec.something_new", "something_new"}};
  for (const auto& row : rows) EXPECT_EQ(FieldWord(row.path), row.word);
}

TEST(Errors, SayWhatACallWasAboutUnlessTheConnectionBroke) {
  EXPECT_EQ(About("cat.png", absl::DataLossError("damaged")).message(), "cat.png: damaged");
  EXPECT_EQ(About("cat.png", absl::UnavailableError("no answer")).message(), "no answer");
  EXPECT_EQ(About("cat.png", absl::CancelledError("interrupted")).message(), "interrupted");
  EXPECT_TRUE(About("cat.png", absl::OkStatus()).ok());
}

TEST(Errors, BeforeAnythingHasBegunAreWrongUsage) {
  EXPECT_TRUE(CannotBegin(absl::OkStatus()).ok());
  const absl::Status status = CannotBegin(absl::NotFoundError("job.yaml: cannot open"));
  EXPECT_EQ(ExitCodeOf(status), kExitUsage);
  EXPECT_EQ(status.message(), "job.yaml: cannot open");
}

TEST(Errors, SpeakJson) {
  const absl::Status status = FromGrpc(FieldErrors({{"spec.solver", "is unknown"}}), kAnswered);
  const nlohmann::json json = nlohmann::json::parse(ErrorJson(status), nullptr, false)["error"];
  EXPECT_EQ(json["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(json["reason"], "INVALID_FIELDS");
  EXPECT_EQ(json["exit_code"], 2);
  EXPECT_EQ(json["fields"][0]["field"], "solver_name");
}

}  // namespace
}  // namespace ovi::client
