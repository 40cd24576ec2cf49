// The contract's enums in users' words. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "client/ovictl/table.h"
#include "ovi/v1/cluster.pb.h"
#include "ovi/v1/job.pb.h"

namespace ovi::client {

// A value this program does not know is its number.
std::string StateWord(v1::JobState state);    // "RUNNING"
std::string StateWord(v1::NodeState state);   // "DRAINED"
std::string StateWord(v1::GroupState state);  // "BUSY"
std::string VramModeWord(v1::VramMode mode);  // "ultra_low"; "" where it is not known
std::string EndWord(v1::AttemptEnd end);      // "OUT_OF_MEMORY"; "" while it goes on
std::string StageWord(v1::Stage stage);       // "denoise"
std::string KindWord(v1::ArtifactKind kind);  // "video", "poster", "sheet"

Tint TintOf(v1::JobState state);
bool HasEnded(v1::JobState state);

// "running", "RUNNING" or "JOB_STATE_RUNNING"; "video". nullopt for no such word.
std::optional<v1::JobState> ParseState(std::string_view word);
std::optional<v1::ArtifactKind> ParseKind(std::string_view word);
// All of them, for error messages: "pending, configuring, ...".
std::string StateWords();

// "2026-11-23 18:00:05"; "" for 0.
std::string FormatTime(std::int64_t time_ms, const absl::TimeZone& zone);
// From one moment to another: "0:42"; "" where either is 0.
std::string FormatSpan(std::int64_t from_ms, std::int64_t to_ms);

}  // namespace ovi::client
