// Where files go that can be made anew.
#pragma once

#include <string>

namespace ovi {

// $OVI_CACHE_DIR, else $XDG_CACHE_HOME/ovi, else ~/.cache/ovi; /var/tmp/ovi-<user id> without a home.
std::string DefaultCacheDir();

}  // namespace ovi
