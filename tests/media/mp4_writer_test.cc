// MP4 files by ffmpeg: what is in them, and what is left and said when something fails.
#include "worker/media/mp4_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/status.h"
#include "tests/media/test_images.h"
#include "worker/media/ffmpeg_command.h"

namespace ovi {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr int kWidth = 96, kHeight = 64, kFrames = 25;

// Moving bands of saturated colours.
Bytes Frame(int index) {
  Bytes rgb;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      rgb.push_back(static_cast<std::uint8_t>(127.5 + 127.5 * std::sin((x + 2 * index) * 0.1)));
      rgb.push_back(static_cast<std::uint8_t>(127.5 + 127.5 * std::sin((y - index) * 0.1)));
      rgb.push_back(static_cast<std::uint8_t>(127.5 + 127.5 * std::sin((x + y) * 0.07)));
    }
  }
  return rgb;
}

std::vector<float> Tone(int samples) {
  std::vector<float> audio;
  for (int i = 0; i < samples; ++i) {
    audio.push_back(static_cast<float>(0.5 * std::sin(2 * M_PI * 440 * i / 16000)));
  }
  return audio;
}

// Does not compress.
Bytes Noise(std::size_t bytes, std::uint32_t seed) {
  Bytes noise(bytes);
  std::uint32_t state = seed;
  for (std::uint8_t& byte : noise)
    byte = static_cast<std::uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
  return noise;
}

// A folder of its own, so that a test can tell what was left in it.
std::string FreshFolder(const std::string& name) {
  const std::string folder = TempPath(name);
  ::mkdir(folder.c_str(), 0700);
  return folder;
}

Mp4Options Options(const std::string& path) {
  Mp4Options options;
  options.path = path;
  options.width = kWidth;
  options.height = kHeight;
  return options;
}

absl::Status WriteClip(const Mp4Options& options, const std::vector<float>& audio, int frames = kFrames) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Mp4Writer> writer, Mp4Writer::Start(options, audio));
  for (int i = 0; i < frames; ++i) OVI_RETURN_IF_ERROR(writer->WriteFrames(Frame(i)));
  return writer->Finish();
}

std::string Output(const std::vector<std::string>& argv) {
  const auto run = RunAndCapture(argv);
  if (!run.ok()) return run.status().ToString();
  return run->exit.ok() ? run->stdout_text : run->stderr_tail;
}

std::string Probe(const std::string& path, const std::string& entries, const std::string& stream = "") {
  std::vector<std::string> argv = {"ffprobe", "-v", "error", "-show_entries", entries, "-of", "default=nw=1"};
  if (!stream.empty()) argv.insert(argv.end(), {"-select_streams", stream});
  argv.push_back(path);
  return Output(argv);
}

class Mp4WriterTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!FindProgram("ffmpeg").ok() || !FindProgram("ffprobe").ok())
      GTEST_SKIP() << "ffmpeg is not installed";
  }
};

TEST_F(Mp4WriterTest, WritesH264AndAacThatPlayersUnderstand) {
  const std::string folder = FreshFolder("streams"), path = folder + "/clip.mp4";
  ASSERT_EQ(WriteClip(Options(path), Tone(16000)), absl::OkStatus());
  EXPECT_THAT(FilesIn(folder), ElementsAre("clip.mp4"));

  const std::string video =
      Probe(path,
            "stream=codec_name,width,height,pix_fmt,color_range,color_space,color_transfer,"
            "color_primaries,r_frame_rate,nb_frames,duration",
            "v");
  for (const char* line :
       {"codec_name=h264\n", "width=96\n", "height=64\n", "pix_fmt=yuv420p\n", "color_range=tv\n",
        "color_space=bt709\n", "color_transfer=bt709\n", "color_primaries=bt709\n", "r_frame_rate=24/1\n",
        "nb_frames=25\n", "duration=1.041667\n"}) {
    EXPECT_THAT(video, HasSubstr(line));
  }
  const std::string audio = Probe(path, "stream=codec_name,sample_rate,channels,duration", "a");
  for (const char* line : {"codec_name=aac\n", "sample_rate=44100\n", "channels=1\n", "duration=1.000"}) {
    EXPECT_THAT(audio, HasSubstr(line));
  }
  // faststart: the index comes before the data, so that a browser can begin at once.
  const std::string bytes = ReadAll(path);
  EXPECT_LT(bytes.find("moov"), bytes.find("mdat"));
}

TEST_F(Mp4WriterTest, KeepsThePictures) {
  const std::string path = FreshFolder("pictures") + "/clip.mp4";
  ASSERT_EQ(WriteClip(Options(path), {}), absl::OkStatus());
  EXPECT_EQ(Probe(path, "stream=codec_type", "a"), "");
  const std::string back =
      Output({"ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"});
  ASSERT_EQ(back.size(), static_cast<std::size_t>(kFrames * kWidth * kHeight * 3)) << back.substr(0, 300);
  double squares = 0;
  for (int i = 0; i < kFrames; ++i) {
    const Bytes frame = Frame(i);
    for (std::size_t k = 0; k < frame.size(); ++k) {
      const double difference =
          frame[k] - static_cast<std::uint8_t>(back[static_cast<std::size_t>(i) * frame.size() + k]);
      squares += difference * difference;
    }
  }
  const double psnr = 10 * std::log10(255.0 * 255.0 * static_cast<double>(back.size()) / squares);
  RecordProperty("psnr_db", std::to_string(psnr));
  EXPECT_GT(psnr, 33.0);  // a wrong colour matrix costs 10 dB and more here
}

TEST_F(Mp4WriterTest, KeepsTheSound) {
  const std::string path = FreshFolder("sound") + "/clip.mp4";
  const std::vector<float> tone = Tone(16000);
  ASSERT_EQ(WriteClip(Options(path), tone), absl::OkStatus());
  const std::string back =
      Output({"ffmpeg", "-v", "error", "-i", path, "-f", "s16le", "-ar", "16000", "-ac", "1", "-"});
  ASSERT_NEAR(static_cast<double>(back.size()), 32000, 2048) << back.substr(0, 300);
  double squares = 0;
  int compared = 0;
  for (std::size_t i = 1000; i < 15000; ++i, ++compared) {
    std::int16_t sample;
    std::memcpy(&sample, back.data() + 2 * i, 2);
    const double difference = sample / 32767.0 - tone[i];
    squares += difference * difference;
  }
  EXPECT_LT(std::sqrt(squares / compared), 0.01);  // of a tone of 0.5
}

TEST_F(Mp4WriterTest, CarriesMetadataOfEveryKind) {
  Mp4Options options = Options(FreshFolder("metadata") + "/clip.mp4");
  options.metadata = {
      {"title", "Ovi"},
      {"model", "720x720_5s"},
      {"seed", "103"},
      {"steps", "50"},
      {"mode", "t2v"},
      {"version", "0.1.0"},
      {"prompt", "a = b; c # d \\ e \"quoted\" 'single' %d $HOME caf\u00e9\nsecond line\n[CHAPTER]\nSTART=0"},
      {"long", std::string(100'000, 'x')},
  };
  ASSERT_EQ(WriteClip(options, Tone(1600)), absl::OkStatus());
  for (const auto& [key, value] : options.metadata) {
    const std::string back = Output({"ffprobe", "-v", "error", "-show_entries", "format_tags=" + key, "-of",
                                     "default=nw=1:nk=1", options.path});
    EXPECT_EQ(back, value + "\n") << key;
  }
  EXPECT_EQ(Output({"ffprobe", "-v", "error", "-show_chapters", options.path}), "");
}

TEST_F(Mp4WriterTest, TakesAnyFileName) {
  const std::string folder = FreshFolder("names");
  for (const char* name : {"a:b.mp4", "-y.mp4", "100%d.mp4", "with space & 'quote'.mp4", "no_ending"}) {
    EXPECT_EQ(WriteClip(Options(folder + "/" + name), {}, 2), absl::OkStatus()) << name;
    EXPECT_THAT(FilesIn(folder), Contains(name));
  }
}

TEST_F(Mp4WriterTest, LeavesNothingWhenDestroyedBeforeFinish) {
  const std::string folder = FreshFolder("destroyed");
  {
    const auto writer = Mp4Writer::Start(Options(folder + "/clip.mp4"), Tone(16000));
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE((*writer)->WriteFrames(Frame(i)).ok());
    EXPECT_EQ(FilesIn(folder).size(), 1u);
  }
  EXPECT_THAT(FilesIn(folder), IsEmpty());
}

TEST_F(Mp4WriterTest, RefusesAVideoWithoutFrames) {
  const std::string folder = FreshFolder("frameless");
  const absl::Status status = WriteClip(Options(folder + "/clip.mp4"), Tone(16000), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no frame was written"));
  EXPECT_THAT(FilesIn(folder), IsEmpty());
}

TEST_F(Mp4WriterTest, ReplacesAnEarlierFileOnlyWhenDone) {
  const std::string path = FreshFolder("replace") + "/clip.mp4";
  WriteAll(path, {'o', 'l', 'd'});
  {
    const auto writer = Mp4Writer::Start(Options(path), {});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->WriteFrames(Frame(0)).ok());
    EXPECT_EQ(ReadAll(path), "old");
  }
  EXPECT_EQ(ReadAll(path), "old");
  ASSERT_EQ(WriteClip(Options(path), {}, 2), absl::OkStatus());
  EXPECT_NE(ReadAll(path), "old");
}

TEST_F(Mp4WriterTest, TellsHowFfmpegWasKilled) {
  const std::string folder = FreshFolder("killed"), program = TempPath("recorded-ffmpeg"),
                    pid_file = TempPath("pid");
  std::ofstream(program) << "#!/bin/sh\necho $$ > " << pid_file << "\nexec ffmpeg \"$@\"\n";
  ::chmod(program.c_str(), 0700);
  ASSERT_EQ(::mkfifo(pid_file.c_str(), 0600), 0);
  Mp4Options options = Options(folder + "/clip.mp4");
  options.ffmpeg_program = program;
  const auto writer = Mp4Writer::Start(options, Tone(16000));
  ASSERT_TRUE(writer.ok()) << writer.status();
  pid_t pid = 0;
  std::ifstream(pid_file) >> pid;  // opens once the script has come to its echo
  ASSERT_GT(pid, 0);
  ASSERT_TRUE((*writer)->WriteFrames(Frame(0)).ok());
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  absl::Status status;
  for (int i = 1; i < 1000 && status.ok(); ++i) status = (*writer)->WriteFrames(Frame(i));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("killed by signal 9"));
  EXPECT_EQ((*writer)->WriteFrames(Frame(0)), status);
  EXPECT_EQ((*writer)->Finish(), status);
  EXPECT_THAT(FilesIn(folder), IsEmpty());
}

TEST_F(Mp4WriterTest, GivesFfmpegsLastWordsWhenItFails) {
  const std::string folder = FreshFolder("failing");
  Mp4Options options = Options(folder + "/clip.mp4");
  options.x264_preset = "no-such-preset";
  const absl::Status status = WriteClip(options, {}, 200);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("clip.mp4: ffmpeg failed"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no-such-preset"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("\n")));
  EXPECT_THAT(FilesIn(folder), IsEmpty());
}

TEST_F(Mp4WriterTest, IsNotTakenInByAnExitCodeOfZero) {
  const std::string folder = FreshFolder("cut"), program = TempPath("cutting-ffmpeg");
  std::ofstream(program)
      << "#!/bin/sh\nffmpeg \"$@\"\nfor out; do :; done\ntruncate -s -1 \"${out#file:}\"\n";
  ::chmod(program.c_str(), 0700);
  Mp4Options options = Options(folder + "/clip.mp4");
  options.ffmpeg_program = program;
  const absl::Status status = WriteClip(options, {});
  EXPECT_THAT(std::string(status.message()), HasSubstr("exit code 0, but the file is not whole"));
  EXPECT_THAT(FilesIn(folder), IsEmpty());
}

// A file system of `kilobytes` while it lives, where we may mount one.
class SmallDisk {
 public:
  SmallDisk(std::string folder, int kilobytes) : folder_(std::move(folder)) {
    const std::string size = "size=" + std::to_string(kilobytes) + "k";
    mounted_ = ::mount("tmpfs", folder_.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount(folder_.c_str());
  }
  bool mounted() const { return mounted_; }

 private:
  std::string folder_;
  bool mounted_;
};

TEST_F(Mp4WriterTest, SaysThatTheDiskIsFull) {
  const std::string folder = FreshFolder("full"), path = folder + "/clip.mp4";
  ASSERT_EQ(WriteClip(Options(path), Tone(16000)), absl::OkStatus());
  const auto bytes = static_cast<int>(ReadAll(path).size());
  // Too small for the first data, and a page too small for all of it: ffmpeg notices in different places.
  for (const int kilobytes : {4, (bytes - 1) / 4096 * 4}) {
    const SmallDisk disk(folder, kilobytes);
    if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small tmpfs: " << std::strerror(errno);
    const absl::Status status = WriteClip(Options(path), Tone(16000));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("No space left on device"));
    EXPECT_THAT(FilesIn(folder), IsEmpty());
  }
}

TEST(WritePng, SaysThatTheDiskIsFull) {
  const std::string folder = FreshFolder("full-png");
  const SmallDisk disk(folder, 16);
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small tmpfs: " << std::strerror(errno);
  const absl::Status status = WritePng(folder + "/poster.png", {256, 96, Noise(256 * 96 * 3, 1)});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("poster.png: cannot write it: No space left on device"));
  EXPECT_THAT(FilesIn(folder), IsEmpty());
}

TEST_F(Mp4WriterTest, SaysThatTheFolderCannotBeWrittenTo) {
  const absl::Status missing = WriteClip(Options(TempPath("nowhere/clip.mp4")), {});
  EXPECT_EQ(missing.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(missing.message()),
              HasSubstr("nowhere/clip.mp4: cannot write it: No such file or directory"));
  EXPECT_THAT(std::string(WriteClip(Options("/proc/clip.mp4"), {}).message()),
              HasSubstr("/proc/clip.mp4: cannot write it"));
  EXPECT_THAT(std::string(WriteClip(Options(TempPath("")), {}).message()), HasSubstr("it is a folder"));
}

TEST(Mp4Writer, TellsHowToInstallFfmpeg) {
  Mp4Options options = Options(TempPath("clip.mp4"));
  options.ffmpeg_program = "ovi-no-ffmpeg";
  const absl::Status status = WriteClip(options, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("apt install ffmpeg"));
}

TEST(Mp4Writer, RefusesOptionsThatCannotWork) {
  struct Case {
    const char* name;
    void (*change)(Mp4Options&);
    const char* part;
  };
  const Case cases[] = {
      {"no path", [](Mp4Options& o) { o.path.clear(); }, "path is empty"},
      {"odd width", [](Mp4Options& o) { o.width = 95; }, "95x64"},
      {"no height", [](Mp4Options& o) { o.height = 0; }, "96x0"},
      {"huge", [](Mp4Options& o) { o.width = 20000; }, "20000x64"},
      {"no frame rate", [](Mp4Options& o) { o.fps = 0; }, "fps=0"},
      {"no sample rate", [](Mp4Options& o) { o.audio_sample_rate = 0; }, "audio_sample_rate=0"},
      {"empty key",
       [](Mp4Options& o) {
         o.metadata = {{"", "x"}};
       },
       "key \"\""},
      {"key with =",
       [](Mp4Options& o) {
         o.metadata = {{"a=b", "x"}};
       },
       "key \"a=b\""},
      {"NUL",
       [](Mp4Options& o) {
         o.metadata = {{"a", std::string(1, '\0')}};
       },
       "value of a"},
      {"not UTF-8",
       [](Mp4Options& o) {
         o.metadata = {{"a", "\xff"}};
       },
       "value of a"},
      {"too long",
       [](Mp4Options& o) {
         o.metadata = {{"a", std::string(2 << 20, 'x')}};
       },
       "1048576 bytes"},
  };
  for (const Case& c : cases) {
    Mp4Options options = Options(TempPath("refused.mp4"));
    c.change(options);
    const auto writer = Mp4Writer::Start(options, {});
    EXPECT_EQ(writer.status().code(), absl::StatusCode::kInvalidArgument) << c.name;
    EXPECT_THAT(std::string(writer.status().message()), HasSubstr(c.part)) << c.name;
  }
}

TEST(FfmpegCommand, HasNothingOfTheMetadataOnTheCommandLine) {
  Mp4Options options = Options("/out/clip.mp4");
  options.metadata = {{"prompt", "secret"}};
  for (const bool has_audio : {false, true}) {
    const std::vector<std::string> argv = FfmpegArgv(options, has_audio, "/out/clip.mp4.part");
    EXPECT_THAT(argv, Not(Contains(HasSubstr("secret"))));
    EXPECT_THAT(argv, Contains("pipe:0"));
    EXPECT_EQ(argv.back(), "file:/out/clip.mp4.part");
    EXPECT_EQ(std::count(argv.begin(), argv.end(), "pipe:3"), has_audio ? 1 : 0);
  }
}

TEST(FfmpegCommand, EscapesMetadata) {
  EXPECT_EQ(*FfmpegMetadata({}), ";FFMETADATA1\n");
  EXPECT_EQ(*FfmpegMetadata({{"k", "a=b;c#d\\e\nf"}}), ";FFMETADATA1\nk=a\\=b\\;c\\#d\\\\e\\\nf\n");
}

}  // namespace
}  // namespace ovi
