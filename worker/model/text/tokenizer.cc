#include "worker/model/text/tokenizer.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/status.h"
#include "worker/model/text/sentencepiece_model.h"

namespace ovi {
namespace {

constexpr int kExtraIds = 300;
constexpr std::int64_t kModelBytesMax = 256 << 20;  // umT5's is 4.5 MB

// The "<...>" that `text` starts with, or nothing.
std::string_view BracketedHead(std::string_view text) {
  constexpr std::size_t kSpecialBytesMax = 32;
  const std::size_t close = text.substr(0, kSpecialBytesMax).find('>');
  return text.substr(0, close == std::string_view::npos ? 0 : close + 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& spiece_model_path,
                                                           const TokenizerOptions& options) {
  if (options.text_len < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: text_len=", options.text_len, ", must be at least 1"));
  }
  OVI_ASSIGN_OR_RETURN(const std::string content, ReadSmallFile(spiece_model_path, kModelBytesMax));
  std::string error;
  std::unique_ptr<SentencePieceModel> model = SentencePieceModel::Parse(content, &error);
  if (model == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(spiece_model_path, ": no SentencePiece model: ", error));
  }
  if (model->piece_count() > options.embedding_rows) {
    return absl::FailedPreconditionError(
        absl::StrCat(spiece_model_path, ": pieces=", model->piece_count(),
                     " but the text encoder has embedding_rows=", options.embedding_rows));
  }
  if (options.add_eos && model->eos_id() < 0) {
    return absl::FailedPreconditionError(absl::StrCat(spiece_model_path, " has no end-of-text piece"));
  }
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(model), options));
}

Tokenizer::Tokenizer(std::unique_ptr<SentencePieceModel> model, const TokenizerOptions& options)
    : model_(std::move(model)), options_(options) {
  for (SentencePieceModel::Piece& piece : model_->special_pieces()) {
    special_ids_.emplace(std::move(piece.text), piece.id);
  }
  const int pieces = model_->piece_count();
  if (pieces + kExtraIds > options_.embedding_rows) return;
  for (int n = 0; n < kExtraIds; ++n) {
    special_ids_.emplace(absl::StrCat("<extra_id_", n, ">"), pieces + kExtraIds - 1 - n);
  }
}

Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::vector<std::int32_t>> Tokenizer::Encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  std::size_t plain_from = 0;
  for (std::size_t pos = text.find('<'); pos != std::string_view::npos; pos = text.find('<', pos)) {
    const std::string_view head = BracketedHead(text.substr(pos));
    const auto special = special_ids_.find(head);
    if (special == special_ids_.end()) {
      ++pos;
      continue;
    }
    OVI_RETURN_IF_ERROR(AppendPlainText(text.substr(plain_from, pos - plain_from), &ids));
    ids.push_back(special->second);
    pos += head.size();
    plain_from = pos;
  }
  OVI_RETURN_IF_ERROR(AppendPlainText(text.substr(plain_from), &ids));
  const std::size_t room = static_cast<std::size_t>(options_.text_len) - (options_.add_eos ? 1 : 0);
  if (ids.size() > room) ids.resize(room);
  if (options_.add_eos) ids.push_back(model_->eos_id());
  return ids;
}

absl::Status Tokenizer::AppendPlainText(std::string_view text, std::vector<std::int32_t>* ids) const {
  if (text.empty()) return absl::OkStatus();
  std::vector<int> pieces;
  std::string error;
  if (!model_->Encode(text, &pieces, &error)) {
    return absl::InternalError(absl::StrCat("tokenizer: text of ", text.size(), " bytes: ", error));
  }
  ids->insert(ids->end(), pieces.begin(), pieces.end());
  return absl::OkStatus();
}

}  // namespace ovi
