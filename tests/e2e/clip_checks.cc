#include "tests/e2e/clip_checks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

namespace ovi {
namespace {

struct NamedColour {
  const char* name;
  Colour colour;
};

// As the model paints them, measured in its clips.
constexpr std::array<NamedColour, 4> kBackgrounds = {{{"black", {10, 10, 12}},
                                                      {"white", {240, 240, 240}},
                                                      {"blue", {30, 60, 150}},
                                                      {"gray", {125, 125, 125}}}};
constexpr std::array<NamedColour, 6> kColours = {{{"red", {230, 45, 40}},
                                                  {"green", {35, 185, 70}},
                                                  {"yellow", {245, 210, 50}},
                                                  {"orange", {250, 145, 25}},
                                                  {"purple", {150, 50, 205}},
                                                  {"cyan", {50, 200, 225}}}};

double Distance(const Colour& a, const Colour& b) {
  return std::hypot(a.red - b.red, a.green - b.green, a.blue - b.blue);
}

// The nearest of `named`, if it is nearer than `distance_max`.
template <std::size_t N>
std::string Nearest(const Colour& colour, const std::array<NamedColour, N>& named, double distance_max) {
  const auto nearest =
      std::min_element(named.begin(), named.end(), [&](const NamedColour& a, const NamedColour& b) {
        return Distance(colour, a.colour) < Distance(colour, b.colour);
      });
  return Distance(colour, nearest->colour) < distance_max ? nearest->name : "unclear";
}

Colour PixelAt(const Frames& frames, int frame, int y, int x) {
  const auto index =
      ((static_cast<std::size_t>(frame) * frames.height + y) * frames.width + x) * std::size_t{3};
  return {static_cast<double>(frames.rgb[index]), static_cast<double>(frames.rgb[index + 1]),
          static_cast<double>(frames.rgb[index + 2])};
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The largest 4-connected set of `mask` as positions y * width + x.
std::vector<int> LargestPatch(std::vector<bool> mask, int height, int width) {
  std::vector<int> largest;
  for (int start = 0; start < height * width; ++start) {
    if (!mask[static_cast<std::size_t>(start)]) continue;
    std::vector<int> patch = {start};
    mask[static_cast<std::size_t>(start)] = false;
    for (std::size_t next = 0; next < patch.size(); ++next) {
      const int y = patch[next] / width;
      const int x = patch[next] % width;
      for (const auto& [v, u] : {std::pair{y - 1, x}, {y + 1, x}, {y, x - 1}, {y, x + 1}}) {
        if (v < 0 || v >= height || u < 0 || u >= width) continue;
        const auto at = static_cast<std::size_t>(v * width + u);
        if (!mask[at]) continue;
        mask[at] = false;
        patch.push_back(v * width + u);
      }
    }
    if (patch.size() > largest.size()) largest = std::move(patch);
  }
  return largest;
}

ShapeTrace TraceFrame(const Frames& frames, int frame, const Colour& background) {
  constexpr double kDistinct = 60;  // more than what compression does to a plain background
  std::vector<bool> mask(static_cast<std::size_t>(frames.height * frames.width));
  for (int y = 0; y < frames.height; ++y) {
    for (int x = 0; x < frames.width; ++x) {
      mask[static_cast<std::size_t>(y * frames.width + x)] =
          Distance(PixelAt(frames, frame, y, x), background) > kDistinct;
    }
  }
  const std::vector<int> patch = LargestPatch(std::move(mask), frames.height, frames.width);
  ShapeTrace trace{.area = static_cast<int>(patch.size())};
  if (patch.empty()) return trace;
  for (const int at : patch) {
    const int y = at / frames.width;
    const int x = at % frames.width;
    const Colour pixel = PixelAt(frames, frame, y, x);
    trace.x += x;
    trace.y += y;
    trace.colour.red += pixel.red;
    trace.colour.green += pixel.green;
    trace.colour.blue += pixel.blue;
  }
  for (double* sum : {&trace.x, &trace.y, &trace.colour.red, &trace.colour.green, &trace.colour.blue}) {
    *sum /= trace.area;
  }
  return trace;
}

// Power of `frequency` in Hann-windowed samples (Goertzel's sum, written as the two correlations it is).
double PowerAt(std::span<const float> samples, double frequency, int sample_rate) {
  double real = 0;
  double imaginary = 0;
  const auto count = static_cast<double>(samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto t = static_cast<double>(i);
    const double window = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * t / count);
    const double phase = 2 * std::numbers::pi * frequency * t / sample_rate;
    real += window * samples[i] * std::cos(phase);
    imaginary += window * samples[i] * std::sin(phase);
  }
  return real * real + imaginary * imaginary;
}

double Rms(std::span<const float> samples) {
  double sum = 0;
  for (const float sample : samples) sum += double{sample} * sample;
  return std::sqrt(sum / static_cast<double>(std::max<std::size_t>(samples.size(), 1)));
}

bool Near(const Tone& tone, double frequency) {
  return tone.audible && std::abs(tone.frequency - frequency) <= 40;
}

double Share(const std::vector<Tone>& tones, double frequency) {
  const auto near =
      std::count_if(tones.begin(), tones.end(), [&](const Tone& t) { return Near(t, frequency); });
  return static_cast<double>(near) / static_cast<double>(tones.size());
}

// The five steps of a sweep, in the order of the windows: each takes its part of the time and none comes
// back.
bool FollowsSteps(const std::vector<Tone>& tones, const std::array<double, 5>& steps) {
  std::size_t fits = 0;
  for (std::size_t i = 0; i < tones.size(); ++i) {
    const double place = (static_cast<double>(i) + 0.5) / static_cast<double>(tones.size()) * 5;
    const auto step = std::min<std::size_t>(static_cast<std::size_t>(place), 4);
    // A window beside a change may hear either of the two.
    const bool early = step > 0 && place - static_cast<double>(step) < 0.4;
    const bool late = step < 4 && place - static_cast<double>(step) > 0.6;
    if (Near(tones[i], steps[step]) || (early && Near(tones[i], steps[step - 1])) ||
        (late && Near(tones[i], steps[step + 1]))) {
      ++fits;
    }
  }
  return fits * 10 >= tones.size() * 8;
}

}  // namespace

Colour BackgroundColour(const Frames& frames) {
  std::array<std::vector<double>, 3> border;
  for (int frame = 0; frame < frames.count; ++frame) {
    for (int y = 0; y < frames.height; ++y) {
      const bool edge_row = y < 4 || y >= frames.height - 4;
      for (int x = 0; x < frames.width; ++x) {
        if (!edge_row && x >= 4 && x < frames.width - 4) continue;
        const Colour pixel = PixelAt(frames, frame, y, x);
        border[0].push_back(pixel.red);
        border[1].push_back(pixel.green);
        border[2].push_back(pixel.blue);
      }
    }
  }
  return {Median(border[0]), Median(border[1]), Median(border[2])};
}

std::vector<ShapeTrace> TraceShape(const Frames& frames) {
  const Colour background = BackgroundColour(frames);
  std::vector<ShapeTrace> track;
  for (int frame = 0; frame < frames.count; ++frame) track.push_back(TraceFrame(frames, frame, background));
  return track;
}

std::string BackgroundName(const Frames& frames) {
  return Nearest(BackgroundColour(frames), kBackgrounds, 60);
}

std::string ColourName(const Frames& frames) {
  Colour sum;
  double area = 0;
  for (const ShapeTrace& trace : TraceShape(frames)) {
    sum.red += trace.colour.red * trace.area;
    sum.green += trace.colour.green * trace.area;
    sum.blue += trace.colour.blue * trace.area;
    area += trace.area;
  }
  if (area < 50.0 * frames.count) return "unclear";  // no shape
  return Nearest({sum.red / area, sum.green / area, sum.blue / area}, kColours, 80);
}

std::string MotionName(const Frames& frames) {
  const std::vector<ShapeTrace> track = TraceShape(frames);
  constexpr std::size_t kEnd = 4;  // frames averaged at either end, after the first, which has specks
  if (track.size() < 2 * kEnd + 1) return "unclear";
  ShapeTrace first;
  ShapeTrace last;
  double first_area = 0;
  double last_area = 0;
  for (std::size_t i = 0; i < kEnd; ++i) {
    const ShapeTrace& early = track[1 + i];
    const ShapeTrace& late = track[track.size() - kEnd + i];
    first.x += early.x / kEnd;
    first.y += early.y / kEnd;
    first_area += static_cast<double>(early.area) / kEnd;
    last.x += late.x / kEnd;
    last.y += late.y / kEnd;
    last_area += static_cast<double>(late.area) / kEnd;
  }
  double x_min = first.x, x_max = first.x, y_min = first.y, y_max = first.y;
  for (std::size_t i = 1; i < track.size(); ++i) {
    if (track[i].area < 50) return "unclear";
    x_min = std::min(x_min, track[i].x);
    x_max = std::max(x_max, track[i].x);
    y_min = std::min(y_min, track[i].y);
    y_max = std::max(y_max, track[i].y);
  }
  const double dx = last.x - first.x;
  const double dy = last.y - first.y;
  const double x_range = x_max - x_min;
  const double y_range = y_max - y_min;
  const double growth = last_area / first_area;
  if (growth > 2 && std::abs(dx) < 12) return "grows on";
  if (growth < 0.5 || growth > 2) return "unclear";
  if (std::abs(dx) > 15 && x_range < 1.6 * std::abs(dx) && y_range < std::abs(dx) / 2) {
    return dx > 0 ? "moves right across" : "moves left across";
  }
  if (x_range > 15) return "unclear";
  if (std::abs(dy) > 15 && y_range < 1.6 * std::abs(dy)) {
    return dy > 0 ? "moves down across" : "moves up across";
  }
  if (y_range > 15 && std::abs(dy) < y_range / 2) return "bounces on";
  if (x_range < 6 && y_range < 6) return "stays still on";
  return "unclear";
}

std::vector<Tone> TraceTones(std::span<const float> samples, int sample_rate) {
  constexpr double kWindowSeconds = 0.048;
  constexpr double kHopSeconds = 0.016;
  constexpr double kAudible = 0.03;  // RMS of a window; the model's tones have about 0.2 and more
  const auto window = static_cast<std::size_t>(kWindowSeconds * sample_rate);
  const auto hop = static_cast<std::size_t>(kHopSeconds * sample_rate);
  std::vector<Tone> tones;
  for (std::size_t begin = 0; begin + window <= samples.size(); begin += hop) {
    const std::span<const float> part = samples.subspan(begin, window);
    Tone tone{.audible = Rms(part) > kAudible};
    double power_max = 0;
    for (double frequency = 100; tone.audible && frequency <= 2000; frequency += 12.5) {
      const double power = PowerAt(part, frequency, sample_rate);
      if (power <= power_max) continue;
      power_max = power;
      tone.frequency = frequency;
    }
    tones.push_back(tone);
  }
  return tones;
}

std::string SoundName(std::span<const float> samples, int sample_rate) {
  const std::vector<Tone> tones = TraceTones(samples, sample_rate);
  if (tones.size() < 20) return "unclear";
  const auto audible = static_cast<double>(std::count_if(tones.begin(), tones.end(),
                                                         [](const Tone& t) { return t.audible; })) /
                       static_cast<double>(tones.size());
  if (audible < 0.05) return "silence";
  if (audible > 0.9) {
    if (Share(tones, 250) > 0.9) return "a low steady tone";
    if (Share(tones, 500) > 0.9) return "a mid steady tone";
    if (Share(tones, 1000) > 0.9) return "a high steady tone";
    if (FollowsSteps(tones, {250, 375, 500, 750, 1000})) return "a rising sweep";
    if (FollowsSteps(tones, {1000, 750, 500, 375, 250})) return "a falling sweep";
    return "unclear";
  }
  int onsets = 0;
  for (std::size_t i = 1; i < tones.size(); ++i) onsets += tones[i].audible && !tones[i - 1].audible ? 1 : 0;
  if (onsets >= 2 && audible > 0.25 && Share(tones, 750) > 0.85 * audible) return "short beeps";
  return "unclear";
}

PromptWords WordsOf(const std::string& prompt) {
  // A COLOUR SHAPE MOTION a BG background. Audio: SOUND.
  const auto word = [&](std::size_t from) { return prompt.substr(from, prompt.find(' ', from) - from); };
  const std::size_t colour = prompt.find(' ') + 1;
  const std::size_t shape = prompt.find(' ', colour) + 1;
  const std::size_t motion = prompt.find(' ', shape) + 1;
  const std::size_t article = prompt.find(" a ", motion);
  const std::size_t sound = prompt.find("Audio: ") + 7;
  return {.colour = word(colour),
          .motion = prompt.substr(motion, article - motion),
          .background = word(article + 3),
          .sound = prompt.substr(sound, prompt.rfind('.') - sound)};
}

}  // namespace ovi
