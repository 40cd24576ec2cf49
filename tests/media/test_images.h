// Small image files made in memory by the libraries themselves, for the tests of the decoders.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/media/image.h"

namespace ovi {

using Bytes = std::vector<std::uint8_t>;

struct PngSpec {
  int width = 0, height = 0;
  int bit_depth = 8;
  int color_type = 2;  // PNG_COLOR_TYPE_*: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGB + alpha
  bool interlaced = false;
  Bytes rows;           // packed as the file has them
  Bytes palette;        // 3 bytes an entry
  Bytes palette_alpha;  // makes a tRNS chunk
};
Bytes MakePng(const PngSpec& spec);

enum class JpegKind { kRgb, kProgressive, kManyScans, kGrey, kCmyk };
// kManyScans: progressive with a scan for each coefficient of each colour, 190 in all.
// `samples` has 1 byte a pixel for grey, 4 for CMYK, else 3. Quality 95. CMYK is stored inverted with an
// Adobe marker, as usual.
Bytes MakeJpeg(JpegKind kind, int width, int height, const Bytes& samples);

// Lossless; 4 bytes a pixel.
Bytes MakeWebp(int width, int height, const Bytes& rgba);

// A smooth image without special structure.
Image Gradient(int width, int height);

// A file of this name under the test's own temporary folder.
std::string TempPath(const std::string& name);
std::string ReadAll(const std::string& path);  // "" where there is none
void WriteAll(const std::string& path, const Bytes& bytes);

// Names in `folder`, sorted.
std::vector<std::string> FilesIn(const std::string& folder);

}  // namespace ovi
