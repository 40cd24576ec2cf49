// ovictl submit, against a coordinator in this process: what arrives there, and what the user sees.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <future>
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "base/small_file.h"
#include "tests/client/fake_cluster.h"
#include "tests/client/ovictl_process.h"
#include "worker/media/image.h"

namespace ovi::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

constexpr const char* kUnavailable =
    "does not answer; is ovi-coordinator running? (--coordinator, OVI_COORDINATOR)\n";

struct SubmitTest : testing::Test {
  FakeCluster cluster;
  OvictlHome home{cluster.address()};

  std::string Write(const std::string& name, const std::string& text) {
    return home.folder().Write(name, text);
  }

  // A PNG of one colour.
  std::string WriteImage(const std::string& name, std::uint8_t value) {
    Image image{.height = 32, .width = 32};
    image.rgb.assign(std::size_t{32} * 32 * 3, value);
    const std::string path = home.folder() / name;
    EXPECT_TRUE(WritePng(path, image).ok());
    return path;
  }
};

TEST_F(SubmitTest, TakesAJobFile) {
  const std::string yaml =
      Write("job.yaml", "model_name: mini-ovi\ntext_prompt: a cat\nseed: 7\neach_example_n_times: 2\n");
  const OvictlRun run = home.Run({"submit", "--config", yaml, "--set", "sample_steps=4", "--user", "ann",
                                  "--name", "my cat", "--priority", "-5"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out, "1\n2\n");
  EXPECT_THAT(run.err, IsEmpty());
  const std::vector<v1::SubmitJobRequest> submits = cluster.submits();
  ASSERT_THAT(submits, SizeIs(2));
  for (std::size_t i = 0; i < 2; ++i) {
    const v1::JobSpec& spec = submits[i].spec();
    EXPECT_EQ(spec.model_name(), "mini-ovi");
    EXPECT_EQ(spec.text_prompt(), "a cat");
    EXPECT_EQ(spec.seed(), 7 + i);
    EXPECT_EQ(spec.sample_steps(), 4);
    EXPECT_EQ(spec.user(), "ann");
    EXPECT_EQ(spec.name(), "my cat");
    EXPECT_EQ(spec.priority(), -5);
  }
  EXPECT_EQ(submits[0].request_id().size(), 32u + 2);
  EXPECT_EQ(submits[0].request_id().substr(0, 32), submits[1].request_id().substr(0, 32));
  EXPECT_THAT(submits[0].request_id(), testing::EndsWith("-0"));
  EXPECT_THAT(submits[1].request_id(), testing::EndsWith("-1"));
}

TEST_F(SubmitTest, TakesAPromptFromTheCommandLine) {
  ASSERT_EQ(home.Run({"submit", "a dog: \"woof\"", "--model", "mini-ovi"}).exit_code, 0);
  const std::string yaml = Write("job.yaml", "text_prompt: a cat\nseed: 7\n");
  ASSERT_EQ(home.Run({"submit", "a cow", "--config", yaml, "--max-vram", "8GiB"}).exit_code, 0);
  const auto submits = cluster.submits();
  ASSERT_THAT(submits, SizeIs(2));
  EXPECT_EQ(submits[0].spec().text_prompt(), "a dog: \"woof\"");
  EXPECT_EQ(submits[0].spec().model_name(), "mini-ovi");
  EXPECT_EQ(submits[1].spec().text_prompt(), "a cow");
  EXPECT_EQ(submits[1].spec().seed(), 7u);
  EXPECT_EQ(submits[1].spec().max_vram_bytes(), std::int64_t{8} << 30);
  EXPECT_NE(submits[0].request_id(), submits[1].request_id()) << "each invocation has an id of its own";
}

TEST_F(SubmitTest, TakesAListOfPrompts) {
  const std::string csv = Write("prompts.csv", "text_prompt\na cat\n\"a dog, loud\"\na cow\n");
  const OvictlRun run = home.Run({"submit", "--csv", csv, "--model", "mini-ovi", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  std::vector<std::string> ids;
  for (const std::string& line : LinesOf(run.out)) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << line;
    ids.push_back(json["job_id"]);
    EXPECT_TRUE(json["warnings"].empty());
    EXPECT_EQ(json["request_id"], cluster.submits().at(ids.size() - 1).request_id());
  }
  EXPECT_THAT(ids, ElementsAre("1", "2", "3"));
  EXPECT_EQ(cluster.job("2").spec().text_prompt(), "a dog, loud");
}

TEST_F(SubmitTest, UploadsEachFirstFrameOnce) {
  const std::string red = WriteImage("red.png", 10);
  WriteImage("blue.png", 200);
  ASSERT_TRUE(WriteImage("copy.png", 10) != red);
  Write("prompts.csv", "text_prompt,image_path\na,red.png\nb,blue.png\nc,red.png\nd,copy.png\n");
  const std::string yaml = Write("job.yaml", "text_prompt: prompts.csv\nmodel_name: mini-ovi\n");
  const OvictlRun run = home.Run({"submit", "--config", yaml});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::string red_bytes = *ReadSmallFile(red, 1 << 20);
  const std::string blue_bytes = *ReadSmallFile(home.folder() / "blue.png", 1 << 20);
  EXPECT_THAT(cluster.uploads(), testing::UnorderedElementsAre(red_bytes, blue_bytes));
  std::vector<std::string> hashes;
  for (const auto& submit : cluster.submits()) {
    EXPECT_EQ(submit.spec().mode(), v1::MODE_I2V);
    hashes.push_back(submit.spec().first_frame_sha256());
  }
  const std::string red_hash = Sha256Hex(red_bytes);
  EXPECT_THAT(hashes, ElementsAre(red_hash, Sha256Hex(blue_bytes), red_hash, red_hash));
}

TEST_F(SubmitTest, SendsLargeFramesInPieces) {
  Image image{.height = 1024, .width = 1024};
  image.rgb.resize(std::size_t{1024} * 1024 * 3);
  std::uint32_t state = 1;  // noise, so that the PNG is large
  for (std::uint8_t& value : image.rgb)
    value = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  ASSERT_TRUE(WritePng(home.folder() / "large.png", image).ok());
  const OvictlRun run = home.Run({"submit", "a cat", "--set", "image_path=" + (home.folder() / "large.png")});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  ASSERT_THAT(cluster.uploads(), SizeIs(1));
  EXPECT_GT(cluster.uploads()[0].size(), 2u << 20) << "or it tests nothing";
  EXPECT_EQ(Sha256Hex(cluster.uploads()[0]), cluster.submits().at(0).spec().first_frame_sha256());
}

TEST_F(SubmitTest, RefusesBadFilesBeforeAnythingIsSent) {
  const std::string good = WriteImage("good.png", 10);
  Write("bad.png", "no picture");
  Write("half.csv", "text_prompt,image_path\na,good.png\nb,bad.png\n");
  const std::string huge = Write("huge.png", std::string((20 << 20) + 1, 'x'));
  const std::string typo = Write("typo.yaml", "text_prompt: a cat\nsampel_steps: 3\n");
  const std::string half = Write("half.yaml", "text_prompt: half.csv\n");
  const struct {
    std::vector<std::string> args;
    std::string error;
  } rows[] = {
      {{"--config", typo}, "typo.yaml:2: unknown key \"sampel_steps\"; did you mean \"sample_steps\"?"},
      {{"--config", half}, "bad.png: "},
      {{"a cat", "--set", "image_path=" + huge}, "huge.png: "},
      {{"a cat", "--set", "image_path=/nowhere.png"}, "ovictl: /nowhere.png: "},
      {{"--config", "/nowhere.yaml"}, "ovictl: /nowhere.yaml: "},
      {{"--csv", "/nowhere.csv"}, "/nowhere.csv"},
      {{"--csv", good}, "--csv: must be the name of a .csv or .tsv file"},
      {{"a cat", "--max-vram", "8"}, "--set max_vram: must be bytes from 1 MiB to 1024 TiB, such as 24GiB"},
      {{"a cat", "--set", "each_example_n_times=2"},
       "each_example_n_times: 2 videos of a prompt need a seed"},
      {{"a cat", "--set", "seed=1", "--set", "each_example_n_times=3", "--count-limit", "2"},
       "this makes 3 jobs"},
      {{"a cat", "--set", "seed"}, "--set seed: expected key=value"},
      {{"a cat", "--user", "a/b"}, "--user: must be"},
      {{"a cat", "--priority", "1001"}, "--priority: "},
      {{"a cat", "--request-id", "two words"}, "--request-id: "},
      {{"a cat", "--out", "/tmp"}, "--out: results are fetched with --watch only"},
      {{"a cat", "--watch", "--out", good + "/below"}, "good.png/below: cannot make this folder"},
      {{}, "nothing to draw"},
  };
  for (const auto& row : rows) {
    std::vector<std::string> args = {"submit"};
    args.insert(args.end(), row.args.begin(), row.args.end());
    const OvictlRun run = home.Run(args);
    EXPECT_EQ(run.exit_code, 2) << row.error;
    EXPECT_THAT(run.out, IsEmpty()) << row.error;
    EXPECT_THAT(run.err, AllOf(StartsWith("ovictl: "), HasSubstr(row.error)));
    EXPECT_THAT(LinesOf(run.err), SizeIs(1)) << run.err;
  }
  EXPECT_EQ(cluster.calls("SubmitJobs") + cluster.calls("UploadInput"), 0);
}

TEST_F(SubmitTest, ShowsEveryFieldThatTheCoordinatorRefuses) {
  cluster.FailNext(
      "SubmitJobs",
      {FieldErrors({{"spec.duration_seconds", "must be 1, got 5"}, {"spec.loras[0].path", "is unknown"}})});
  const OvictlRun run = home.Run({"submit", "a cat", "--json"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.err, "ovictl: duration: must be 1, got 5\novictl: loras[0].path: is unknown\n");
  const nlohmann::json json = nlohmann::json::parse(run.out, nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << run.out;
  EXPECT_EQ(json["error"]["fields"][0]["field"], "duration");
}

TEST_F(SubmitTest, PassesWarningsOn) {
  const std::string yaml =
      Write("job.yaml", "text_prompt: a cat\nvram_mode: fp8\nckpt_dir: /w\noutput_dir: /o\n");
  const OvictlRun run = home.Run({"submit", "--config", yaml});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.out, "1\n");
  EXPECT_EQ(run.err,
            "ovictl: warning: ckpt_dir is ignored: each node has its own models folder\n"
            "ovictl: warning: output_dir: results are fetched with --watch only (or later: ovictl fetch)\n"
            "ovictl: warning: job 1: fp8 is not there yet\n");
}

TEST_F(SubmitTest, SubmitsOnceWhenTheAnswerIsLost) {
  // The job is taken, but the connection breaks before the answer: twice.
  const grpc::Status lost(grpc::StatusCode::UNAVAILABLE, "going down");
  cluster.FailNext("SubmitJobs", {lost, lost});
  cluster.FailNext("UploadInput", {lost});
  const std::string red = WriteImage("red.png", 10);
  const OvictlRun run = home.Run({"submit", "a cat", "--set", "image_path=" + red});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out, "1\n");
  EXPECT_EQ(cluster.job_count(), 1u);
  const auto submits = cluster.submits();
  ASSERT_THAT(submits, SizeIs(3));
  EXPECT_EQ(submits[0].request_id(), submits[2].request_id());
  EXPECT_THAT(cluster.uploads(), SizeIs(2));
}

TEST_F(SubmitTest, SubmitsAListInOneCall) {
  const std::string csv = Write("prompts.csv", "text_prompt\na\nb\nc\n");
  cluster.FailNext("SubmitJobs", {{grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"}});
  const OvictlRun refused = home.Run({"submit", "--csv", csv});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.err, "ovictl: the queue is full\n")
      << "none was taken, so there is nothing to go on with";
  EXPECT_EQ(cluster.calls("SubmitJobs"), 1);
  EXPECT_THAT(cluster.submits(), SizeIs(3));
}

TEST_F(SubmitTest, CanBeRepeatedWithItsRequestId) {
  const std::string csv = Write("prompts.csv", "text_prompt\na\nb\nc\n");
  const std::vector<std::string> many = {"submit",
                                         "--csv",
                                         csv,
                                         "--set",
                                         "seed=1",
                                         "--set",
                                         "each_example_n_times=500",
                                         "--count-limit",
                                         "2000",
                                         "--request-id",
                                         "night-1"};
  cluster.FailNext("SubmitJobs",
                   {grpc::Status::OK, {grpc::StatusCode::RESOURCE_EXHAUSTED, "the disk is full"}});
  const OvictlRun broken = home.Run(many);
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_THAT(LinesOf(broken.out), SizeIs(1000));
  EXPECT_EQ(broken.err,
            "ovictl: 1000 of 1500 jobs were acknowledged; the same command with --request-id night-1 submits "
            "the rest\n"
            "ovictl: the disk is full\n");
  const OvictlRun repeated = home.Run(many);
  EXPECT_EQ(repeated.exit_code, 0);
  EXPECT_THAT(LinesOf(repeated.out), SizeIs(1500));
  EXPECT_EQ(cluster.job_count(), 1500u);
}

TEST_F(SubmitTest, SaysHowToGoOnWhenNobodyAnsweredAList) {
  cluster.Stop();
  const std::string csv = Write("prompts.csv", "text_prompt\na\nb\n");
  const OvictlRun run = home.Run({"submit", "--csv", csv, "--request-id", "night-1", "--timeout", "0.5"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.err, HasSubstr("ovictl: 0 of 2 jobs were acknowledged; the same command with --request-id "
                                 "night-1 submits the rest\n"));
}

TEST_F(SubmitTest, TriesNoLongerThanTheTimeout) {
  cluster.Stop();
  const OvictlRun run = home.Run({"submit", "a cat", "--timeout", "0.5"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.out, IsEmpty());
  EXPECT_EQ(run.err, "ovictl: coordinator " + cluster.address() +
                         " is not ready; trying again for up to 0.5 s\n" + "ovictl: coordinator " +
                         cluster.address() + " " + kUnavailable);
}

TEST_F(SubmitTest, WatchesAndFetches) {
  // Each job is done once it is watched.
  cluster.OnCall("WatchJob", [this] {
    for (std::size_t i = 1; i <= cluster.job_count(); ++i) {
      const std::string id = std::to_string(i);
      if (cluster.job(id).state() == v1::JOB_STATE_COMPLETED) continue;
      cluster.AddArtifact(id, v1::ARTIFACT_KIND_VIDEO, "clip.mp4", "bytes of " + id);
      cluster.Update(id, [](v1::Job& job) { job.set_state(v1::JOB_STATE_COMPLETED); });
    }
  });
  const std::string csv = Write("prompts.csv", "text_prompt\na\nb\n");
  const std::string out = home.folder() / "results";
  const OvictlRun run = home.Run({"submit", "--csv", csv, "--watch", "--out", out});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(LinesOf(run.out),
              testing::IsSupersetOf({std::string("1"), std::string("2"), std::string("1 PENDING"),
                                     out + "/1_clip.mp4", out + "/2_clip.mp4"}));
  EXPECT_EQ(*ReadSmallFile(out + "/2_clip.mp4", 100), "bytes of 2");
}

TEST_F(SubmitTest, PutsResultsWhereTheJobSays) {
  cluster.OnCall("WatchJob", [this] {
    cluster.AddArtifact("1", v1::ARTIFACT_KIND_VIDEO, "clip.mp4", "bytes");
    cluster.Update("1", [](v1::Job& job) { job.set_state(v1::JOB_STATE_COMPLETED); });
  });
  const std::string out = home.folder() / "from-yaml";
  const std::string yaml = Write("job.yaml", "text_prompt: a cat\noutput_dir: " + out + "\n");
  home.Set("OVI_OUT", home.folder() / "from-env");
  ASSERT_EQ(home.Run({"submit", "--config", yaml, "--watch"}).exit_code, 0);
  EXPECT_THAT(home.folder().Files("clip.mp4"), ElementsAre("from-yaml/1_clip.mp4"));
}

TEST_F(SubmitTest, SaysWhatWasNotFetchedWhenInterrupted) {
  std::promise<void> downloading, interrupted;
  cluster.OnCall("DownloadArtifact", [&, end = interrupted.get_future().share()] {
    downloading.set_value();
    end.wait();
  });
  cluster.OnCall("WatchJob", [this] {
    cluster.AddArtifact("1", v1::ARTIFACT_KIND_VIDEO, "clip.mp4", "bytes");
    cluster.Update("1", [](v1::Job& job) { job.set_state(v1::JOB_STATE_COMPLETED); });
  });
  const std::string out = home.folder() / "out";
  const auto submit = home.Start({"submit", "a cat", "--watch", "--out", out});
  downloading.get_future().wait();
  submit->Kill(SIGINT);
  EXPECT_EQ(submit->Wait().code, 130);
  EXPECT_EQ(submit->stderr_tail(),
            "ovictl: interrupted; not all results of job 1 were fetched (ovictl fetch 1)\n");
  EXPECT_THAT(home.folder().Files(), IsEmpty());
  interrupted.set_value();
  cluster.Stop();  // waits for the call
}

TEST_F(SubmitTest, ShowsTheTokenOfTheFile) {
  cluster.RequireToken("s3cret");
  const std::string token = Write("token", "s3cret\n");
  std::filesystem::permissions(token, std::filesystem::perms::owner_read);
  const OvictlRun without = home.Run({"submit", "a cat"});
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_EQ(without.err,
            "ovictl: coordinator " + cluster.address() + ": no valid token (--token-file, OVI_TOKEN_FILE)\n");
  home.Set("OVI_TOKEN_FILE", token);
  EXPECT_EQ(home.Run({"submit", "a cat"}).exit_code, 0);

  std::filesystem::permissions(token, std::filesystem::perms::group_read, std::filesystem::perm_options::add);
  const OvictlRun open = home.Run({"submit", "a cat"});
  EXPECT_EQ(open.exit_code, 2);
  EXPECT_THAT(open.err, StartsWith("ovictl: token file: " + token));
  EXPECT_THAT(open.err, testing::Not(HasSubstr("s3cret")));
}

}  // namespace
}  // namespace ovi::client
