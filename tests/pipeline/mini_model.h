// The model that ships with the program, its reference runs, and broken copies of it, for tests.
#pragma once

#include <string>

#include "tests/temp_folder.h"

namespace ovi {

// The shipped job, model and reference runs.
std::string MiniJob();
std::string MiniModel();
std::string GoldenFile(const std::string& name);

// A copy of the shipped model (folders of links to its files) whose parts a test may replace.
void LinkModel(const std::string& folder);

}  // namespace ovi
