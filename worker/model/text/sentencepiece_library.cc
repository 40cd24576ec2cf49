#include "worker/model/text/sentencepiece_library.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <memory>

namespace ovi {
namespace {

class Library final : public SentencePieceLibrary {
 public:
  std::string Load(std::string_view bytes) {
    const sentencepiece::util::Status status = processor_.LoadFromSerializedProto(bytes);
    if (!status.ok()) return status.message();
    return processor_.GetPieceSize() == 0 ? "no pieces" : "";  // an empty file parses
  }
  bool Encode(std::string_view text, std::vector<int>* ids, std::string* error) const override {
    try {
      const sentencepiece::util::Status status = processor_.Encode(text, ids);
      if (!status.ok()) *error = status.message();
      return status.ok();
    } catch (const std::exception& e) {
      *error = e.what();
      return false;
    }
  }
  int piece_count() const override { return processor_.GetPieceSize(); }
  int eos_id() const override { return processor_.eos_id(); }
  bool is_special(int id) const override { return processor_.IsControl(id) || processor_.IsUnknown(id); }
  std::string piece(int id) const override { return processor_.IdToPiece(id); }

 private:
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) SentencePieceLibrary* OviParseSentencePiece(
    std::string_view bytes, std::string* error) {
  try {
    auto library = std::make_unique<Library>();
    *error = library->Load(bytes);
    return error->empty() ? library.release() : nullptr;
  } catch (const std::exception& e) {
    *error = e.what();
    return nullptr;
  }
}

}  // namespace ovi
