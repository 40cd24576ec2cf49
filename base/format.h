// Numbers and foreign text for people's eyes: durations, bytes, a progress bar, lines that fit a terminal.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ovi {

// "0:07", "12:34", "1:02:03"; less than nothing is "0:00".
std::string FormatSeconds(double seconds);

// "1.5 GiB", "14.0 MiB", "12 B".
std::string FormatBytes(std::int64_t bytes);

// `step` of `steps` are done; figures out of range are drawn as the nearest that makes sense.
struct StepProgress {
  std::string_view stage;
  int step = 0;
  int steps = 0;
  double seconds_per_step = 0;  // 0 while unknown
};

// "6/12  0.12 s/step  ETA 0:01"; the last two only once known.
std::string FormatPace(const StepProgress& progress);

// "denoise [######......] 6/12  0.12 s/step  ETA 0:01" with `width` characters between the brackets.
std::string FormatBar(const StepProgress& progress, int width);

struct ByteProgress {
  std::string_view stage;
  std::int64_t done = 0;
  std::int64_t bytes = 0;
  double seconds_left = 0;  // 0 while unknown
};

// "1.2 GiB of 11.7 GiB  ETA 0:40"; the last only once known.
std::string FormatBytePace(const ByteProgress& progress);

// "convert [######......] 1.2 GiB of 11.7 GiB  ETA 0:40".
std::string FormatByteBar(const ByteProgress& progress, int width);

// Text from outside (prompts, paths, messages of libraries) as one line that cannot steer a terminal: control
// characters become blanks; what is longer than `bytes_max` is cut between characters and gets "...".
std::string OneLine(std::string_view text, std::size_t bytes_max = std::string_view::npos);

// Columns of a terminal that UTF-8 text takes: 2 for East Asian wide characters and emoji, 0 for combining
// marks. A byte that is no UTF-8 counts 1.
int DisplayWidth(std::string_view text);

// `text` where it fits into `columns`, else cut between characters, with "..." as far as there is room for
// it.
std::string CutToWidth(std::string_view text, int columns);

}  // namespace ovi
