// Changes to write into journals.
#pragma once

#include <string>
#include <vector>

#include "coordinator/core/change.h"

namespace ovi::test {

// One of each kind, in the order of the variant, no field left at its default.
inline std::vector<core::Change> EveryChange() {
  const core::AttemptRef attempt{.job = 7, .attempt = 2};
  const std::string odd("\xff\0\n\xc3\xa9", 5);  // neither UTF-8 nor text
  return {core::JobAdded{.job = 7,
                         .at = 1'764'000'000'123,
                         .request_id = "request-1",
                         .request = {.user = "ada",
                                     .priority = -5,
                                     .model_name = "720x720_5s",
                                     .reference = true,
                                     .low_rank = true,
                                     .allocation = core::Allocation::kFsdp,
                                     .gpu_count = 4,
                                     .vram_mode = VramMode::kFp8Offload,
                                     .vram_bytes_max = std::int64_t{8} << 30},
                         .spec = odd,
                         .warnings = {"first", "", odd}},
          core::AttemptStarted{.attempt = attempt,
                               .at = 2,
                               .group = "g7-1",
                               .node = "box-1",
                               .gpu_indices = {3, 0, 1},
                               .bytes_per_rank = std::int64_t{24} << 30,
                               .warm = true,
                               .vram_mode = VramMode::kUltraLow},
          core::AttemptAdvanced{.attempt = attempt, .at = 3, .state = core::JobState::kCompleting},
          core::AttemptEnded{.attempt = attempt,
                             .at = 4,
                             .end = core::AttemptEnd::kGpuError,
                             .message = odd,
                             .memory = {{.rank = 1,
                                         .stage = core::Stage::kDenoise,
                                         .device_bytes_peak = std::int64_t{23} << 30,
                                         .device_bytes_planned = std::int64_t{24} << 30,
                                         .seconds = 0.1,
                                         .host_bytes_planned = std::int64_t{13} << 30},
                                        {}}},
          core::JobFinished{.job = 7,
                            .at = 5,
                            .state = core::JobState::kFailed,
                            .error = odd,
                            .artifacts = {{.kind = core::ArtifactKind::kContactSheet,
                                           .file_name = "sheet.png",
                                           .sha256 = std::string(64, 'a'),
                                           .size_bytes = std::int64_t{5} << 32},
                                          {}}},
          core::CancelRequested{.job = 7, .at = 6},
          core::JobForgotten{.job = 7},
          core::NodeDrained{.node = "box-1", .at = 8, .reason = odd},
          core::NodeResumed{.node = "box-1", .at = 9}};
}

// The five changes of a job that goes well, of about the size they have in life.
inline std::vector<core::Change> JobThatGoesWell(core::JobId job) {
  const core::AttemptRef attempt{.job = job, .attempt = 1};
  const core::TimeMs at = 1'764'000'000'000 + job;
  std::vector<core::MemoryReport> memory;
  for (const core::Stage stage : {core::Stage::kEncode, core::Stage::kDenoise, core::Stage::kDecode}) {
    memory.push_back(
        {.stage = stage, .device_bytes_peak = job << 20, .device_bytes_planned = job << 20, .seconds = 1.5});
  }
  return {
      core::JobAdded{.job = job,
                     .at = at,
                     .request_id = "request-" + std::to_string(job),
                     .request = {.user = "ada", .model_name = "720x720_5s"},
                     .spec = std::string(300, 'p')},
      core::AttemptStarted{.attempt = attempt,
                           .at = at,
                           .group = "g" + std::to_string(job) + "-1",
                           .node = "box-1",
                           .gpu_indices = {0, 1},
                           .bytes_per_rank = std::int64_t{15} << 30},
      core::AttemptAdvanced{.attempt = attempt, .at = at, .state = core::JobState::kRunning},
      core::AttemptEnded{.attempt = attempt, .at = at, .end = core::AttemptEnd::kCompleted, .memory = memory},
      core::JobFinished{.job = job,
                        .at = at,
                        .artifacts = {{.file_name = "video.mp4", .sha256 = std::string(64, '0')},
                                      {.file_name = "poster.png", .sha256 = std::string(64, '1')}}}};
}

}  // namespace ovi::test
