// The model that ships with the program, its reference runs, and broken copies of it, for tests.
#pragma once

#include <string>
#include <vector>

#include "tests/temp_folder.h"

namespace ovi {

// The shipped job, model and reference runs.
std::string MiniJob();
std::string MiniModel();
std::string GoldenFile(const std::string& name);

// Eight sentences of its grammar, in which every motion and every sound occurs, and every colour, shape and
// background.
const std::vector<std::string>& MiniPrompts();

// A copy of the shipped model (folders of links to its files) whose parts a test may replace.
void LinkModel(const std::string& folder);

}  // namespace ovi
