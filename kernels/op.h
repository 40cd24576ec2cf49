// One operation of a backend, as a value. Backends dispatch on it; a guard, a trace or a cost model can look
// at it.
#pragma once

#include <string_view>
#include <variant>

#include "kernels/attention.h"
#include "kernels/channel_norm.h"
#include "kernels/conv.h"
#include "kernels/conv_transpose.h"
#include "kernels/copy_columns.h"
#include "kernels/elementwise.h"
#include "kernels/fill.h"
#include "kernels/gemm.h"
#include "kernels/layer_norm.h"
#include "kernels/merge_attention.h"
#include "kernels/permute.h"
#include "kernels/quantise.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/shortcut.h"
#include "kernels/snake.h"
#include "kernels/upsample.h"

namespace ovi {

using Op = std::variant<Gemm, Attention, LayerNorm, RmsNorm, Rope, ChannelNorm, Conv, ConvTranspose,
                        Elementwise, Fill, Permute, CopyColumns, MergeAttention, Upsample, UpShortcut,
                        DownShortcut, AntiAliasedSnake, QuantiseRows>;

// Checks shapes and dtypes against the op's contract; INTERNAL when they break it (a bug of ours, not the
// user's).
absl::Status Validate(const Op& op);

std::string_view OpName(const Op& op);

}  // namespace ovi
