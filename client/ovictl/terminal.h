// What the output goes to.
#pragma once

namespace ovi::client {

struct Screen {
  bool terminal = false;
  bool colours = false;
  int columns = 120;  // of a pipe: what long texts are cut to
  int rows = 24;
};

// Of stdout, now: people resize windows. Colours only on a terminal that is not TERM=dumb and without
// NO_COLOR (no-color.org: set to anything but nothing).
Screen CurrentScreen();

// The same, but nothing is cut: for tables whose last column is what they are for.
Screen UncutScreen();

}  // namespace ovi::client
