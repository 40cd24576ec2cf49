// HTML character references decoded the way Python decodes them. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace ovi {

// Python's html.unescape: all decimal and hexadecimal forms, the full HTML 5 list of names, the longest known
// name where the semicolon is missing ("&notit" is "¬it"). What is no reference stays as it is.
std::u32string HtmlUnescape(std::u32string_view text);

// ftfy's unescape_html: only references that end in a semicolon, and also names in all capitals ("&EACUTE;"
// is "É").
std::u32string HtmlUnescapeStrict(std::u32string_view text);

// The character a C1 control (U+0080..U+009F) stands for when the text was windows-1252 all along; five of
// them have no meaning there and stay.
char32_t FromWindows1252(char32_t c1_control);

}  // namespace ovi
