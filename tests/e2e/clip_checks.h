// What a clip shows and sounds like, in the words of mini-ovi's prompt grammar
// (configs/models/mini-ovi/MODEL_CARD.md). Pure functions. Each answers "unclear" rather than guess: a check
// that always finds something proves nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ovi {

struct Frames {
  int count = 0;
  int height = 0;
  int width = 0;
  std::vector<std::uint8_t> rgb;  // (count, height, width, 3)
};

struct Colour {
  double red = 0;
  double green = 0;
  double blue = 0;
};

// The median of the border's pixels over all frames.
Colour BackgroundColour(const Frames& frames);

// The largest connected patch that differs from the background, in one frame.
struct ShapeTrace {
  double x = 0;  // centroid, pixels
  double y = 0;
  int area = 0;  // pixels; 0 where there is none
  Colour colour;
};
std::vector<ShapeTrace> TraceShape(const Frames& frames);

std::string BackgroundName(const Frames& frames);  // black, white, blue, gray
std::string ColourName(const Frames& frames);      // red, green, yellow, orange, purple, cyan
// "moves right across", "moves left across", "moves up across", "moves down across", "bounces on", "grows
// on", "stays still on"
std::string MotionName(const Frames& frames);

// One window of sound.
struct Tone {
  bool audible = false;
  double frequency = 0;  // of the strongest partial, Hz, where audible
};
std::vector<Tone> TraceTones(std::span<const float> samples, int sample_rate);

// "a low steady tone", "a mid steady tone", "a high steady tone", "short beeps", "a rising sweep", "a falling
// sweep", "silence"
std::string SoundName(std::span<const float> samples, int sample_rate);

// The four words a prompt of the grammar stands for.
struct PromptWords {
  std::string colour, motion, background, sound;
  bool operator==(const PromptWords&) const = default;
};
PromptWords WordsOf(const std::string& prompt);

}  // namespace ovi
