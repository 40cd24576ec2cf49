#include "coordinator/rpc/admission.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/convert.h"
#include "coordinator/rpc/status.h"
#include "worker/job/job_proto.h"

namespace ovi {
namespace {

constexpr std::size_t kRequestIdBytesMax = 128;

bool IsRequestId(std::string_view text) {
  return text.size() <= kRequestIdBytesMax &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

// One spec, one string: equal specs of one request_id are recognised by it.
std::string Serialised(const v1::JobSpec& spec) {
  std::string bytes(spec.ByteSizeLong(), '\0');
  google::protobuf::io::ArrayOutputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  spec.SerializeWithCachedSizes(&coded);
  coded.Trim();
  return bytes;
}

// `path`: what stands in front of the request's fields: "", or "requests[17]." in a batch.
void AdmitJob(const v1::SubmitJobRequest& request, const std::string& path, const HasInput& has_input,
              Admission& admission) {
  if (!IsRequestId(request.request_id())) {
    admission.violations.push_back(
        Violation(absl::StrCat(path, "request_id"),
                  absl::StrCat("must be at most ", kRequestIdBytesMax, " printable ASCII characters")));
  }
  std::optional<AdmittedSpec> admitted =
      AdmitSpec(request.spec(), absl::StrCat(path, "spec."), has_input, admission.violations);
  if (!admitted) return;
  admission.jobs.push_back({.request_id = request.request_id(),
                            .request = RequestOf(admitted->spec),
                            .spec = Serialised(admitted->spec),
                            .warnings = std::move(admitted->warnings)});
}

std::optional<v1::FieldViolation> CheckBatch(const v1::SubmitJobsRequest& request) {
  const int count = request.requests_size();
  if (count < 1 || count > kBatchJobsMax) {
    return Violation("requests", absl::StrCat("must be 1 to ", kBatchJobsMax, " jobs, got ", count));
  }
  const std::size_t bytes = request.ByteSizeLong();
  if (bytes > kBatchBytesMax) {
    return Violation("requests",
                     absl::StrCat("must be at most ", kBatchBytesMax, " bytes in one batch, got ", bytes));
  }
  return std::nullopt;
}

}  // namespace

std::optional<AdmittedSpec> AdmitSpec(const v1::JobSpec& spec, const std::string& path,
                                      const HasInput& has_input,
                                      std::vector<v1::FieldViolation>& violations) {
  std::vector<v1::FieldViolation> wrong = CheckJobSpec(spec);
  if (wrong.empty() && !spec.first_frame_sha256().empty() && !has_input(spec.first_frame_sha256())) {
    wrong.push_back(Violation("first_frame_sha256", "names no input that UploadInput took; upload it again"));
  }
  for (v1::FieldViolation& violation : wrong) {
    violation.set_field(absl::StrCat(path, violation.field()));
    violations.push_back(std::move(violation));
  }
  if (!wrong.empty()) return std::nullopt;
  AdmittedSpec admitted{.spec = spec, .warnings = {}};
  Complete(admitted.spec, admitted.warnings);
  return admitted;
}

Admission Admit(const v1::SubmitJobRequest& request, const HasInput& has_input) {
  Admission admission;
  AdmitJob(request, "", has_input, admission);
  return admission;
}

Admission Admit(const v1::SubmitJobsRequest& request, const HasInput& has_input) {
  Admission admission;
  if (std::optional<v1::FieldViolation> violation = CheckBatch(request)) {
    admission.violations.push_back(*std::move(violation));
    return admission;
  }
  admission.jobs.reserve(static_cast<std::size_t>(request.requests_size()));
  for (int i = 0; i < request.requests_size(); ++i) {
    AdmitJob(request.requests(i), absl::StrCat("requests[", i, "]."), has_input, admission);
  }
  return admission;
}

}  // namespace ovi
