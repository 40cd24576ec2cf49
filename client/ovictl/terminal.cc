#include "client/ovictl/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace ovi::client {

Screen CurrentScreen() {
  Screen screen;
  screen.terminal = ::isatty(STDOUT_FILENO) != 0;
  if (!screen.terminal) return screen;
  const auto environment = [](const char* name) -> std::string_view {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
  };
  screen.colours = environment("NO_COLOR").empty() && environment("TERM") != "dumb";
  screen.columns = 80;
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    screen.columns = size.ws_col;
    screen.rows = size.ws_row;
  }
  return screen;
}

Screen UncutScreen() {
  Screen screen = CurrentScreen();
  screen.columns = 1 << 20;
  return screen;
}

}  // namespace ovi::client
