// Submits as they come over the wire: what is refused, by which name, and what the scheduler gets.
#include "coordinator/rpc/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/status.h"
#include "ovi/v1/rpc_status.pb.h"
#include "worker/job/job_proto.h"

namespace ovi {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

bool NoInput(const std::string& /*sha256*/) {
  return false;
}

v1::SubmitJobRequest Good(const std::string& request_id = "") {
  v1::SubmitJobRequest request;
  request.mutable_spec()->set_model_name("mini-ovi");
  request.mutable_spec()->set_text_prompt("a cat");
  request.set_request_id(request_id);
  return request;
}

v1::SubmitJobsRequest BatchOf(int count) {
  v1::SubmitJobsRequest batch;
  for (int i = 0; i < count; ++i) *batch.add_requests() = Good();
  return batch;
}

std::vector<std::string> FieldsOf(const Admission& admission) {
  std::vector<std::string> fields;
  for (const v1::FieldViolation& violation : admission.violations) fields.push_back(violation.field());
  return fields;
}

TEST(Admit, MakesOneJobOfARequest) {
  const Admission admission = Admit(Good("mine"), NoInput);
  EXPECT_THAT(admission.violations, IsEmpty());
  ASSERT_THAT(admission.jobs, SizeIs(1));
  EXPECT_EQ(admission.jobs[0].request_id, "mine");
  EXPECT_EQ(admission.jobs[0].request.model_name, "mini-ovi");
  v1::JobSpec spec;
  ASSERT_TRUE(spec.ParseFromString(admission.jobs[0].spec));
  EXPECT_EQ(spec.mode(), v1::MODE_T2V) << "what the client left open is settled";
}

TEST(Admit, NamesEveryFieldOfEveryJobOfABatch) {
  v1::SubmitJobsRequest batch = BatchOf(20);
  batch.mutable_requests(3)->set_request_id("two words");
  batch.mutable_requests(17)->mutable_spec()->set_sample_steps(0);
  batch.mutable_requests(17)->mutable_spec()->set_priority(1001);
  batch.mutable_requests(19)->mutable_spec()->set_first_frame_sha256(std::string(64, 'a'));
  EXPECT_THAT(FieldsOf(Admit(batch, NoInput)),
              ElementsAre("requests[3].request_id", "requests[17].spec.priority",
                          "requests[17].spec.sample_steps", "requests[19].spec.first_frame_sha256"));
  EXPECT_THAT(FieldsOf(Admit(batch.requests(17), NoInput)),
              ElementsAre("spec.priority", "spec.sample_steps"));
}

TEST(Admit, TakesOneToAThousandJobs) {
  EXPECT_THAT(Admit(BatchOf(1000), NoInput).jobs, SizeIs(1000));
  for (const int count : {0, 1001}) {
    const Admission admission = Admit(BatchOf(count), NoInput);
    ASSERT_THAT(FieldsOf(admission), ElementsAre("requests"));
    EXPECT_EQ(admission.violations[0].description(), absl::StrCat("must be 1 to 1000 jobs, got ", count));
    EXPECT_THAT(admission.jobs, IsEmpty());
  }
}

TEST(Admit, TakesBatchesUpToTheirBytes) {
  v1::SubmitJobsRequest batch = BatchOf(150);
  const std::string prompt(60'000, 'x');
  for (v1::SubmitJobRequest& request : *batch.mutable_requests())
    request.mutable_spec()->set_text_prompt(prompt);
  ASSERT_GT(batch.ByteSizeLong(), kBatchBytesMax) << "or it tests nothing";
  const Admission refused = Admit(batch, NoInput);
  ASSERT_THAT(FieldsOf(refused), ElementsAre("requests"));
  EXPECT_THAT(refused.violations[0].description(),
              HasSubstr("must be at most 8388608 bytes in one batch, got 9"));
  batch.mutable_requests()->DeleteSubrange(100, 50);
  EXPECT_THAT(Admit(batch, NoInput).jobs, SizeIs(100));
}

// Else a client with gRPC's limits gets no word of what is wrong.
TEST(InvalidFields, FitIntoMetadataHoweverManyThereAre) {
  std::vector<v1::FieldViolation> violations;
  for (int i = 0; i < 1000; ++i) {
    violations.push_back(
        Violation(absl::StrCat("requests[", i, "].spec.sample_steps"), std::string(300, '\x7f')));
  }
  const grpc::Status status = InvalidFields(violations);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("(and 999 more)"));
  // As base64; what is not printable ASCII in the message takes three.
  EXPECT_LT(status.error_details().size() * 4 / 3 + 3 * status.error_message().size(), 8000u);
  v1::RpcStatus details;
  v1::ErrorDetail detail;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_TRUE(details.details(0).UnpackTo(&detail));
  EXPECT_GE(detail.field_violations_size(), 5);
}

}  // namespace
}  // namespace ovi
