// The SentencePiece library in a module of its own, opened at run time and kept apart from everything else:
// Debian's libsentencepiece.so carries a protobuf 3.14 whose symbols it exports, and in one scope with
// libprotobuf.so (3.21), which gRPC's messages need, each calls into the other and the program crashes before
// main. This is all that passes between the module and the program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ovi {

class SentencePieceLibrary {
 public:
  virtual ~SentencePieceLibrary() = default;
  virtual bool Encode(std::string_view text, std::vector<int>* ids, std::string* error) const = 0;
  virtual int piece_count() const = 0;
  virtual int eos_id() const = 0;
  virtual bool is_special(int id) const = 0;
  virtual std::string piece(int id) const = 0;
};

// What the module exports, by this name. Null, and a reason in `error`, when `bytes` is no model.
inline constexpr char kParseSentencePieceName[] = "OviParseSentencePiece";
using ParseSentencePiece = SentencePieceLibrary* (*)(std::string_view bytes, std::string* error);

}  // namespace ovi
