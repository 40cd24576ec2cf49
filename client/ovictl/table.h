// Text in columns for a terminal or a pipe. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "client/ovictl/terminal.h"

namespace ovi::client {

enum class Tint { kNone, kGood, kBusy, kWarning, kBad, kDim };

// `text` in the colour of `tint` where colours are wanted.
std::string Tinted(const std::string& text, Tint tint, bool colours);

enum class Align { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

struct Cell {
  Cell(std::string cell_text = "", Tint cell_tint = Tint::kNone)  // NOLINT(google-explicit-constructor)
      : text(std::move(cell_text)), tint(cell_tint) {}
  Cell(const char* cell_text) : text(cell_text) {}  // NOLINT(google-explicit-constructor)
  std::string text;
  Tint tint = Tint::kNone;
};

using Row = std::vector<Cell>;

// A line of titles and one a row, each ended by \n. Columns are as wide as their widest cell; the last one,
// where long texts belong, is cut so that lines fit into the screen, but never to less than 12 columns. Cells
// may hold foreign text: it cannot break lines or steer the terminal. Columns in which no row has anything
// are left out.
std::string RenderTable(const std::vector<Column>& columns, const std::vector<Row>& rows,
                        const Screen& screen);

}  // namespace ovi::client
