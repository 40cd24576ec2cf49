// JPEG by libjpeg-turbo: baseline, progressive, grey, YCbCr, RGB, CMYK, YCCK. Its errors come by longjmp, so
// the functions that call setjmp have only trivial locals; what owns memory lives in the callers.
#include <setjmp.h>

// Each of these needs the one before it.
// clang-format off
#include <stdio.h>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/media/codecs.h"

namespace ovi {
namespace {

// Each scan of a progressive file costs one pass over the image, and a scan may have no bytes at all; files
// made by encoders have about 10.
constexpr int kScansMax = 100;

struct ErrorManager {
  jpeg_error_mgr base;  // first, so that cinfo->err can be cast back
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void OnError(j_common_ptr cinfo) {
  auto* manager = reinterpret_cast<ErrorManager*>(cinfo->err);
  cinfo->err->format_message(cinfo, manager->message);
  longjmp(manager->jump, 1);
}

// libjpeg goes on after damage and fills in grey; a first frame with a grey half is not what the user meant.
void OnMessage(j_common_ptr cinfo, int level) {
  if (level >= 0) return;  // trace messages
  const int code = cinfo->err->msg_code;
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
      code == JWRN_MUST_RESYNC || code == JWRN_ARITH_BAD_CODE) {
    OnError(cinfo);
  }
}

void Silent(j_common_ptr) {}

void OnProgress(j_common_ptr cinfo) {
  if (reinterpret_cast<j_decompress_ptr>(cinfo)->input_scan_number <= kScansMax) return;
  auto* manager = reinterpret_cast<ErrorManager*>(cinfo->err);
  snprintf(manager->message, sizeof(manager->message), "more than %d scans", kScansMax);
  longjmp(manager->jump, 1);
}

// a * b / 255, rounded.
std::uint8_t MulDiv255(int a, int b) {
  const int product = a * b + 128;
  return static_cast<std::uint8_t>((product + (product >> 8)) >> 8);
}

// Adobe stores 255 - ink, so a stored value is what the ink lets through.
void CmykToRgb(const std::uint8_t* cmyk, std::int64_t width, std::uint8_t* rgb) {
  for (std::int64_t x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    for (int c = 0; c < 3; ++c)
      rgb[c] = static_cast<std::uint8_t>(cmyk[3] - MulDiv255(255 - cmyk[c], cmyk[3]));
  }
}

// Owns libjpeg's decompressor. The destructor runs outside of every setjmp frame.
class Reader {
 public:
  Reader() {
    cinfo_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = OnError;
    errors_.base.emit_message = OnMessage;
    errors_.base.output_message = Silent;
  }
  ~Reader() { jpeg_destroy_decompress(&cinfo_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // After a false return.
  absl::Status Failure(const std::string& name) const {
    if (errors_.base.msg_code == JERR_OUT_OF_MEMORY) {
      return absl::ResourceExhaustedError(absl::StrCat(name, ": no memory to decode the JPEG image"));
    }
    return DamagedImage(name, "JPEG", errors_.message);
  }
  std::int64_t height() const { return cinfo_.image_height; }
  std::int64_t width() const { return cinfo_.image_width; }
  bool is_cmyk() const { return cinfo_.out_color_space == JCS_CMYK; }

  bool ReadHeader(const std::uint8_t* bytes, std::size_t count) {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_decompress(&cinfo_);
    jpeg_mem_src(&cinfo_, bytes, static_cast<unsigned long>(count));
    jpeg_read_header(&cinfo_, TRUE);
    const bool has_black = cinfo_.jpeg_color_space == JCS_CMYK || cinfo_.jpeg_color_space == JCS_YCCK;
    cinfo_.out_color_space = has_black ? JCS_CMYK : JCS_RGB;
    progress_.progress_monitor = OnProgress;
    cinfo_.progress = &progress_;
    return true;
  }

  // `rgb` has room for the image; `cmyk_row` for one row of 4 bytes a pixel where is_cmyk().
  bool ReadRows(std::uint8_t* rgb, std::uint8_t* cmyk_row) {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_start_decompress(&cinfo_);
    while (cinfo_.output_scanline < cinfo_.output_height) {
      std::uint8_t* const to = rgb + std::size_t{cinfo_.output_scanline} * cinfo_.output_width * 3;
      JSAMPROW row = cmyk_row != nullptr ? cmyk_row : to;
      jpeg_read_scanlines(&cinfo_, &row, 1);
      if (cmyk_row != nullptr) CmykToRgb(cmyk_row, cinfo_.output_width, to);
    }
    jpeg_finish_decompress(&cinfo_);
    return true;
  }

 private:
  jpeg_decompress_struct cinfo_{};  // zeroed: destroying it is legal even if it was never created
  ErrorManager errors_{};
  jpeg_progress_mgr progress_{};
};

}  // namespace

bool IsJpeg(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

absl::StatusOr<Image> DecodeJpeg(std::span<const std::uint8_t> bytes, const std::string& name,
                                 const ImageLimits& limits) {
  Reader reader;
  if (!reader.ReadHeader(bytes.data(), bytes.size())) return reader.Failure(name);
  OVI_RETURN_IF_ERROR(CheckImageSize(name, reader.height(), reader.width(), limits));
  OVI_ASSIGN_OR_RETURN(Image image, AllocateImage(name, reader.height(), reader.width()));
  std::vector<std::uint8_t> cmyk_row(reader.is_cmyk() ? static_cast<std::size_t>(reader.width()) * 4 : 0);
  if (!reader.ReadRows(image.rgb.data(), cmyk_row.empty() ? nullptr : cmyk_row.data())) {
    return reader.Failure(name);
  }
  return image;
}

}  // namespace ovi
