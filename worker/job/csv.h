// Comma- or tab-separated text, as RFC 4180 and the original's pandas read it. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

struct CsvRow {
  int line = 0;  // from 1: where the row begins (a quoted cell may span lines)
  std::vector<std::string> cells;
};

inline constexpr int kCsvRowsMax = 10'001;  // with the header
inline constexpr int kCsvColumnsMax = 256;

// Rows in order; lines with nothing on them are skipped; a byte order mark, CRLF and a last line without its
// end are fine. A cell that starts with a double quote ends at the next single one ("" is one quote) and may
// hold separators and line ends. Every row must have as many cells as the first. INVALID_ARGUMENT with
// "source_name:line: reason" for another number of cells, an open quote, text after a closing quote, broken
// UTF-8, NUL, more than kCsvRowsMax rows.
absl::StatusOr<std::vector<CsvRow>> ParseCsv(std::string_view text, char separator,
                                             std::string_view source_name);

}  // namespace ovi
