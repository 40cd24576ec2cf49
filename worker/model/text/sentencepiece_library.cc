#include "worker/model/text/sentencepiece_library.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <memory>
#include <vector>

namespace ovi {
namespace {

class Library final : public SentencePieceLibrary {
 public:
  sentencepiece::util::Status Load(std::string_view bytes) {
    return processor_.LoadFromSerializedProto(bytes);
  }
  bool Encode(std::string_view text, TakeId take_id, void* ids, TakeText take_reason,
              void* reason) const override {
    try {
      std::vector<int> found;
      const sentencepiece::util::Status status = processor_.Encode(text, &found);
      if (!status.ok()) take_reason(reason, status.message());
      for (const int id : found) take_id(ids, id);
      return status.ok();
    } catch (const std::exception& e) {
      take_reason(reason, e.what());
      return false;
    }
  }
  int piece_count() const override { return processor_.GetPieceSize(); }
  int eos_id() const override { return processor_.eos_id(); }
  bool is_special(int id) const override { return processor_.IsControl(id) || processor_.IsUnknown(id); }
  void GivePiece(int id, TakeText take, void* to) const override { take(to, processor_.IdToPiece(id)); }

 private:
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) SentencePieceLibrary* OviParseSentencePiece(
    std::string_view bytes, TakeText take_reason, void* reason) {
  try {
    auto library = std::make_unique<Library>();
    const sentencepiece::util::Status status = library->Load(bytes);
    if (!status.ok()) {
      take_reason(reason, status.message());
      return nullptr;
    }
    if (library->piece_count() > 0) return library.release();
    take_reason(reason, "no pieces");  // an empty file parses
    return nullptr;
  } catch (const std::exception& e) {
    take_reason(reason, e.what());
    return nullptr;
  }
}

}  // namespace ovi
