#include "worker/job/csv.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"

namespace ovi {
namespace {

// A cursor over the text that counts lines.
class Reader {
 public:
  Reader(std::string_view text, char separator, std::string_view source_name)
      : text_(text), separator_(separator), source_name_(source_name) {}

  bool AtEnd() const { return offset_ == text_.size(); }
  absl::Status Error(int line, const std::string& reason) const {
    return absl::InvalidArgumentError(absl::StrCat(source_name_, ":", line, ": ", reason));
  }

  absl::StatusOr<CsvRow> ReadRow() {
    CsvRow row;
    row.line = line_;
    do {
      OVI_ASSIGN_OR_RETURN(std::string cell, ReadCell());
      row.cells.push_back(std::move(cell));
      if (static_cast<int>(row.cells.size()) > kCsvColumnsMax) {
        return Error(row.line, absl::StrCat("more than ", kCsvColumnsMax, " cells in a row"));
      }
    } while (Skip(separator_));
    SkipLineEnd();
    return row;
  }

 private:
  bool Skip(char expected) {
    if (AtEnd() || text_[offset_] != expected) return false;
    if (expected == '\n') ++line_;
    ++offset_;
    return true;
  }

  bool AtLineEnd() const {
    return AtEnd() || text_[offset_] == '\n' || text_.substr(offset_, 2) == "\r\n" ||
           text_.substr(offset_) == "\r";
  }

  void SkipLineEnd() {
    Skip('\r');
    Skip('\n');
  }

  absl::StatusOr<std::string> ReadCell() {
    if (Skip('"')) return ReadQuotedCell();
    const std::size_t start = offset_;
    while (!AtLineEnd() && text_[offset_] != separator_) ++offset_;
    return std::string(text_.substr(start, offset_ - start));
  }

  absl::StatusOr<std::string> ReadQuotedCell() {
    const int opened = line_;
    std::string cell;
    for (;;) {
      if (AtEnd()) return Error(opened, "the quote opened here is never closed");
      const char c = text_[offset_];
      Skip(c);
      if (c == '"' && !Skip('"')) break;  // a doubled quote is skipped whole and kept once
      cell += c;
    }
    if (!AtLineEnd() && text_[offset_] != separator_) {
      return Error(line_, "text after a closing quote (a quote inside a quoted cell is written twice)");
    }
    return cell;
  }

  std::string_view text_;
  char separator_;
  std::string source_name_;
  std::size_t offset_ = 0;
  int line_ = 1;
};

absl::Status CheckBytes(std::string_view text, const std::string& source_name) {
  const std::size_t bad = std::min(FirstInvalidUtf8(text), text.find('\0'));
  if (bad == std::string_view::npos) return absl::OkStatus();
  const auto lines_before = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
  return absl::InvalidArgumentError(absl::StrCat(
      source_name, ":", lines_before + 1, text[bad] == 0 ? ": holds a NUL byte" : ": is not UTF-8 text"));
}

}  // namespace

absl::StatusOr<std::vector<CsvRow>> ParseCsv(std::string_view text, char separator,
                                             std::string_view source_name) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) text.remove_prefix(kByteOrderMark.size());
  OVI_RETURN_IF_ERROR(CheckBytes(text, std::string(source_name)));

  Reader reader(text, separator, source_name);
  std::vector<CsvRow> rows;
  while (!reader.AtEnd()) {
    OVI_ASSIGN_OR_RETURN(CsvRow row, reader.ReadRow());
    if (row.cells.size() == 1 && Trimmed(row.cells[0]).empty()) continue;
    if (!rows.empty() && row.cells.size() != rows[0].cells.size()) {
      return reader.Error(
          row.line, absl::StrCat("has ", row.cells.size(), " cells where the first row has ",
                                 rows[0].cells.size(), " (a cell that holds a separator needs quotes)"));
    }
    rows.push_back(std::move(row));
    if (static_cast<int>(rows.size()) > kCsvRowsMax) {
      return reader.Error(rows.back().line, absl::StrCat("more than ", kCsvRowsMax, " rows"));
    }
  }
  return rows;
}

}  // namespace ovi
