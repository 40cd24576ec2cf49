// Eight sentences of mini-ovi's grammar, made in one process, and what their MP4 files show and sound like.
//
// The model card measured 20 of 20 prompts followed in colour, background, motion and sound; shapes are not
// checked (9 of 20).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/e2e/clip_checks.h"
#include "tests/e2e/clip_reader.h"
#include "tests/e2e/worker_process.h"
#include "tests/pipeline/mini_model.h"

namespace ovi {
namespace {

std::string Numbers(const Frames& frames, const std::vector<float>& sound) {
  const Colour background = BackgroundColour(frames);
  std::string text = absl::StrCat("background ", background.red, " ", background.green, " ", background.blue);
  for (const ShapeTrace& trace : TraceShape(frames)) {
    absl::StrAppend(&text, "\n", static_cast<int>(trace.x), ",", static_cast<int>(trace.y), " area ",
                    trace.area, " colour ", static_cast<int>(trace.colour.red), " ",
                    static_cast<int>(trace.colour.green), " ", static_cast<int>(trace.colour.blue));
  }
  absl::StrAppend(&text, "\nHz:");
  for (const Tone& tone : TraceTones(sound, kReadSampleRate))
    absl::StrAppend(&text, " ", tone.audible ? tone.frequency : 0);
  return text;
}

TEST(Prompts, AreFollowedInColourBackgroundMotionAndSound) {
  const TempFolder folder;
  std::string csv = "text_prompt\n";
  for (const std::string& prompt : MiniPrompts()) csv += prompt + "\n";
  folder.Write("prompts.csv", csv);
  const std::string job = folder.Write("job.yaml", "model_name: mini-ovi\ntext_prompt: prompts.csv\n");
  const WorkerRun run = RunWorker({"generate", "--config", job, "--out", folder / "out", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;

  std::size_t clips = 0;
  for (const std::string& line : Lines(run.out)) {
    const nlohmann::json event = nlohmann::json::parse(line);
    if (event["event"] != "result") continue;
    ASSERT_LT(clips, MiniPrompts().size());
    const std::string& prompt = MiniPrompts()[clips++];
    SCOPED_TRACE(prompt);
    const std::string video = event["video"];
    const absl::StatusOr<Frames> frames = ReadFrames(video, 96, 96);
    ASSERT_TRUE(frames.ok()) << frames.status();
    const absl::StatusOr<std::vector<float>> sound = ReadSound(video);
    ASSERT_TRUE(sound.ok()) << sound.status();
    EXPECT_EQ(frames->count, 25);
    const PromptWords asked = WordsOf(prompt);
    EXPECT_EQ(ColourName(*frames), asked.colour) << Numbers(*frames, *sound);
    EXPECT_EQ(BackgroundName(*frames), asked.background) << Numbers(*frames, *sound);
    EXPECT_EQ(MotionName(*frames), asked.motion) << Numbers(*frames, *sound);
    EXPECT_EQ(SoundName(*sound, kReadSampleRate), asked.sound) << Numbers(*frames, *sound);
  }
  EXPECT_EQ(clips, MiniPrompts().size());
}

}  // namespace
}  // namespace ovi
