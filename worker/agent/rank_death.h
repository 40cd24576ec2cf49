// Which rank of a group died first, in mpirun's words. Pure.
#pragma once

#include <string>
#include <string_view>

namespace ovi {

// "rank 1 died of signal 9 (Killed)" or "rank 1 ended with exit code 3"; "" where mpirun says nothing of the
// kind. `output` is what mpirun and its ranks printed, the ranks with --tag-output, so that nothing they
// print is taken for mpirun's. Escaped, and short.
std::string DescribeRankDeath(std::string_view output);

}  // namespace ovi
