// What the coordinator refuses, with which code and which field; nothing half-accepted stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/secret.h"
#include "base/small_file.h"
#include "ovi/v1/groups.grpc.pb.h"
#include "ovi/v1/rpc_status.pb.h"
#include "tests/cluster/fake_agent.h"
#include "tests/cluster/test_cluster.h"

namespace ovi {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::Not;

struct Row {
  const char* name;
  std::function<void(v1::JobSpec&)> spoil;
  const char* field;  // "" = any
  StatusCode code = StatusCode::INVALID_ARGUMENT;
};

const std::vector<Row>& Rows() {
  static const std::vector<Row> rows = {
      {"model_name leads out of the folder", [](v1::JobSpec& s) { s.set_model_name("../x"); },
       "spec.model_name"},
      {"long model_name", [](v1::JobSpec& s) { s.set_model_name(std::string(200, 'm')); }, "spec.model_name"},
      {"unknown mode", [](v1::JobSpec& s) { s.set_mode(static_cast<v1::Mode>(9)); }, "spec.mode"},
      {"no prompt", [](v1::JobSpec& s) { s.clear_text_prompt(); }, "spec.text_prompt"},
      {"blank prompt", [](v1::JobSpec& s) { s.set_text_prompt(" \n"); }, "spec.text_prompt"},
      {"prompt with NUL", [](v1::JobSpec& s) { s.set_text_prompt(std::string("a\0b", 3)); },
       "spec.text_prompt"},
      {"5 MB prompt", [](v1::JobSpec& s) { s.set_text_prompt(std::string(5'000'000, 'a')); },
       "spec.text_prompt"},
      {"first frame that is no hash", [](v1::JobSpec& s) { s.set_first_frame_sha256("abc"); },
       "spec.first_frame_sha256"},
      {"first frame nobody uploaded", [](v1::JobSpec& s) { s.set_first_frame_sha256(std::string(64, 'a')); },
       "spec.first_frame_sha256"},
      {"i2v without a first frame", [](v1::JobSpec& s) { s.set_mode(v1::MODE_I2V); },
       "spec.first_frame_sha256"},
      {"t2v with a first frame",
       [](v1::JobSpec& s) {
         s.set_mode(v1::MODE_T2V);
         s.set_first_frame_sha256(std::string(64, 'a'));
       },
       "spec.first_frame_sha256"},
      {"long negative prompt", [](v1::JobSpec& s) { s.set_video_negative_prompt(std::string(70'000, 'a')); },
       "spec.video_negative_prompt"},
      {"long audio negative prompt",
       [](v1::JobSpec& s) { s.set_audio_negative_prompt(std::string(70'000, 'a')); },
       "spec.audio_negative_prompt"},
      {"no steps", [](v1::JobSpec& s) { s.set_sample_steps(0); }, "spec.sample_steps"},
      {"negative steps", [](v1::JobSpec& s) { s.set_sample_steps(-1); }, "spec.sample_steps"},
      {"too many steps", [](v1::JobSpec& s) { s.set_sample_steps(1001); }, "spec.sample_steps"},
      {"unknown solver", [](v1::JobSpec& s) { s.set_solver(static_cast<v1::Solver>(9)); }, "spec.solver"},
      {"shift 0", [](v1::JobSpec& s) { s.set_shift(0); }, "spec.shift"},
      {"shift above 100", [](v1::JobSpec& s) { s.set_shift(100.5); }, "spec.shift"},
      {"guidance NaN",
       [](v1::JobSpec& s) { s.set_video_guidance_scale(std::numeric_limits<double>::quiet_NaN()); },
       "spec.video_guidance_scale"},
      {"guidance infinite",
       [](v1::JobSpec& s) { s.set_audio_guidance_scale(std::numeric_limits<double>::infinity()); },
       "spec.audio_guidance_scale"},
      {"slg_layer", [](v1::JobSpec& s) { s.set_slg_layer(-2); }, "spec.slg_layer"},
      {"height", [](v1::JobSpec& s) { s.mutable_size()->set_width(96); }, "spec.size.height"},
      {"width",
       [](v1::JobSpec& s) {
         s.mutable_size()->set_height(96);
         s.mutable_size()->set_width(9000);
       },
       "spec.size.width"},
      {"duration", [](v1::JobSpec& s) { s.set_duration_seconds(0); }, "spec.duration_seconds"},
      {"unknown vram_mode", [](v1::JobSpec& s) { s.set_vram_mode(static_cast<v1::VramMode>(77)); },
       "spec.vram_mode"},
      {"negative max_vram", [](v1::JobSpec& s) { s.set_max_vram_bytes(-1); }, "spec.max_vram_bytes"},
      {"max_vram of less than any job", [](v1::JobSpec& s) { s.set_max_vram_bytes(8); },
       "spec.max_vram_bytes"},
      {"max_vram of more than any GPU", [](v1::JobSpec& s) { s.set_max_vram_bytes((1LL << 50) + 1); },
       "spec.max_vram_bytes"},
      {"unknown allocation", [](v1::JobSpec& s) { s.set_gpu_allocation(static_cast<v1::GpuAllocation>(77)); },
       "spec.gpu_allocation"},
      {"multi of too many",
       [](v1::JobSpec& s) {
         s.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
         s.set_gpu_count(65);
       },
       "spec.gpu_count"},
      {"fsdp of one",
       [](v1::JobSpec& s) {
         s.set_gpu_allocation(v1::GPU_ALLOCATION_FSDP);
         s.set_gpu_count(1);
       },
       "spec.gpu_count"},
      {"multi of one", [](v1::JobSpec& s) { s.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI); },
       "spec.gpu_count"},
      {"single of four", [](v1::JobSpec& s) { s.set_gpu_count(4); }, "spec.gpu_count"},
      {"adapters without enable_lora", [](v1::JobSpec& s) { s.add_loras()->set_path("a"); },
       "spec.enable_lora"},
      {"nine adapters",
       [](v1::JobSpec& s) {
         s.set_enable_lora(true);
         for (int i = 0; i < 9; ++i) s.add_loras()->set_path("a");
       },
       "spec.loras"},
      {"adapter without path",
       [](v1::JobSpec& s) {
         s.set_enable_lora(true);
         s.add_loras();
       },
       "spec.loras[0].path"},
      {"adapter strength",
       [](v1::JobSpec& s) {
         s.set_enable_lora(true);
         s.add_loras()->set_path("a");
         s.mutable_loras(0)->set_strength(11);
       },
       "spec.loras[0].strength"},
      {"unknown precision", [](v1::JobSpec& s) { s.set_precision(static_cast<v1::Precision>(7)); },
       "spec.precision"},
      {"unknown noise", [](v1::JobSpec& s) { s.set_noise_layout(static_cast<v1::NoiseLayout>(7)); },
       "spec.noise_layout"},
      {"torch noise without its GPU", [](v1::JobSpec& s) { s.set_noise_layout(v1::NOISE_LAYOUT_TORCH_CUDA); },
       "spec.torch_cuda.sm_count"},
      {"torch noise of a GPU without threads",
       [](v1::JobSpec& s) {
         s.set_noise_layout(v1::NOISE_LAYOUT_TORCH_CUDA);
         s.mutable_torch_cuda()->set_sm_count(82);
       },
       "spec.torch_cuda.max_threads_per_sm"},
      {"a GPU without torch noise", [](v1::JobSpec& s) { s.mutable_torch_cuda()->set_sm_count(1); },
       "spec.torch_cuda"},
      {"priority", [](v1::JobSpec& s) { s.set_priority(1001); }, "spec.priority"},
      {"name with a line end", [](v1::JobSpec& s) { s.set_name("a\nb"); }, "spec.name"},
      {"long name", [](v1::JobSpec& s) { s.set_name(std::string(129, 'n')); }, "spec.name"},
      {"user", [](v1::JobSpec& s) { s.set_user("a b"); }, "spec.user"},
      {"long user", [](v1::JobSpec& s) { s.set_user(std::string(65, 'u')); }, "spec.user"},
      {"a model nobody has", [](v1::JobSpec& s) { s.set_model_name("mini-ovo"); }, "",
       StatusCode::FAILED_PRECONDITION},
      {"more GPUs than any node has",
       [](v1::JobSpec& s) {
         s.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
         s.set_gpu_count(8);
       },
       "", StatusCode::FAILED_PRECONDITION},
  };
  return rows;
}

class Refusals : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartCoordinator();
    cluster_.StartAgent("box-1");
    cluster_.AwaitNodes(1);
  }

  grpc::Status Submit(const v1::JobSpec& spec, const std::string& request_id = "") {
    grpc::ClientContext context;
    v1::SubmitJobRequest request;
    *request.mutable_spec() = spec;
    request.set_request_id(request_id);
    v1::SubmitJobResponse response;
    return cluster_.jobs().SubmitJob(&context, request, &response);
  }

  int JobCount() {
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    EXPECT_TRUE(cluster_.jobs().ListJobs(&context, {}, &response).ok());
    return response.jobs_size();
  }

  TestCluster cluster_;
};

v1::ErrorDetail DetailOf(const grpc::Status& status) {
  v1::RpcStatus details;
  v1::ErrorDetail detail;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
  EXPECT_TRUE(details.details_size() == 0 || details.details(0).UnpackTo(&detail));
  return detail;
}

TEST_F(Refusals, EveryFieldOfAJobInTurn) {
  for (const Row& row : Rows()) {
    SCOPED_TRACE(row.name);
    v1::JobSpec spec = MiniJob();
    row.spoil(spec);
    const grpc::Status status = Submit(spec);
    EXPECT_EQ(status.error_code(), row.code) << status.error_message();
    EXPECT_EQ(status.error_message().find('\n'), std::string::npos);
    EXPECT_LT(status.error_message().size(), 600U);
    const v1::ErrorDetail detail = DetailOf(status);
    EXPECT_FALSE(detail.reason().empty());
    if (std::string(row.field).empty()) continue;
    ASSERT_GE(detail.field_violations_size(), 1);
    EXPECT_EQ(detail.field_violations(0).field(), row.field) << status.error_message();
  }
  EXPECT_EQ(JobCount(), 0);
}

TEST_F(Refusals, WhatNoNodeCouldHoldIsToldTheLargestThatWould) {
  v1::JobSpec spec = MiniJob();
  spec.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
  spec.set_gpu_count(8);
  const grpc::Status status = Submit(spec);
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("the most there are: 4 on box-1"));
  EXPECT_EQ(JobCount(), 0);
}

TEST(SmallGpus, AreToldToTheUserWhoseJobFitsNone) {
  TestCluster cluster({.coordinator_sets = {}, .gpu_bytes = "8 MiB"});
  cluster.StartCoordinator();
  cluster.StartAgent("box-1");
  cluster.AwaitNodes(1);
  grpc::ClientContext context;
  v1::SubmitJobRequest request;
  *request.mutable_spec() = MiniJob();
  v1::SubmitJobResponse response;
  const grpc::Status status = cluster.jobs().SubmitJob(&context, request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("the largest there is: 8.0 MiB on box-1"));
}

TEST_F(Refusals, ARequestIdIsOneJob) {
  const std::string first = cluster_.Submit(MiniJob(), "mine");
  EXPECT_EQ(cluster_.Submit(MiniJob(), "mine"), first);
  EXPECT_EQ(Submit(MiniJob(5), "mine").error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Submit(MiniJob(), "with\nline end").error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(JobCount(), 1);
  cluster_.AwaitEnd(first);
}

class Batches : public Refusals {
 protected:
  grpc::Status SubmitBatch(const v1::SubmitJobsRequest& batch) {
    grpc::ClientContext context;
    answer_.Clear();
    return cluster_.jobs().SubmitJobs(&context, batch, &answer_);
  }

  // With request ids "<prefix>0", "<prefix>1", ...
  static v1::SubmitJobsRequest BatchOf(int count, const std::string& prefix) {
    v1::SubmitJobsRequest batch;
    for (int i = 0; i < count; ++i) {
      v1::SubmitJobRequest& request = *batch.add_requests();
      *request.mutable_spec() = MiniJob();
      request.set_request_id(prefix + std::to_string(i));
    }
    return batch;
  }

  std::vector<std::string> AnsweredIds() const {
    std::vector<std::string> ids;
    for (const v1::SubmitJobResponse& one : answer_.responses()) ids.push_back(one.job_id());
    return ids;
  }

  v1::SubmitJobsResponse answer_;
};

TEST_F(Batches, AreTakenWholeAndOnce) {
  v1::SubmitJobsRequest batch = BatchOf(3, "a");
  *batch.add_requests() = batch.requests(1);
  ASSERT_TRUE(SubmitBatch(batch).ok());
  EXPECT_THAT(AnsweredIds(), testing::ElementsAre("1", "2", "3", "2"));
  ASSERT_TRUE(SubmitBatch(batch).ok());
  EXPECT_THAT(AnsweredIds(), testing::ElementsAre("1", "2", "3", "2"));
  EXPECT_EQ(cluster_.Submit(MiniJob(), "a2"), "3") << "a job of a batch is a job like any other";
  for (const char* id : {"1", "2", "3"}) EXPECT_EQ(cluster_.AwaitEnd(id).state(), v1::JOB_STATE_COMPLETED);
  EXPECT_EQ(JobCount(), 3);
}

TEST_F(Batches, AreRefusedWholeForOneJob) {
  v1::SubmitJobsRequest batch = BatchOf(20, "a");
  batch.mutable_requests(17)->mutable_spec()->set_sample_steps(0);
  const grpc::Status bad_field = SubmitBatch(batch);
  EXPECT_EQ(bad_field.error_code(), StatusCode::INVALID_ARGUMENT);
  const v1::ErrorDetail detail = DetailOf(bad_field);
  ASSERT_EQ(detail.field_violations_size(), 1);
  EXPECT_EQ(detail.field_violations(0).field(), "requests[17].spec.sample_steps");

  batch = BatchOf(3, "a");
  batch.mutable_requests(1)->mutable_spec()->set_model_name("mini-ovo");
  const grpc::Status no_model = SubmitBatch(batch);
  EXPECT_EQ(no_model.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(no_model.error_message(), testing::StartsWith("requests[1]: "));

  batch = BatchOf(3, "a");
  batch.mutable_requests(2)->set_request_id("a0");
  batch.mutable_requests(2)->mutable_spec()->set_seed(5);
  const grpc::Status contradicts = SubmitBatch(batch);
  EXPECT_EQ(contradicts.error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(contradicts.error_message(),
            "requests[2]: request_id: \"a0\" was used for requests[0], which differs");
  EXPECT_EQ(DetailOf(contradicts).reason(), "REQUEST_ID_REUSED");
  EXPECT_EQ(SubmitBatch({}).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(JobCount(), 0);
}

// gRPC's own limits must not swallow what we have to say.
TEST_F(Batches, AreRefusedInWordsHoweverLargeTheyAre) {
  v1::SubmitJobsRequest batch = BatchOf(1000, "a");
  for (v1::SubmitJobRequest& request : *batch.mutable_requests()) request.mutable_spec()->set_sample_steps(0);
  const grpc::Status all_wrong = SubmitBatch(batch);
  EXPECT_EQ(all_wrong.error_code(), StatusCode::INVALID_ARGUMENT) << all_wrong.error_message();
  EXPECT_THAT(all_wrong.error_message(), HasSubstr("(and 999 more)"));

  const auto with_prompts = [](int count) {
    v1::SubmitJobsRequest large = BatchOf(count, "b");
    for (v1::SubmitJobRequest& request : *large.mutable_requests())
      request.mutable_spec()->set_text_prompt(std::string(65'000, 'x'));
    return large;
  };
  const grpc::Status above_ours = SubmitBatch(with_prompts(150));
  EXPECT_EQ(above_ours.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(above_ours.error_message(), HasSubstr("requests must be at most 8388608 bytes in one batch"));
  const grpc::Status above_grpcs = SubmitBatch(with_prompts(300));
  EXPECT_EQ(above_grpcs.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(above_grpcs.error_message(), HasSubstr("larger than max"));
  EXPECT_EQ(JobCount(), 0);
}

TEST(FullQueue, RefusesWhatItHasNoRoomFor) {
  TestCluster cluster({.coordinator_sets = {"pending_jobs_max=2"}});
  cluster.StartCoordinator();
  cluster.Submit(MiniJob());
  grpc::ClientContext context;
  v1::SubmitJobsRequest batch;
  for (int i = 0; i < 2; ++i) *batch.add_requests()->mutable_spec() = MiniJob();
  v1::SubmitJobsResponse response;
  const grpc::Status status = cluster.jobs().SubmitJobs(&context, batch, &response);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "the queue has no room for 2 more: 1 of at most 2 jobs wait");
  EXPECT_EQ(DetailOf(status).reason(), "NO_ROOM");
}

TEST_F(Refusals, UnknownJobs) {
  for (const auto& [id, code] : {std::pair{"999", StatusCode::NOT_FOUND},
                                 {"", StatusCode::INVALID_ARGUMENT},
                                 {"-1", StatusCode::INVALID_ARGUMENT},
                                 {"../1", StatusCode::INVALID_ARGUMENT}}) {
    SCOPED_TRACE(id);
    v1::GetJobRequest get;
    get.set_job_id(id);
    v1::GetJobResponse got;
    grpc::ClientContext get_context;
    EXPECT_EQ(cluster_.jobs().GetJob(&get_context, get, &got).error_code(), code);
    v1::CancelJobRequest cancel;
    cancel.set_job_id(id);
    v1::CancelJobResponse cancelled;
    grpc::ClientContext cancel_context;
    EXPECT_EQ(cluster_.jobs().CancelJob(&cancel_context, cancel, &cancelled).error_code(), code);
    v1::WatchJobRequest watch;
    watch.set_job_id(id);
    grpc::ClientContext watch_context;
    EXPECT_EQ(cluster_.jobs().WatchJob(&watch_context, watch)->Finish().error_code(), code);
    v1::DownloadArtifactRequest download;
    download.set_job_id(id);
    download.set_file_name("../../journal.db");
    grpc::ClientContext download_context;
    EXPECT_EQ(cluster_.jobs().DownloadArtifact(&download_context, download)->Finish().error_code(), code);
  }
}

TEST_F(Refusals, FirstFramesThatAreNone) {
  const auto upload = [this](const std::string& bytes) {
    grpc::ClientContext context;
    v1::UploadInputResponse response;
    const auto stream = cluster_.jobs().UploadInput(&context, &response);
    for (std::size_t begin = 0; begin < bytes.size(); begin += 1 << 20) {
      v1::UploadInputRequest request;
      request.set_data(bytes.substr(begin, 1 << 20));
      if (!stream->Write(request)) break;
    }
    stream->WritesDone();
    return stream->Finish().error_code();
  };
  EXPECT_EQ(upload(""), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(upload("this is a text"), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(upload(std::string(21 << 20, 'x')), StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(cluster_.AwaitNoFile(".part", 10)) << "half an upload stays";
}

TEST_F(Refusals, AgentsThatMayNotJoin) {
  const absl::StatusOr<std::string> token = ReadSecretFile(cluster_.folder() / "coordinator/node_token");
  ASSERT_TRUE(token.ok()) << token.status();
  const auto answer = [&](const std::string& shown, const v1::NodeHello& hello) {
    return FakeAgent(cluster_.address(), shown).Hello(hello).error_code();
  };
  EXPECT_EQ(answer("", HelloOf("x")), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(answer("wrong", HelloOf("x")), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(answer(*token, HelloOf("box-1")), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(answer(*token, HelloOf("a/b")), StatusCode::INVALID_ARGUMENT);
  v1::NodeHello newer = HelloOf("x");
  newer.set_protocol_version(2);
  EXPECT_EQ(answer(*token, newer), StatusCode::FAILED_PRECONDITION);
  v1::NodeHello gpus = HelloOf("x");
  gpus.add_gpus()->set_index(3);
  EXPECT_EQ(answer(*token, gpus), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(answer(*token, HelloOf("x")), StatusCode::OK);

  grpc::ClientContext context;
  v1::ListNodesResponse nodes;
  ASSERT_TRUE(cluster_.cluster().ListNodes(&context, {}, &nodes).ok());
  EXPECT_EQ(nodes.nodes_size(), 2) << "box-1 and x, nobody else";
}

// The second is refused for as long as the first is there, which notices nothing of it.
TEST_F(Refusals, TwoAgentsOfOneName) {
  const std::string log = cluster_.folder() / "second.log";
  cluster_.StartAgent("second", {"name=box-1", "log.file=" + log});
  EXPECT_TRUE(Await(20, [&log] {
    const absl::StatusOr<std::string> text = ReadSmallFile(log, 1 << 20);
    return text.ok() && text->find("another agent of the name box-1 is connected") != std::string::npos;
  }));
  const v1::Job job = cluster_.AwaitEnd(cluster_.Submit(MiniJob()));
  EXPECT_EQ(job.state(), v1::JOB_STATE_COMPLETED);
  cluster_.StopAgent("second");
  cluster_.AwaitNodes(1);
}

TEST_F(Refusals, AnAgentWithAWrongTokenEndsAndSaysWhy) {
  const std::string token = cluster_.folder() / "guessed_token";
  ASSERT_TRUE(WriteSecretFile(token, "a-bold-guess").ok());
  const std::string log = cluster_.folder() / "stranger.log";
  cluster_.StartAgent("stranger", {"node_token_file=" + token, "log.file=" + log});
  EXPECT_EQ(cluster_.AwaitAgentEnd("stranger").code, 2);
  const absl::StatusOr<std::string> text = ReadSmallFile(log, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("this is not the coordinator's node token"));
  EXPECT_THAT(*text, Not(HasSubstr("a-bold-guess")));
}

TEST_F(Refusals, GroupsThatMayNotAttach) {
  const absl::StatusOr<std::string> secret = ReadSecretFile(cluster_.folder() / "coordinator/group_secret");
  ASSERT_TRUE(secret.ok()) << secret.status();
  const auto stub =
      v1::Groups::NewStub(grpc::CreateChannel(cluster_.address(), grpc::InsecureChannelCredentials()));
  const auto answer = [&](const std::string& token, int protocol_version) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    const auto stream = stub->Attach(&context);
    v1::GroupMessage message;
    v1::GroupHello& hello = *message.mutable_hello();
    hello.set_protocol_version(protocol_version);
    hello.set_group_id("g9-1");
    hello.set_node("box-1");
    hello.add_gpu_indices(0);
    hello.set_world_size(1);
    stream->Write(message);
    v1::GroupCommand command;
    EXPECT_FALSE(stream->Read(&command));
    return stream->Finish().error_code();
  };
  const std::string token = HmacSha256Hex(*secret, "g9-1");
  EXPECT_EQ(answer("guess", 1), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(answer(HmacSha256Hex(*secret, "g9-2"), 1), StatusCode::UNAUTHENTICATED) << "of another group";
  EXPECT_EQ(answer(token, 2), StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace ovi
