#include "client/ovictl/table.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/format.h"

namespace ovi::client {
namespace {

constexpr int kGap = 2;
constexpr int kLastColumnMin = 12;

const char* ColourOf(Tint tint) {
  switch (tint) {
    case Tint::kNone:
      return "";
    case Tint::kGood:
      return "\x1b[32m";
    case Tint::kBusy:
      return "\x1b[36m";
    case Tint::kWarning:
      return "\x1b[33m";
    case Tint::kBad:
      return "\x1b[31m";
    case Tint::kDim:
      return "\x1b[2m";
  }
  return "";
}

std::string Blanks(int count) {
  return std::string(static_cast<std::size_t>(std::max(count, 0)), ' ');
}

// A table with its texts made safe and its empty columns left out.
struct Grid {
  std::vector<Column> columns;
  std::vector<Row> rows;
};

Grid Compact(const std::vector<Column>& columns, const std::vector<Row>& rows) {
  Grid grid;
  grid.rows.resize(rows.size());
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const auto has_text = [c](const Row& row) { return !row[c].text.empty(); };
    if (!rows.empty() && std::none_of(rows.begin(), rows.end(), has_text)) continue;
    grid.columns.push_back(columns[c]);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      grid.rows[r].emplace_back(OneLine(rows[r][c].text), rows[r][c].tint);
    }
  }
  return grid;
}

std::vector<int> WidthsOf(const Grid& grid, const Screen& screen) {
  std::vector<int> widths;
  int used = 0;
  for (std::size_t c = 0; c < grid.columns.size(); ++c) {
    int width = DisplayWidth(grid.columns[c].title);
    for (const Row& row : grid.rows) width = std::max(width, DisplayWidth(row[c].text));
    if (c + 1 == grid.columns.size())
      width = std::min(width, std::max(screen.columns - used, kLastColumnMin));
    widths.push_back(width);
    used += width + kGap;
  }
  return widths;
}

}  // namespace

std::string Tinted(const std::string& text, Tint tint, bool colours) {
  if (!colours || tint == Tint::kNone || text.empty()) return text;
  return absl::StrCat(ColourOf(tint), text, "\x1b[0m");
}

std::string RenderTable(const std::vector<Column>& columns, const std::vector<Row>& rows,
                        const Screen& screen) {
  for (const Row& row : rows) OVI_CHECK(row.size() == columns.size());
  const Grid grid = Compact(columns, rows);
  const std::vector<int> widths = WidthsOf(grid, screen);
  std::string out;
  const auto add_line = [&](const auto& cell_at) {
    std::string gap;  // before the next text: no blanks at a line's end
    for (std::size_t c = 0; c < grid.columns.size(); ++c) {
      const Cell cell = cell_at(c);
      const std::string text = CutToWidth(cell.text, widths[c]);
      const std::string padding = Blanks(widths[c] - DisplayWidth(text));
      const bool right = grid.columns[c].align == Align::kRight;
      if (right) gap += padding;
      if (!text.empty()) {
        absl::StrAppend(&out, gap, Tinted(text, cell.tint, screen.colours));
        gap.clear();
      }
      gap += (right ? "" : padding) + Blanks(kGap);
    }
    out += '\n';
  };
  add_line([&](std::size_t c) { return Cell(grid.columns[c].title, Tint::kDim); });
  for (const Row& row : grid.rows) {
    add_line([&row](std::size_t c) { return row[c]; });
  }
  return out;
}

}  // namespace ovi::client
