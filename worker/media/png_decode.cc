// PNG by libpng. Its errors come by longjmp, so every function here that calls setjmp has only trivial
// locals; what owns memory lives in the callers.
#include <png.h>
#include <setjmp.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/media/codecs.h"

namespace ovi {
namespace {

constexpr std::uint8_t kSignature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr std::size_t kIhdrSizeOffset = 16;  // after signature, chunk length and "IHDR": width, then height
constexpr png_alloc_size_t kChunkBytesMax =
    8 << 20;  // of text and profile chunks, which may be compressed bombs

struct Source {
  const std::uint8_t* next;
  std::size_t bytes_left;
  char error[128];
};

void ReadFromSource(png_structp png, png_bytep to, png_size_t count) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (count > source->bytes_left) png_error(png, "the file is cut short");
  std::memcpy(to, source->next, count);
  source->next += count;
  source->bytes_left -= count;
}

[[noreturn]] void OnError(png_structp png, png_const_charp message) {
  auto* source = static_cast<Source*>(png_get_error_ptr(png));
  std::snprintf(source->error, sizeof(source->error), "%s", message);
  longjmp(png_jmpbuf(png), 1);
}

void OnWarning(png_structp, png_const_charp) {}

// Owns libpng's reader. The destructor runs outside of every setjmp frame.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : source_{bytes.data(), bytes.size(), {}} {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_, OnError, OnWarning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
  }
  ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  bool valid() const { return info_ != nullptr; }
  const char* error() const { return source_.error; }

  // Reads up to the pixels and asks for rows of 8-bit RGB.
  bool Begin(std::int64_t side_max) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, &source_, ReadFromSource);
    png_set_user_limits(png_, static_cast<png_uint_32>(side_max), static_cast<png_uint_32>(side_max));
    png_set_chunk_malloc_max(png_, kChunkBytesMax);
    png_set_chunk_cache_max(png_, 64);
    png_read_info(png_, info_);
    png_set_expand(png_);       // palette to RGB, 1, 2 and 4 bit grey to 8
    png_set_strip_16(png_);     // the upper byte
    png_set_strip_alpha(png_);  // also what png_set_expand made of a transparent palette entry
    png_set_gray_to_rgb(png_);
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  std::size_t row_bytes() const { return png_get_rowbytes(png_, info_); }

  // `rgb` has room for `height` rows. Interlaced files go over the rows several times, filling in.
  bool ReadRows(std::uint8_t* rgb, std::int64_t height) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    const std::size_t stride = png_get_rowbytes(png_, info_);
    for (int pass = 0; pass < passes_; ++pass) {
      for (std::int64_t y = 0; y < height; ++y)
        png_read_row(png_, rgb + static_cast<std::size_t>(y) * stride, nullptr);
    }
    png_read_end(png_, nullptr);  // the checksums, and that the file really ends
    return true;
  }

 private:
  Source source_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  int passes_ = 1;
};

std::int64_t BigEndian32(std::span<const std::uint8_t> bytes, std::size_t offset) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | bytes[offset + i];
  return value;
}

}  // namespace

bool IsPng(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= sizeof(kSignature) &&
         std::equal(kSignature, kSignature + sizeof(kSignature), bytes.begin());
}

absl::StatusOr<Image> DecodePng(std::span<const std::uint8_t> bytes, const std::string& name,
                                const ImageLimits& limits) {
  // Read here and not by libpng, whose refusal of an impossible size would not tell the size.
  if (bytes.size() < kIhdrSizeOffset + 8 || std::memcmp(bytes.data() + kIhdrSizeOffset - 4, "IHDR", 4) != 0) {
    return DamagedImage(name, "PNG", "no header");
  }
  const std::int64_t width = BigEndian32(bytes, kIhdrSizeOffset),
                     height = BigEndian32(bytes, kIhdrSizeOffset + 4);
  OVI_RETURN_IF_ERROR(CheckImageSize(name, height, width, limits));

  Reader reader(bytes);
  if (!reader.valid())
    return absl::ResourceExhaustedError(absl::StrCat(name, ": no memory for the PNG reader"));
  if (!reader.Begin(limits.side_max)) return DamagedImage(name, "PNG", reader.error());
  if (reader.row_bytes() != static_cast<std::size_t>(width) * 3) {
    return DamagedImage(name, "PNG", "its rows are not RGB");
  }
  OVI_ASSIGN_OR_RETURN(Image image, AllocateImage(name, height, width));
  if (!reader.ReadRows(image.rgb.data(), height)) return DamagedImage(name, "PNG", reader.error());
  return image;
}

}  // namespace ovi
