// The checks of clips, on clips painted here: each must find what is there and refuse what is not.
#include "tests/e2e/clip_checks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>

namespace ovi {
namespace {

constexpr int kFrames = 25;
constexpr int kSide = 96;
constexpr int kRate = 16000;
constexpr int kSamples = 16384;

struct Square {
  double x, y, side;
};

using Path = std::function<Square(double t)>;  // t from 0 to 1

Frames Paint(const Colour& background, const Colour& colour, const Path& path) {
  Frames frames{.count = kFrames, .height = kSide, .width = kSide, .rgb = {}};
  for (int frame = 0; frame < kFrames; ++frame) {
    const Square square = path(frame / (kFrames - 1.0));
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const bool inside =
            std::abs(x - square.x) <= square.side / 2 && std::abs(y - square.y) <= square.side / 2;
        const Colour& pixel = inside ? colour : background;
        for (const double value : {pixel.red, pixel.green, pixel.blue}) {
          // A little texture, as a decoder leaves it.
          frames.rgb.push_back(
              static_cast<std::uint8_t>(std::clamp(value + (x * 7 + y * 3) % 9 - 4, 0.0, 255.0)));
        }
      }
    }
  }
  return frames;
}

const Colour kBlack{10, 10, 12};
const Colour kRed{230, 45, 40};
const Path kStill = [](double) { return Square{48, 48, 30}; };

TEST(ClipChecks, NameTheBackground) {
  const struct {
    Colour colour;
    const char* name;
  } rows[] = {
      {{10, 10, 12}, "black"},     {{240, 240, 240}, "white"}, {{30, 60, 150}, "blue"},
      {{125, 125, 125}, "gray"},   {{0, 0, 0}, "black"},       {{255, 255, 255}, "white"},
      {{230, 45, 40}, "unclear"},  {{35, 185, 70}, "unclear"}, {{190, 190, 190}, "unclear"},
      {{60, 120, 250}, "unclear"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(BackgroundName(Paint(row.colour, {245, 210, 50}, kStill)), row.name);
  }
}

TEST(ClipChecks, NameTheColour) {
  const struct {
    Colour colour;
    const char* name;
  } rows[] = {
      {{235, 40, 40}, "red"},       {{40, 190, 70}, "green"},   {{250, 220, 50}, "yellow"},
      {{250, 150, 30}, "orange"},   {{150, 55, 210}, "purple"}, {{50, 205, 230}, "cyan"},
      {{255, 255, 255}, "unclear"}, {{30, 60, 255}, "unclear"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(ColourName(Paint(kBlack, row.colour, kStill)), row.name);
  }
  EXPECT_EQ(ColourName(Paint(kBlack, kBlack, kStill)), "unclear");
  EXPECT_EQ(ColourName(Paint(kBlack, kRed,
                             [](double) {
                               return Square{48, 48, 4};
                             })),
            "unclear")
      << "a speck";
}

TEST(ClipChecks, NameTheMotion) {
  const struct {
    const char* name;
    Path path;
  } rows[] = {
      {"moves right across",
       [](double t) {
         return Square{28 + 40 * t, 48, 30};
       }},
      {"moves left across",
       [](double t) {
         return Square{68 - 40 * t, 48, 30};
       }},
      {"moves up across",
       [](double t) {
         return Square{48, 68 - 40 * t, 30};
       }},
      {"moves down across",
       [](double t) {
         return Square{48, 28 + 40 * t, 30};
       }},
      {"bounces on",
       [](double t) {
         return Square{48, 74 - 40 * std::abs(std::sin(2 * std::numbers::pi * t)), 30};
       }},
      {"grows on",
       [](double t) {
         return Square{48, 48, 16 + 40 * t};
       }},
      {"stays still on", kStill},
      {"unclear",
       [](double t) {
         return Square{28 + 40 * t, 28 + 40 * t, 30};
       }},
      {"unclear",
       [](double t) {
         return Square{48 + 25 * std::sin(6 * t), 48, 30};
       }},
      {"unclear",
       [](double t) {
         return Square{48, 48, 56 - 40 * t};
       }},
      {"unclear",
       [](double t) {
         return Square{48 + 10 * t, 48, 30};
       }},
      {"unclear",
       [](double t) {
         return Square{48, 48, t < 0.5 ? 30.0 : 0.0};
       }},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(testing::Message() << row.name << ", row " << &row - rows);
    EXPECT_EQ(MotionName(Paint(kBlack, kRed, row.path)), row.name);
  }
}

TEST(ClipChecks, FollowTheLargestPatchAndNotSpecks) {
  Frames frames = Paint(kBlack, kRed, [](double t) { return Square{28 + 40 * t, 48, 30}; });
  for (int i = 0; i < 6; ++i) {  // a cyan speck in a corner, in every frame
    for (int frame = 0; frame < kFrames; ++frame) {
      const std::size_t at = ((static_cast<std::size_t>(frame) * kSide + 10) * kSide + 80 + i) * 3;
      frames.rgb[at + 1] = frames.rgb[at + 2] = 230;
    }
  }
  EXPECT_EQ(MotionName(frames), "moves right across");
  EXPECT_EQ(ColourName(frames), "red");
  EXPECT_EQ(BackgroundName(frames), "black");
}

using Pitch = std::function<double(double t)>;  // Hz; 0 is silence

std::vector<float> Play(const Pitch& pitch, double amplitude = 0.3) {
  std::vector<float> samples;
  double phase = 0;
  for (int i = 0; i < kSamples; ++i) {
    const double frequency = pitch(i / double{kSamples});
    phase += 2 * std::numbers::pi * frequency / kRate;
    samples.push_back(frequency > 0 ? static_cast<float>(amplitude * std::sin(phase)) : 0.0f);
  }
  return samples;
}

TEST(ClipChecks, NameTheSound) {
  const double steps[] = {250, 375, 500, 750, 1000};
  const auto beeps = [](double hertz) {
    return [hertz](double t) { return std::fmod(t * 64 / 13, 1.0) < 6.0 / 13 ? hertz : 0.0; };
  };
  const struct {
    const char* name;
    Pitch pitch;
  } rows[] = {
      {"a low steady tone", [](double) { return 250.0; }},
      {"a mid steady tone", [](double) { return 500.0; }},
      {"a high steady tone", [](double) { return 1000.0; }},
      {"short beeps", beeps(750)},
      {"a rising sweep", [&](double t) { return steps[static_cast<int>(t * 5)]; }},
      {"a falling sweep", [&](double t) { return steps[4 - static_cast<int>(t * 5)]; }},
      {"silence", [](double) { return 0.0; }},
      {"unclear", [](double) { return 750.0; }},
      {"unclear", [](double) { return 330.0; }},
      {"unclear", [](double t) { return t < 0.5 ? 250.0 : 1000.0; }},
      {"unclear", [](double t) { return t < 0.5 ? 250.0 : 0.0; }},
      {"unclear", [&](double t) { return steps[static_cast<int>(t * 10) % 5]; }},
      {"unclear", beeps(500)},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(testing::Message() << row.name << ", row " << &row - rows);
    EXPECT_EQ(SoundName(Play(row.pitch), kRate), row.name);
  }
  EXPECT_EQ(SoundName(Play(rows[0].pitch, 0.005), kRate), "silence");
  EXPECT_EQ(SoundName({}, kRate), "unclear");
}

TEST(ClipChecks, ReadThePromptsWords) {
  EXPECT_EQ(WordsOf("A red circle moves right across a black background. Audio: a low steady tone."),
            (PromptWords{"red", "moves right across", "black", "a low steady tone"}));
  EXPECT_EQ(WordsOf("A cyan square stays still on a gray background. Audio: silence."),
            (PromptWords{"cyan", "stays still on", "gray", "silence"}));
}

}  // namespace
}  // namespace ovi
