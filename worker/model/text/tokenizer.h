// Text to token ids of the umT5 encoder: SentencePiece, the special tokens, EOS, cut to the text length.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

class SentencePieceModel;

struct TokenizerOptions {
  int text_len = 512;           // ids an Encode returns at most, EOS included; >= 1
  int embedding_rows = 256384;  // of the text encoder: every id is below it
  bool add_eos = true;
};

// Immutable after Load: any thread may Encode.
class Tokenizer {
 public:
  // Reads a spiece.model. NOT_FOUND or INVALID_ARGUMENT names the file; FAILED_PRECONDITION when the model
  // has more pieces than the encoder has embedding rows, or no EOS piece although add_eos asks for one.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& spiece_model_path,
                                                         const TokenizerOptions& options);
  ~Tokenizer();

  // Ids of `text` (UTF-8, cleaned: see clean.h), 1..text_len of them with add_eos (an empty text is the EOS
  // alone). No padding: the encoder runs on the true length.
  //
  // Special tokens written out in the text ("</s>", "<pad>", "<extra_id_7>") become their ids, as in the
  // original's tokenizer. The 300 extra ids follow the model's own pieces, highest number first (umT5: 256000
  // is <extra_id_299>, 256299 is <extra_id_0>); where embedding_rows leaves no room for them (mini-ovi), they
  // are text.
  absl::StatusOr<std::vector<std::int32_t>> Encode(std::string_view text) const;

 private:
  Tokenizer(std::unique_ptr<SentencePieceModel> model, const TokenizerOptions& options);
  absl::Status AppendPlainText(std::string_view text, std::vector<std::int32_t>* ids) const;

  std::unique_ptr<SentencePieceModel> model_;
  TokenizerOptions options_;
  std::map<std::string, std::int32_t, std::less<>> special_ids_;  // by the "<...>" that a text would hold
};

}  // namespace ovi
