// Expected texts come from Python: ftfy 6's rules written out with its html, re and unicodedata modules.
#include "worker/model/text/clean.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "worker/model/text/html_entities.h"

namespace ovi {
namespace {

using std::string_literals::operator""s;

struct Case {
  std::string name;
  std::string text;
  std::string cleaned;
};

TEST(CleanPrompt, FixesWhatFtfyFixesByDefault) {
  const std::vector<Case> cases = {
      {"plain text stays", "A red circle. Audio: a low tone.", "A red circle. Audio: a low tone."},
      {"empty", "", ""},
      {"only white space", " \t\r\n\u3000\u2003", ""},
      {"runs of white space", "  a \t b\u00a0\u2009c\n\n d  ", "a b c d"},
      {"curly quotes", "\u201chere\u2019s a \u201atest\u201b\u201f", "\"here's a 'test'\""},
      {"modifier apostrophe", "rock \u02bcn roll, \u0149", "rock 'n roll, 'n"},
      {"ligatures", "\ufb02u\ufb03e\ufb06 \u0133s \u01c5 \ufb05", "fluffiest ijs D\u017e \u017ft"},
      {"ae and oe are letters", "\u00e6on c\u0153ur", "\u00e6on c\u0153ur"},
      {"full width", "\uff2c\uff2f\uff35\uff24\u3000\uff01\uffe5", "LOUD !\u00a5"},
      {"half-width katakana joins its mark", "\uff76\uff9e", "\u30ac"},
      {"line breaks", "one\r\ntwo\rthree\u2028four\u2029five", "one two three four five"},
      {"terminal colours", "\x1b[36;44mblue\x1b[0m sky", "blue sky"},
      {"half a terminal escape", "a\x1b[36;b \x1b[\xc3\xa9", "a [\xc3\xa9"},
      {"control characters",
       "a\0\x07\x7f\x1c\ufeff\u206b\ufffb"
       "b"s,
       "ab"},
      {"C1 controls are windows-1252", "price \u0080 \u0093x\u0094 \u0081.", "price \u20ac \"x\" \u0081."},
      {"NFC", "e\u0301 \u212b \u1112\u1161\u11ab", "\u00e9 \u00c5 \ud55c"},
      {"speech tags stay", "A <S>Hello &amp; bye<E>", "A <S>Hello & bye<E>"},
      {"entities", "it&#x2019;s &lt;S&gt;hi&LT;E> &copy; &notit; &CounterClockwiseContourIntegral;",
       "it's <S>hi<E> \u00a9 \u00acit; \u2233"},
      {"a '<' keeps ftfy from unescaping, then it is too late for quotes", "<S>it&rsquo;s<E>",
       "<S>it\u2019s<E>"},
      {"a '<' holds for later lines, not for earlier ones", "&rsquo;\n<\n&rsquo;", "' < \u2019"},
      {"escaped many times", "&amp;amp;amp;amp;lt;", "<"},
      {"escaped many times beside a tag", "<E>&amp;amp;amp;lt;", "<E>&amp;lt;"},
      {"capital entities", "P&EACUTE;REZ &SZLIG; &AMP;", "P\u00c9REZ SS &"},
      {"numeric edges", "&#0;&#xD800;&#x110000;&#99999999999999999999;", "\ufffd\ufffd\ufffd\ufffd"},
      {"numeric controls vanish or are windows-1252", "a&#1;b&#x80;&#128;c&#xfdd0;", "ab\u20ac\u20acc"},
      {"no entities", "AT&T & co &; &#; &#x; &nosuch; &", "AT&T & co &; &#; &#x; &nosuch; &"},
      {"missing semicolon", "&eacute &copy2 &#65 &ampx", "\u00e9 \u00a92 A &x"},
      {"a space made by an entity is white space", "&nbsp;a&Tab;&emsp;b&#32;", "a b"},
      {"emoji", "\U0001f600 &#x1F600;", "\U0001f600 \U0001f600"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::StatusOr<std::string> cleaned = CleanPrompt(c.text);
    ASSERT_TRUE(cleaned.ok()) << cleaned.status();
    EXPECT_EQ(*cleaned, c.cleaned);
  }
}

TEST(CleanPrompt, LeavesMojibakeAlone) {
  EXPECT_EQ(*CleanPrompt("caf\u00c3\u00a9"), "caf\u00c3\u00a9");
}

TEST(CleanPrompt, NamesTheByteWhereUtf8Ends) {
  const std::vector<Case> cases = {
      {"stray continuation", "ab\x80", "prompt: not UTF-8 at byte 2 of 3"},
      {"cut short", "\u00e9\xe2\x82", "prompt: not UTF-8 at byte 2 of 4"},
      {"overlong", "\xc0\xaf", "prompt: not UTF-8 at byte 0 of 2"},
      {"surrogate", "x\xed\xa0\x80", "prompt: not UTF-8 at byte 1 of 4"},
      {"above Unicode", "\xf4\x90\x80\x80", "prompt: not UTF-8 at byte 0 of 4"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = CleanPrompt(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(status.message()), c.cleaned);
  }
}

TEST(CleanPrompt, TakesAMegabyteAndNoMore) {
  EXPECT_TRUE(CleanPrompt(std::string(1 << 20, 'a')).ok());
  EXPECT_EQ(CleanPrompt(std::string((1 << 20) + 1, 'a')).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CleanPrompt, DoesNotGoQuadraticOnDeepEscaping) {
  std::string text = "&";
  for (int i = 0; i < 20'000; ++i) text += "amp;";
  const absl::StatusOr<std::string> cleaned = CleanPrompt(text);
  ASSERT_TRUE(cleaned.ok());
  EXPECT_EQ(cleaned->size(), text.size() - 4 * (16 + 2));  // 16 rounds of ours, two html.unescape
}

TEST(HtmlUnescape, StrictFormNeedsTheSemicolon) {
  EXPECT_EQ(HtmlUnescapeStrict(U"&amp &amp; &#12ab; &#59;"), U"&amp & &#12ab; &#59;");
  EXPECT_EQ(HtmlUnescape(U"&amp &amp; &#12ab; &#59;"), U"& & \fab; ;");
}

}  // namespace
}  // namespace ovi
