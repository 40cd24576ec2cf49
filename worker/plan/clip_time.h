// How long a clip takes on a card, from data sheets: PREDICTED, not measured. Arithmetic over the rates that
// a card is taken to reach (clip_time.cc says which and why), beside the copies that it must wait for. Pure.
#pragma once

#include <cstdint>
#include <map>

#include "worker/model/config.h"
#include "worker/model/fusion_weights.h"
#include "worker/parallel/topology.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/plan/gpu_model.h"

namespace ovi {

struct ClipTimeRequest {
  const ModelFolder& model;
  const ClipRequest& clip;  // with its memory layout settled
  const Topology& topology;
  const GpuModel& gpu;                                    // every rank has one like it
  const std::map<FusionPiece, std::int64_t>& unit_bytes;  // of the clip's format (UnitBytesOf)
};

// Of a worker that has read the weights before: nothing here is a disk's time.
struct ClipTime {
  double encode_seconds = 0;
  double load_seconds = 0;  // the transformer's weights onto the card, once
  double step_seconds = 0;
  int steps = 0;
  double decode_seconds = 0;

  double denoise_seconds() const { return load_seconds + step_seconds * steps; }
  double seconds() const { return encode_seconds + denoise_seconds() + decode_seconds; }
};

ClipTime EstimateTime(const ClipTimeRequest& request);

// Arithmetic, 2 operations a multiply-add.
// The text encoder's, of one prompt.
double TextFlop(const TextConfig& config, std::int64_t tokens);
// The picture decoder's, of the rank of `ranks` that has most rows, or of one in `strips`.
double DecodeFlop(const VideoVaeConfig& config, const LatentShape& latent, int ranks = 1, int strips = 1);

}  // namespace ovi
