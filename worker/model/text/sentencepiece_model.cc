#include "worker/model/text/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <utility>

namespace ovi {

struct SentencePieceModel::Impl {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Parse(std::string_view bytes, std::string* error) {
  try {
    auto impl = std::make_unique<Impl>();
    const sentencepiece::util::Status status = impl->processor.LoadFromSerializedProto(bytes);
    if (!status.ok()) {
      *error = status.message();
      return nullptr;
    }
    if (impl->processor.GetPieceSize() == 0) {  // an empty file parses
      *error = "no pieces";
      return nullptr;
    }
    return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(impl)));
  } catch (const std::exception& e) {
    *error = e.what();
    return nullptr;
  }
}

bool SentencePieceModel::Encode(std::string_view text, std::vector<int>* ids, std::string* error) const {
  try {
    const sentencepiece::util::Status status = impl_->processor.Encode(text, ids);
    if (!status.ok()) *error = status.message();
    return status.ok();
  } catch (const std::exception& e) {
    *error = e.what();
    return false;
  }
}

int SentencePieceModel::piece_count() const {
  return impl_->processor.GetPieceSize();
}

int SentencePieceModel::eos_id() const {
  return impl_->processor.eos_id();
}

std::vector<SentencePieceModel::Piece> SentencePieceModel::special_pieces() const {
  std::vector<Piece> pieces;
  for (int id = 0; id < piece_count(); ++id) {
    if (impl_->processor.IsControl(id) || impl_->processor.IsUnknown(id)) {
      pieces.push_back({impl_->processor.IdToPiece(id), id});
    }
  }
  return pieces;
}

}  // namespace ovi
