// Gaussian noise that depends on nothing but the seed, the stream and the element's index: any rank, thread
// or chunk can make its own part, on any machine, in any order. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

// Philox4x32-10 (Salmon et al., SC'11, as in Random123): four uniform 32-bit words of a 128-bit counter.
std::array<std::uint32_t, 4> Philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

// Streams of one seed. Apart, because in the original the audio noise is the head of the video noise: both
// draws start from the same seed.
inline constexpr std::uint64_t kVideoNoiseStream = 0;
inline constexpr std::uint64_t kAudioNoiseStream = 1;

// out[i] = the standard normal with index first_element + i (first_element >= 0) of this seed and stream;
// elements 4n..4n+3 come from counter (n, stream), key = seed. Computed in double, so that libraries that
// differ in the last bit of a logarithm still agree here. With round_bf16 every value is one that bf16 holds,
// as the original draws it.
void FillNoise(std::uint64_t seed, std::uint64_t stream, std::int64_t first_element, std::span<float> out,
               bool round_bf16);

// The noise PyTorch's CUDA generator draws into a contiguous bf16 tensor of `numel` elements, fresh from
// `seed`, on a GPU with that many multiprocessors of that many resident threads. The layout follows the
// launch grid, so the same seed gives other videos on other GPUs: only for repeating a run of the original.
// The GPU's fast sine and logarithm differ in the last bits of a float, which a bf16 shows in few elements.
// INVALID_ARGUMENT for numel < 0, sm_count < 1 or max_threads_per_sm < 256.
absl::StatusOr<std::vector<float>> TorchCudaNoise(std::uint64_t seed, std::int64_t numel, int sm_count,
                                                  int max_threads_per_sm);

}  // namespace ovi
