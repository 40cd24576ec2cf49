// Prompt cleaning as Ovi does it before tokenization: ftfy's default fixes, HTML unescaped twice, white space
// collapsed.
//
// Per line, until nothing changes: HTML references (only where no '<' has been seen), C1 controls read as
// windows-1252, Latin ligatures spelled out, full- and half-width forms made standard, curly quotes
// straightened, line breaks made \n, terminal escapes and control characters removed, NFC. Then html.unescape
// twice, every run of white space one space, none at the ends.
//
// Not done: ftfy's repair of mojibake ("Ã©" for "é"), a heuristic over a dozen legacy encodings that only
// matters for text that was already broken. Lone surrogates, which ftfy mends, cannot occur: they are not
// UTF-8. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ovi {

// The cleaned text, possibly empty. INVALID_ARGUMENT with the byte offset where `utf8` stops being UTF-8, and
// for more than 1 MiB of it.
absl::StatusOr<std::string> CleanPrompt(std::string_view utf8);

}  // namespace ovi
