// PNG out by libpng. As in png_decode.cc, the frame that calls setjmp has only trivial locals.
#include <png.h>
#include <setjmp.h>

#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/part_file.h"
#include "base/status.h"
#include "worker/media/image.h"

namespace ovi {
namespace {

struct Sink {
  PartFile* file;
  absl::Status* status;  // the first failed write
  char error[128];
};

void WriteToSink(png_structp png, png_bytep bytes, png_size_t count) {
  auto* sink = static_cast<Sink*>(png_get_io_ptr(png));
  *sink->status = sink->file->Write({bytes, count});  // the temporary is gone before png_error jumps
  if (!sink->status->ok()) png_error(png, "write failed");
}

void Flush(png_structp) {}

[[noreturn]] void OnError(png_structp png, png_const_charp message) {
  auto* sink = static_cast<Sink*>(png_get_error_ptr(png));
  std::snprintf(sink->error, sizeof(sink->error), "%s", message);
  longjmp(png_jmpbuf(png), 1);
}

void OnWarning(png_structp, png_const_charp) {}

bool Encode(png_structp png, png_infop info, Sink* sink, const std::uint8_t* rgb, png_uint_32 height,
            png_uint_32 width) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_write_fn(png, sink, WriteToSink, Flush);
  png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (png_uint_32 y = 0; y < height; ++y) png_write_row(png, rgb + std::size_t{y} * width * 3);
  png_write_end(png, info);
  return true;
}

}  // namespace

absl::Status WritePng(const std::string& path, const Image& image) {
  OVI_CHECK(image.height > 0 && image.width > 0);
  OVI_CHECK(static_cast<std::int64_t>(image.rgb.size()) == image.height * image.width * 3);
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<PartFile> file, PartFile::Create(path));

  absl::Status status;
  Sink sink{file.get(), &status, {}};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &sink, OnError, OnWarning);
  png_infop info = png != nullptr ? png_create_info_struct(png) : nullptr;
  const bool encoded =
      info != nullptr && Encode(png, info, &sink, image.rgb.data(), static_cast<png_uint_32>(image.height),
                                static_cast<png_uint_32>(image.width));
  png_destroy_write_struct(&png, &info);
  OVI_RETURN_IF_ERROR(status);
  if (!encoded) return absl::InternalError(absl::StrCat(path, ": libpng cannot write it: ", sink.error));
  return file->Commit();
}

}  // namespace ovi
