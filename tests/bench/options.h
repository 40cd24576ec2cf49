// What the benchmarks that take numbers have in common.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace ovi::bench {

// "--name N" pairs, N at least 1, into the places of their names; false for anything else.
bool ParseNumbers(int argc, char** argv, const std::map<std::string, std::int64_t*>& numbers);

// One thread, on that core.
void PinToCore(int core);

}  // namespace ovi::bench
