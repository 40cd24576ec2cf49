// The dimensions of the original's fusion transformer.
#pragma once

#include "worker/model/config.h"

namespace ovi {

inline FusionConfig PublicFusion() {
  const TowerConfig video{.dim = 3072,
                          .ffn_dim = 14336,
                          .freq_dim = 256,
                          .heads = 24,
                          .layers = 30,
                          .text_len = 512,
                          .text_dim = 4096,
                          .in_dim = 48,
                          .out_dim = 48,
                          .patch = {1, 2, 2}};
  TowerConfig audio = video;
  audio.in_dim = audio.out_dim = 20;
  audio.patch = {1};
  audio.temporal_rope_scaling = 0.19676;
  return {.video = video, .audio = audio};
}

}  // namespace ovi
