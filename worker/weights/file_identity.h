// What a weight file is, without reading all of it.
#pragma once

#include <string>

namespace ovi {

// Of its size, its time of change and its first 64 KiB, which hold the table of a safetensors file or much of
// it. A file that was written anew has another identity, a copy that kept its time has the same. A file that
// cannot be read has that of its path.
std::string FileIdentity(const std::string& path);

}  // namespace ovi
