// Files that come with the program, wherever it was built or installed.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace ovi {

// The first of `places` (relative paths) that exists in the program's folder or in one above it; a nearer
// folder goes before an earlier place. "" where none does.
std::string FindNearProgram(std::initializer_list<std::string_view> places);

}  // namespace ovi
