// Choices that have an older spelling beside the new one: Ovi's inference_fusion.yaml knew fp8, cpu_offload,
// qint8, sp_size and video_frame_height_width before the guide's vram_mode, gpu_allocation and resolution.
// Either spelling may be used; both only where they say the same. Errors name both places.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"
#include "worker/job/settings.h"

namespace ovi {

// fp8 -> fp8; fp8 with cpu_offload -> fp8_offload; qint8 -> ultra_low, the mode that computes in int8;
// cpu_offload alone -> standard, which never holds the text encoder, the DiT and the VAEs at once;
// all false -> auto, as if they were absent. fp8 with qint8 is refused.
absl::StatusOr<VramMode> ReadVramMode(const Settings& settings);

// sp_size N -> multi_N, 1 -> single; use_fsdp -> fsdp, over sp_size GPUs where that is above 1.
absl::StatusOr<GpuRequest> ReadGpuRequest(const Settings& settings);

// resolution or video_frame_height_width, each as "HxW" or [H, W]: height first.
absl::StatusOr<std::optional<Size>> ReadSize(const Settings& settings);

}  // namespace ovi
