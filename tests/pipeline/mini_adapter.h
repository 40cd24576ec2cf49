// A small adapter for mini-ovi, with values a test can compute with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/weights/tensor_file.h"

namespace ovi {

struct MiniPair {
  std::string module;  // the model's, without .weight
  std::int64_t rows = 0, columns = 0;
  std::vector<float> down, up;  // rank 2
};

// In both towers. Small multiples of 1/16, strong enough to see: the products are exact in f32.
inline std::vector<MiniPair> MiniPairs() {
  std::vector<MiniPair> pairs;
  for (const char* tower : {"video_model", "audio_model"}) {
    pairs.push_back({absl::StrCat(tower, ".blocks.0.self_attn.v"), 128, 128, {}, {}});
    pairs.push_back({absl::StrCat(tower, ".blocks.2.cross_attn.o"), 128, 128, {}, {}});
    pairs.push_back({absl::StrCat(tower, ".blocks.5.ffn.2"), 128, 512, {}, {}});
  }
  std::uint32_t state = 1;
  const auto next = [&state] {
    state = state * 1664525U + 1013904223U;
    return static_cast<float>(static_cast<int>(state >> 29) - 4) / 16.0F;
  };
  for (MiniPair& pair : pairs) {
    for (std::int64_t i = 0; i < 2 * pair.columns; ++i) pair.down.push_back(next());
    for (std::int64_t i = 0; i < 2 * pair.rows; ++i) pair.up.push_back(next());
  }
  return pairs;
}

// The file, with peft's names.
inline std::string MiniAdapter() {
  test::TensorFile file;
  for (const MiniPair& pair : MiniPairs()) {
    file.Add(absl::StrCat("base_model.model.", pair.module, ".lora_A.weight"), {2, pair.columns}, pair.down);
    file.Add(absl::StrCat("base_model.model.", pair.module, ".lora_B.weight"), {pair.rows, 2}, pair.up);
  }
  return file.bytes();
}

}  // namespace ovi
