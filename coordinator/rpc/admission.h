// What clients submit, checked field by field and made into what the scheduler takes. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/advance.h"
#include "ovi/v1/jobs.pb.h"

namespace ovi {

// Whether UploadInput took a first frame of this hash.
using HasInput = std::function<bool(const std::string& sha256)>;

struct AdmittedSpec {
  v1::JobSpec spec;                   // with what a client may leave open
  std::vector<std::string> warnings;  // what will not happen as written
};

// Nothing where something is wrong with `spec`: then each field of it is added to `violations`, `path` in
// front ("spec.").
std::optional<AdmittedSpec> AdmitSpec(const v1::JobSpec& spec, const std::string& path,
                                      const HasInput& has_input, std::vector<v1::FieldViolation>& violations);

// What one call submits. `jobs` is for use where there are no violations.
struct Admission {
  std::vector<core::JobSubmitted> jobs;
  std::vector<v1::FieldViolation> violations;  // of all jobs
};

Admission Admit(const v1::SubmitJobRequest& request, const HasInput& has_input);
// Also checks the limits of a batch (worker/job/job_proto.h).
Admission Admit(const v1::SubmitJobsRequest& request, const HasInput& has_input);

}  // namespace ovi
