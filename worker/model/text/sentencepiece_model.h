// The SentencePiece library behind standard types. Its header (0.1.97) declares absl::string_view as
// std::string_view, which clashes with Debian 12's Abseil, where it is a class of its own: no file can
// include both, so this header and its .cc know no Abseil. Use Tokenizer (tokenizer.h) instead. Immutable
// after Parse, so any thread may Encode.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ovi {

class SentencePieceModel {
 public:
  struct Piece {
    std::string text;
    int id;
  };

  // `bytes` is the content of a spiece.model. Null, and a one-line reason in `error`, when it is none.
  static std::unique_ptr<SentencePieceModel> Parse(std::string_view bytes, std::string* error);
  ~SentencePieceModel();

  // The ids of `text`, all of it plain text. False, and a reason in `error`, when the library refuses it.
  bool Encode(std::string_view text, std::vector<int>* ids, std::string* error) const;

  int piece_count() const;
  int eos_id() const;  // -1 where the model has none
  // Control pieces ("<pad>", "</s>") and the unknown piece: plain text never maps to them.
  std::vector<Piece> special_pieces() const;

 private:
  struct Impl;
  explicit SentencePieceModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ovi
