// Jobs as people see them. Pure: the time is an argument. Texts of the coordinator cannot break lines or
// steer the terminal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/ovictl/terminal.h"
#include "ovi/v1/job.pb.h"
#include "ovi/v1/jobs.pb.h"

namespace ovi::client {

// What is going on, in a line: "denoise 6/12  0.12 s/step  ETA 0:01", what a pending job waits for, why it
// failed, how long it took.
std::string JobNews(const v1::Job& job);

// "on gpu-a GPUs 0,1, attempt 2" of the attempt that is going on; "" where none is.
std::string WhereOf(const v1::Job& job);

// A line of `watch` into a pipe: id, state, news, where.
std::string JobLine(const v1::Job& job);

// What `watch` draws on a terminal: a bar a job, the busiest first, and a line that counts them where there
// are several. No line is wider than the screen, and there are fewer than it has rows. `note` comes last.
std::vector<std::string> WatchBlock(const std::vector<v1::Job>& jobs, const std::string& note,
                                    const Screen& screen);

// `list`.
std::string JobTable(const std::vector<v1::Job>& jobs, std::int64_t now_ms, const Screen& screen);
// `status`: all that is known, a fact a line. Of the prompt only what fits into a line.
std::string JobDetails(const v1::Job& job, std::int64_t now_ms, const absl::TimeZone& zone,
                       const Screen& screen);
// `logs`: a table of its attempts.
std::string AttemptTable(const v1::Job& job, std::int64_t now_ms, const Screen& screen);
// `plan`.
std::string PlanTable(const v1::PlanJobResponse& plan, const Screen& screen);

}  // namespace ovi::client
