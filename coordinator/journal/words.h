// The words of core's enums and their numbers on disk (change.proto). Core may reorder its enums; these pairs
// stay. A part of codec.cc.
#pragma once

#include <cstddef>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "coordinator/core/types.h"
#include "coordinator/journal/change.pb.h"

namespace ovi::journal_words {

template <typename Core, typename Proto>
struct Word {
  Core core;
  Proto proto;
};

inline constexpr Word<core::JobState, journal::v1::JobState> kJobStates[] = {
    {core::JobState::kPending, journal::v1::JOB_STATE_PENDING},
    {core::JobState::kConfiguring, journal::v1::JOB_STATE_CONFIGURING},
    {core::JobState::kRunning, journal::v1::JOB_STATE_RUNNING},
    {core::JobState::kCompleting, journal::v1::JOB_STATE_COMPLETING},
    {core::JobState::kCompleted, journal::v1::JOB_STATE_COMPLETED},
    {core::JobState::kFailed, journal::v1::JOB_STATE_FAILED},
    {core::JobState::kCancelled, journal::v1::JOB_STATE_CANCELLED}};

inline constexpr Word<core::AttemptEnd, journal::v1::AttemptEnd> kAttemptEnds[] = {
    {core::AttemptEnd::kNone, journal::v1::ATTEMPT_END_NONE},
    {core::AttemptEnd::kCompleted, journal::v1::ATTEMPT_END_COMPLETED},
    {core::AttemptEnd::kOutOfMemory, journal::v1::ATTEMPT_END_OUT_OF_MEMORY},
    {core::AttemptEnd::kNodeFail, journal::v1::ATTEMPT_END_NODE_FAIL},
    {core::AttemptEnd::kGpuError, journal::v1::ATTEMPT_END_GPU_ERROR},
    {core::AttemptEnd::kWorkerCrash, journal::v1::ATTEMPT_END_WORKER_CRASH},
    {core::AttemptEnd::kTimeout, journal::v1::ATTEMPT_END_TIMEOUT},
    {core::AttemptEnd::kLaunchFailed, journal::v1::ATTEMPT_END_LAUNCH_FAILED},
    {core::AttemptEnd::kBadInput, journal::v1::ATTEMPT_END_BAD_INPUT},
    {core::AttemptEnd::kPreempted, journal::v1::ATTEMPT_END_PREEMPTED},
    {core::AttemptEnd::kCancelled, journal::v1::ATTEMPT_END_CANCELLED},
    {core::AttemptEnd::kNodeNotReady, journal::v1::ATTEMPT_END_NODE_NOT_READY}};

inline constexpr Word<core::Stage, journal::v1::Stage> kStages[] = {
    {core::Stage::kNone, journal::v1::STAGE_NONE},
    {core::Stage::kEncode, journal::v1::STAGE_ENCODE},
    {core::Stage::kDenoise, journal::v1::STAGE_DENOISE},
    {core::Stage::kDecode, journal::v1::STAGE_DECODE}};

inline constexpr Word<core::ArtifactKind, journal::v1::ArtifactKind> kArtifactKinds[] = {
    {core::ArtifactKind::kVideo, journal::v1::ARTIFACT_KIND_VIDEO},
    {core::ArtifactKind::kPoster, journal::v1::ARTIFACT_KIND_POSTER},
    {core::ArtifactKind::kContactSheet, journal::v1::ARTIFACT_KIND_CONTACT_SHEET}};

inline constexpr Word<core::Allocation, journal::v1::Allocation> kAllocations[] = {
    {core::Allocation::kAuto, journal::v1::ALLOCATION_AUTO},
    {core::Allocation::kSingle, journal::v1::ALLOCATION_SINGLE},
    {core::Allocation::kMulti, journal::v1::ALLOCATION_MULTI},
    {core::Allocation::kFsdp, journal::v1::ALLOCATION_FSDP}};

inline constexpr Word<VramMode, journal::v1::VramMode> kVramModes[] = {
    {VramMode::kAuto, journal::v1::VRAM_MODE_AUTO},
    {VramMode::kStandard, journal::v1::VRAM_MODE_STANDARD},
    {VramMode::kFp8, journal::v1::VRAM_MODE_FP8},
    {VramMode::kFp8Offload, journal::v1::VRAM_MODE_FP8_OFFLOAD},
    {VramMode::kUltraLow, journal::v1::VRAM_MODE_ULTRA_LOW}};

template <typename Core, typename Proto, std::size_t count>
Proto ToProto(const Word<Core, Proto> (&words)[count], Core value) {
  for (const auto& word : words) {
    if (word.core == value) return word.proto;
  }
  OVI_CHECK(!"an enum value without a number on disk");
  std::abort();
}

template <typename Core, typename Proto, std::size_t count>
absl::Status ToCore(const Word<Core, Proto> (&words)[count], Proto value, const char* name, Core* out) {
  for (const auto& word : words) {
    if (word.proto != value) continue;
    *out = word.core;
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(name, ": unknown value ", static_cast<int>(value)));
}

}  // namespace ovi::journal_words
