#include "tests/media/test_images.h"

#include <gtest/gtest.h>
#include <png.h>
#include <unistd.h>
#include <webp/encode.h>

#include "tests/temp_folder.h"

// Each of these needs the one before it.
// clang-format off
#include <stdio.h>
#include <jpeglib.h>
// clang-format on

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace ovi {

Bytes MakePng(const PngSpec& spec) {
  Bytes file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  if (setjmp(png_jmpbuf(png)) != 0) std::abort();
  png_set_write_fn(
      png, &file,
      [](png_structp p, png_bytep bytes, png_size_t count) {
        auto* to = static_cast<Bytes*>(png_get_io_ptr(p));
        to->insert(to->end(), bytes, bytes + count);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(spec.width), static_cast<png_uint_32>(spec.height),
               spec.bit_depth, spec.color_type, spec.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!spec.palette.empty()) {
    png_set_PLTE(png, info, reinterpret_cast<png_const_colorp>(spec.palette.data()),
                 static_cast<int>(spec.palette.size() / 3));
  }
  if (!spec.palette_alpha.empty()) {
    png_set_tRNS(png, info, spec.palette_alpha.data(), static_cast<int>(spec.palette_alpha.size()), nullptr);
  }
  png_write_info(png, info);
  const int passes = png_set_interlace_handling(png);
  const std::size_t stride = spec.rows.size() / static_cast<std::size_t>(spec.height);
  for (int pass = 0; pass < passes; ++pass) {
    for (int y = 0; y < spec.height; ++y)
      png_write_row(png, spec.rows.data() + static_cast<std::size_t>(y) * stride);
  }
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

Bytes MakeJpeg(JpegKind kind, int width, int height, const Bytes& samples) {
  jpeg_compress_struct cinfo{};
  jpeg_error_mgr errors;
  cinfo.err = jpeg_std_error(&errors);
  jpeg_create_compress(&cinfo);
  unsigned char* buffer = nullptr;
  unsigned long bytes = 0;
  jpeg_mem_dest(&cinfo, &buffer, &bytes);
  cinfo.image_width = static_cast<JDIMENSION>(width);
  cinfo.image_height = static_cast<JDIMENSION>(height);
  cinfo.input_components = kind == JpegKind::kGrey ? 1 : kind == JpegKind::kCmyk ? 4 : 3;
  cinfo.in_color_space = kind == JpegKind::kGrey   ? JCS_GRAYSCALE
                         : kind == JpegKind::kCmyk ? JCS_CMYK
                                                   : JCS_RGB;
  jpeg_set_defaults(&cinfo);
  jpeg_set_quality(&cinfo, 95, TRUE);
  if (kind == JpegKind::kProgressive) jpeg_simple_progression(&cinfo);
  std::vector<jpeg_scan_info> scans = {{3, {0, 1, 2}, 0, 0, 0, 0}};
  for (int i = 0; i < 3 * 63; ++i) scans.push_back({1, {i / 63}, i % 63 + 1, i % 63 + 1, 0, 0});
  if (kind == JpegKind::kManyScans) {
    cinfo.scan_info = scans.data();
    cinfo.num_scans = static_cast<int>(scans.size());
  }
  jpeg_start_compress(&cinfo, TRUE);
  while (cinfo.next_scanline < cinfo.image_height) {
    auto* row = const_cast<unsigned char*>(samples.data()) +
                std::size_t{cinfo.next_scanline} * static_cast<std::size_t>(width * cinfo.input_components);
    jpeg_write_scanlines(&cinfo, &row, 1);
  }
  jpeg_finish_compress(&cinfo);
  jpeg_destroy_compress(&cinfo);
  const Bytes file(buffer, buffer + bytes);
  std::free(buffer);
  return file;
}

Bytes MakeWebp(int width, int height, const Bytes& rgba) {
  std::uint8_t* buffer = nullptr;
  const std::size_t bytes = WebPEncodeLosslessRGBA(rgba.data(), width, height, width * 4, &buffer);
  const Bytes file(buffer, buffer + bytes);
  WebPFree(buffer);
  return file;
}

Image Gradient(int width, int height) {
  Image image{height, width, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.rgb.push_back(static_cast<std::uint8_t>(255 * x / std::max(1, width - 1)));
      image.rgb.push_back(static_cast<std::uint8_t>(255 * y / std::max(1, height - 1)));
      image.rgb.push_back(static_cast<std::uint8_t>(128 + (x + y) % 32));
    }
  }
  return image;
}

std::string TempPath(const std::string& name) {
  static const TempFolder folder;
  return folder / name;
}

std::string ReadAll(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void WriteAll(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace ovi
