// A fusion model's table of tensors, small enough to write adapters for by hand.
#pragma once

#include <string>
#include <vector>

#include "base/check.h"
#include "worker/model/fusion_params.h"

namespace ovi::test {

// 12 blocks, so that blocks.1 and blocks.11 are there; every width another number where the network lets it.
inline FusionConfig SmallFusion() {
  FusionConfig config;
  config.video = {.dim = 4,
                  .ffn_dim = 6,
                  .freq_dim = 10,
                  .heads = 1,
                  .layers = 12,
                  .text_len = 2,
                  .text_dim = 5,
                  .in_dim = 3,
                  .out_dim = 3,
                  .patch = {1, 2, 2}};
  config.audio = config.video;
  config.audio.in_dim = config.audio.out_dim = 7;
  config.audio.patch = {1};
  return config;
}

inline const std::vector<TensorSpec>& SmallTable() {
  static const auto* const table = new std::vector<TensorSpec>(FusionTensors(SmallFusion()));
  return *table;
}

inline Shape ShapeOf(const std::string& name) {
  for (const TensorSpec& spec : SmallTable()) {
    if (spec.name == name) return spec.shape;
  }
  OVI_CHECK(false);
}

}  // namespace ovi::test
