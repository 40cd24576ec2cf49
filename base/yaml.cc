#include "base/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"

namespace ovi {
namespace {

// Thrown by the event handler below, since a handler has no other way to stop yaml-cpp. Caught in ParseYaml.
struct Refusal : std::exception {
  Refusal(int line_, std::string reason_) : line(line_), reason(std::move(reason_)) {}
  const char* what() const noexcept override { return reason.c_str(); }
  int line;
  std::string reason;
};

// Anchored nodes are copied where an alias names them, so the copies' size is counted like that of written
// nodes.
struct Weight {
  int nodes = 0;
  int depth = 0;
  std::int64_t scalar_bytes = 0;
};

Weight WeightOf(const YamlNode& node) {
  Weight total{1, 1, static_cast<std::int64_t>(node.scalar.size())};
  const auto add = [&total](const Weight& part) {
    total.nodes += part.nodes;
    total.depth = std::max(total.depth, part.depth + 1);
    total.scalar_bytes += part.scalar_bytes;
  };
  for (const YamlNode& item : node.items) add(WeightOf(item));
  for (const YamlEntry& entry : node.entries) {
    total.scalar_bytes += static_cast<std::int64_t>(entry.key.size());
    add(WeightOf(entry.value));
  }
  return total;
}

// yaml-cpp takes the end of the text for the missing quote. `at` is where the node begins, perhaps with an
// anchor.
bool QuoteNeverCloses(std::string_view text, std::size_t at) {
  if (at < text.size() && text[at] == '&') {
    at = text.find_first_of(" \t\r\n", at);
    at = text.find_first_not_of(" \t\r\n", at);
  }
  if (at >= text.size() || (text[at] != '"' && text[at] != '\'')) return false;
  const char quote = text[at];
  for (std::size_t i = at + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || i + 1 == text.size() || text[i + 1] != '\'') return false;
      ++i;  // '' inside single quotes is one quote
    }
  }
  return true;
}

// Builds the tree. Every event passes Take(), which keeps the limits, before yaml-cpp goes one level deeper,
// so its recursion stays as shallow as kYamlDepthMax.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string_view text) : text_(text) {}

  YamlNode TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) {
      throw Refusal(
          LineOf(mark),
          "a second document starts here; one is allowed (is this line indented like the first one?)");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    YamlNode node;
    // The mark of an empty value is that of whatever follows it; its key says better where it stands.
    node.line = !open_.empty() && open_.back().key ? open_.back().key->line : LineOf(mark);
    Add(std::move(node), anchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.line = LineOf(mark);
    node.plain = tag == "?";
    node.scalar = value;
    CheckTag(tag, node.line);
    if (!node.plain && mark.pos >= 0 && QuoteNeverCloses(text_, static_cast<std::size_t>(mark.pos))) {
      throw Refusal(node.line, "the quote opened here is never closed");
    }
    Add(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchored_.find(anchor);
    if (found == anchored_.end()) throw Refusal(LineOf(mark), "an alias inside the value that it names");
    YamlNode copy = found->second;
    copy.line = LineOf(mark);
    Add(std::move(copy), /*anchor=*/0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kSequence, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapEnd() override { Close(); }

 private:
  // A list or map whose end has not come yet. `key` waits for its value.
  struct Frame {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    std::optional<YamlEntry> key;
  };

  static int LineOf(const YAML::Mark& mark) { return std::max(mark.line, 0) + 1; }

  static void CheckTag(const std::string& tag, int line) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Refusal(
        line, absl::StrCat("YAML tags such as ", Quoted(tag), " are not supported; write the plain value"));
  }

  void Take(const Weight& weight, int line) {
    nodes_ += weight.nodes;
    scalar_bytes_ += weight.scalar_bytes;
    if (static_cast<int>(open_.size()) + weight.depth > kYamlDepthMax) {
      throw Refusal(line, absl::StrCat("nested more than ", kYamlDepthMax, " levels deep"));
    }
    if (nodes_ > kYamlNodesMax) {
      throw Refusal(line, absl::StrCat("more than ", kYamlNodesMax,
                                       " values (aliases count as often as they are used)"));
    }
    if (scalar_bytes_ > kYamlScalarBytesMax) {
      throw Refusal(
          line, absl::StrCat("more than ", kYamlScalarBytesMax, " bytes of text after aliases are expanded"));
    }
  }

  void Open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    Frame frame;
    frame.node.kind = kind;
    frame.node.line = LineOf(mark);
    frame.anchor = anchor;
    CheckTag(tag, frame.node.line);
    Take({1, 1, 0}, frame.node.line);
    open_.push_back(std::move(frame));
  }

  void Close() {
    Frame frame = std::move(open_.back());
    open_.pop_back();
    Place(std::move(frame.node), frame.anchor);
  }

  void Add(YamlNode node, YAML::anchor_t anchor) {
    Take(WeightOf(node), node.line);
    Place(std::move(node), anchor);
  }

  void Place(YamlNode node, YAML::anchor_t anchor) {
    if (anchor != 0) {
      Take(WeightOf(node), node.line);  // the copy kept for the aliases
      anchored_[anchor] = node;
    }
    if (open_.empty()) {
      root_ = std::move(node);
    } else if (open_.back().node.kind == YamlNode::Kind::kSequence) {
      open_.back().node.items.push_back(std::move(node));
    } else if (!open_.back().key) {
      open_.back().key = AsKey(std::move(node));
    } else {
      open_.back().key->value = std::move(node);
      open_.back().node.entries.push_back(*std::exchange(open_.back().key, std::nullopt));
    }
  }

  YamlEntry AsKey(YamlNode node) const {
    if (node.kind != YamlNode::Kind::kScalar) throw Refusal(node.line, "a key must be plain text");
    for (const YamlEntry& other : open_.back().node.entries) {
      if (other.key == node.scalar) {
        throw Refusal(node.line, absl::StrCat("key ", Quoted(node.scalar), " is given twice, first on line ",
                                              other.line));
      }
    }
    return YamlEntry{std::move(node.scalar), node.line, {}};
  }

  std::string_view text_;
  YamlNode root_;
  std::vector<Frame> open_;
  std::map<YAML::anchor_t, YamlNode> anchored_;
  int documents_ = 0;
  int nodes_ = 0;
  std::int64_t scalar_bytes_ = 0;
};

std::string At(std::string_view source_name, int line) {
  return absl::StrCat(std::string(source_name), ":", line, ": ");
}

// yaml-cpp's words, with the usual cause where the words alone do not lead to it.
std::string Explain(const std::string& message) {
  if (message == "illegal map value") {
    return "cannot be read as \"key: value\"; text that contains \": \" needs quotes, and lines must not be "
           "indented with tabs or by chance";
  }
  // It quotes single bytes of the text, which may be a piece of a character.
  return absl::StrCat("not valid YAML: ", Escaped(message));
}

// What must not reach yaml-cpp: it reads other encodings by guess and takes byte 0x04 for the end of the
// file.
absl::Status CheckBytes(std::string_view text, std::string_view source_name) {
  if (static_cast<std::int64_t>(text.size()) > kYamlBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(source_name), ": has ", text.size(),
                                                   " bytes, more than the ", kYamlBytesMax, " allowed"));
  }
  const std::size_t broken = FirstInvalidUtf8(text);
  const auto control = std::find_if(text.begin(), text.end(), [](unsigned char c) {
    return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
  });
  const std::size_t bad = std::min(broken, static_cast<std::size_t>(control - text.begin()));
  if (bad >= text.size()) return absl::OkStatus();
  const auto line =
      static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n')) + 1;
  return absl::InvalidArgumentError(
      absl::StrCat(At(source_name, line),
                   bad == broken ? "is not UTF-8 text: byte 0x" : "holds a control character: byte 0x",
                   absl::Hex(static_cast<unsigned char>(text[bad]), absl::kZeroPad2)));
}

}  // namespace

absl::StatusOr<YamlNode> ParseYaml(std::string_view text, std::string_view source_name) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) text.remove_prefix(kByteOrderMark.size());
  OVI_RETURN_IF_ERROR(CheckBytes(text, source_name));

  TreeBuilder tree(text);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(tree)) {
    }
    return tree.TakeRoot();
  } catch (const Refusal& refusal) {
    return absl::InvalidArgumentError(absl::StrCat(At(source_name, refusal.line), refusal.reason));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(At(source_name, std::max(error.mark.line, 0) + 1), Explain(error.msg)));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(source_name), ": cannot be parsed as YAML: ", error.what()));
  }
}

}  // namespace ovi
