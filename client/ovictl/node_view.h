// Nodes as people see them. Pure, as job_view.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/ovictl/terminal.h"
#include "ovi/v1/cluster.pb.h"

namespace ovi::client {

// Bytes of the node's `index`-th GPU that nobody uses and nobody was promised; never below 0.
std::int64_t FreeBytes(const v1::Node& node, int index);

// `nodes`: a line a GPU, with its node's facts on the first.
std::string NodeTable(const std::vector<v1::Node>& nodes, const Screen& screen);
// `nodes NAME`: the same table and what else is known.
std::string NodeDetails(const v1::Node& node, std::int64_t now_ms, const Screen& screen);

}  // namespace ovi::client
