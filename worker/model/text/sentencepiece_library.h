// The SentencePiece library in a module of its own, opened at run time and kept apart from everything else:
// Debian's libsentencepiece.so carries a protobuf 3.14 whose symbols it exports, and in one scope with
// libprotobuf.so (3.21), which gRPC's messages need, each calls into the other and the program crashes before
// main.
//
// This is all that passes between the module and the program. Neither frees what the other has allocated:
// apart also means that a replaced malloc (a sanitizer's, a preloaded one) is the program's only.
#pragma once

#include <string_view>

namespace ovi {

// Called back with what the module has to give; `to` is whatever the caller passed along.
using TakeId = void (*)(void* to, int id);
using TakeText = void (*)(void* to, std::string_view text);

class SentencePieceLibrary {
 public:
  virtual ~SentencePieceLibrary() = default;
  // False, after a reason was given, when the library refuses the text.
  virtual bool Encode(std::string_view text, TakeId take_id, void* ids, TakeText take_reason,
                      void* reason) const = 0;
  virtual int piece_count() const = 0;
  virtual int eos_id() const = 0;
  virtual bool is_special(int id) const = 0;
  virtual void GivePiece(int id, TakeText take, void* to) const = 0;
};

// What the module exports, by this name. Null, after a reason was given, when `bytes` is no model.
inline constexpr char kParseSentencePieceName[] = "OviParseSentencePiece";
using ParseSentencePiece = SentencePieceLibrary* (*)(std::string_view bytes, TakeText take_reason,
                                                     void* reason);

}  // namespace ovi
