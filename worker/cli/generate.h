// ovi-worker generate: runs the prompts of a job, one after the other, in this process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ovi {

struct GenerateOptions {
  std::string config;             // job YAML
  std::string model;              // --model: a folder or a model's name
  std::string out;                // --out: folder for the results
  std::vector<std::string> sets;  // --set key=value
  std::string noise;              // --noise: safetensors with video_noise and audio_noise
  std::string dump;               // --dump: safetensors to write latents, pixels and samples to
  std::int64_t memory_bytes = 0;  // --max-vram; 0 for the job's max_vram, else nine tenths of what is free
  int threads = 0;                // --threads; 0 for all cores
  bool json = false;
};

// Returns the exit code: 0, 1 failed while it worked, 2 cannot begin (options, job, model files, folder,
// ffmpeg; see plan.h), 130 interrupted.
int RunGenerate(const GenerateOptions& options);

}  // namespace ovi
