// Weight files of the right names and shapes with nothing in them: sparse files, so that a model of 40 GB
// takes a few hundred KB of disk. Planning needs no more.
#pragma once

#include <string>

namespace ovi {

// For the configuration in `config_dir`, below `weights_dir`, in the dtypes that the original's files have.
// The tokenizer is mini-ovi's.
void WriteHollowWeights(const std::string& config_dir, const std::string& weights_dir);

}  // namespace ovi
