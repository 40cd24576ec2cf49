// The CPU backend's implementations, one a contract. Arguments are validated before they get here.
#pragma once

#include "absl/status/status.h"
#include "kernels/op.h"

namespace ovi::cpu {

void RunLayerNorm(const LayerNorm& op);
void RunRmsNorm(const RmsNorm& op);
void RunRope(const Rope& op);
void RunChannelNorm(const ChannelNorm& op);
void RunElementwise(const Elementwise& op);
void RunFill(const Fill& op);
void RunPermute(const Permute& op);
void RunCopyColumns(const CopyColumns& op);
void RunMergeAttention(const MergeAttention& op);
void RunUpsample(const Upsample& op);
void RunUpShortcut(const UpShortcut& op);
void RunDownShortcut(const DownShortcut& op);
void RunAntiAliasedSnake(const AntiAliasedSnake& op);

}  // namespace ovi::cpu
