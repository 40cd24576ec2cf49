// A fusion transformer that a test can afford.
#pragma once

#include <cstdint>

#include "worker/model/config.h"

namespace ovi {

inline FusionConfig SmallFusion(std::int64_t layers = 3) {
  TowerConfig video{.dim = 48,
                    .ffn_dim = 72,
                    .freq_dim = 16,
                    .heads = 3,
                    .layers = layers,
                    .text_len = 7,
                    .text_dim = 10,
                    .in_dim = 4,
                    .out_dim = 4,
                    .patch = {1, 2, 2}};
  TowerConfig audio = video;
  audio.in_dim = audio.out_dim = 5;
  audio.patch = {1};
  audio.temporal_rope_scaling = 0.25;
  return {.video = video, .audio = audio};
}

}  // namespace ovi
