#include "worker/media/mp4_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "worker/media/ffmpeg_command.h"
#include "worker/media/samples.h"

namespace ovi {
namespace {

// An anonymous file in memory, ready to be read from its beginning. Unlike a pipe it is full and ends from
// the start: whichever input ffmpeg wants first, nobody waits for the other, and no temporary file needs to
// be cleaned up.
absl::StatusOr<UniqueFd> MemoryFile(const char* name, const void* data, std::size_t bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  const auto failed = [&] {
    return absl::UnavailableError(
        absl::StrCat("cannot make the memory file ", name, ": ", std::generic_category().message(errno)));
  };
  if (!fd.valid()) return failed();
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::write(fd.get(), next, bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed();
    next += count;
    bytes -= static_cast<std::size_t>(count);
  }
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return failed();
  return fd;
}

absl::StatusOr<UniqueFd> AudioFile(std::span<const float> audio) {
  std::vector<std::uint8_t> bytes;  // signed 16 bit, little-endian
  bytes.reserve(audio.size() * 2);
  for (const float sample : audio) {
    const auto value = static_cast<std::uint16_t>(SampleToInt16(sample));
    bytes.push_back(static_cast<std::uint8_t>(value & 0xff));
    bytes.push_back(static_cast<std::uint8_t>(value >> 8));
  }
  return MemoryFile("ovi-audio", bytes.data(), bytes.size());
}

std::uint64_t BigEndian(const std::uint8_t* bytes, int count) {
  std::uint64_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | bytes[i];
  return value;
}

// Whether the boxes of an MP4 file (32-bit size, type, perhaps 64-bit size) fill it exactly, with index and
// data among them. An exit code alone is not trusted: ffmpeg has returned 0 for files that a full disk had
// cut.
bool IsWholeMp4(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const off_t end = ::lseek(fd.get(), 0, SEEK_END);
  bool has_index = false, has_data = false;
  for (off_t begin = 0; begin < end;) {
    std::uint8_t header[16] = {};
    if (::pread(fd.get(), header, sizeof(header), begin) < 8) return false;
    std::uint64_t bytes = BigEndian(header, 4);
    if (bytes == 1) bytes = BigEndian(header + 8, 8);
    if (bytes < 8 || bytes > static_cast<std::uint64_t>(end - begin)) return false;
    has_index = has_index || std::memcmp(header + 4, "moov", 4) == 0;
    has_data = has_data || std::memcmp(header + 4, "mdat", 4) == 0;
    begin += static_cast<off_t>(bytes);
  }
  return has_index && has_data;
}

}  // namespace

Mp4Writer::Mp4Writer(std::string path, std::size_t frame_bytes, std::unique_ptr<PartFile> part,
                     std::unique_ptr<Subprocess> ffmpeg)
    : path_(std::move(path)), frame_bytes_(frame_bytes), part_(std::move(part)), ffmpeg_(std::move(ffmpeg)) {}

absl::StatusOr<std::unique_ptr<Mp4Writer>> Mp4Writer::Start(const Mp4Options& options,
                                                            std::span<const float> audio) {
  OVI_RETURN_IF_ERROR(CheckMp4Options(options));
  OVI_ASSIGN_OR_RETURN(const std::string metadata, FfmpegMetadata(options.metadata));
  if (!FindProgram(options.ffmpeg_program).ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.path, ": the program ", options.ffmpeg_program,
                     " that writes MP4 files was not found; install it (Debian and Ubuntu: apt install "
                     "ffmpeg) or put it in PATH"));
  }
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<PartFile> part, PartFile::Create(options.path));
  OVI_ASSIGN_OR_RETURN(const UniqueFd metadata_fd,
                       MemoryFile("ovi-metadata", metadata.data(), metadata.size()));
  SubprocessOptions child;
  child.stdin_stream = StandardStream::kPipe;
  child.own_process_group =
      true;  // else Ctrl-C would end it while the worker still means to finish the frame
  child.fds = {{metadata_fd.get(), kMetadataFd}};
  UniqueFd audio_fd;
  if (!audio.empty()) {
    OVI_ASSIGN_OR_RETURN(audio_fd, AudioFile(audio));
    child.fds.push_back({audio_fd.get(), kAudioFd});
  }
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<Subprocess> ffmpeg,
                       Subprocess::Start(FfmpegArgv(options, !audio.empty(), part->part_path()), child));
  const auto frame_bytes = static_cast<std::size_t>(options.height * options.width * 3);
  return std::unique_ptr<Mp4Writer>(
      new Mp4Writer(options.path, frame_bytes, std::move(part), std::move(ffmpeg)));
}

absl::Status Mp4Writer::Fail(absl::Status status) {
  failure_ = std::move(status);
  ffmpeg_.reset();
  part_.reset();
  return failure_;
}

absl::Status Mp4Writer::WriteFrames(std::span<const std::uint8_t> rgb) {
  OVI_CHECK(rgb.size() % frame_bytes_ == 0);
  OVI_RETURN_IF_ERROR(failure_);
  OVI_CHECK(ffmpeg_ != nullptr);
  const absl::Status written = ffmpeg_->WriteStdin(rgb);
  if (!written.ok()) {
    // It closed its end, so it is ending; its exit and last words tell why.
    const ExitStatus exit = ffmpeg_->Wait();
    const std::string words = LastWords(ffmpeg_->stderr_tail());
    return Fail(
        absl::UnavailableError(absl::StrCat(path_, ": ffmpeg failed after ", frames_written_, " frames, ",
                                            exit.ToString(), words.empty() ? "" : ": ", words)));
  }
  frames_written_ += static_cast<std::int64_t>(rgb.size() / frame_bytes_);
  return absl::OkStatus();
}

absl::Status Mp4Writer::Finish() {
  OVI_RETURN_IF_ERROR(failure_);
  OVI_CHECK(ffmpeg_ != nullptr);
  if (frames_written_ == 0) return Fail(absl::InternalError(absl::StrCat(path_, ": no frame was written")));
  const ExitStatus exit = ffmpeg_->Wait();
  const std::string words = LastWords(ffmpeg_->stderr_tail());
  if (!exit.ok() || !IsWholeMp4(part_->part_path())) {
    return Fail(absl::UnavailableError(absl::StrCat(path_, ": ffmpeg failed, ", exit.ToString(),
                                                    exit.ok() ? ", but the file is not whole" : "",
                                                    words.empty() ? "" : ": ", words)));
  }
  const absl::Status committed = part_->Commit();
  if (!committed.ok()) return Fail(committed);
  failure_ = absl::InternalError(absl::StrCat(path_, ": already finished"));
  ffmpeg_.reset();
  part_.reset();
  return absl::OkStatus();
}

}  // namespace ovi
