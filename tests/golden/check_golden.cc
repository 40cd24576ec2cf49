// check_golden DIR [--policy reference|as_executed|fp8|int8|low_rank] [--backend cpu|guard] [--test ID]
//
// fp8, int8 and low_rank are as_executed with the matrices of the transformer's blocks in that format.
//
// Computes every test of a golden set with the engine and holds it against the set's own limits. A line a
// tensor; exit 1 on a failure, on an output that was not computed or a test id that is not known, 2 on bad
// usage.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/guard_backend.h"
#include "tests/golden/golden_set.h"
#include "tests/golden/runner.h"
#include "worker/weights/compressed_matrix.h"

namespace ovi::golden {
namespace {

// A way to compute, and what the manifest's guidance calls it. Its errors lie between `active`, or it would
// not have been in use, and the guidance's limits.
struct Policy {
  const char* name;
  PrecisionPolicy precision;
  MatrixFormat block_matrices;
  const char* guidance;
  double active;
};
constexpr Policy kPolicies[] = {
    {"reference", PrecisionPolicy::kReference, {DType::kF32}, "", 0},
    {"as_executed", PrecisionPolicy::kAsExecuted, {DType::kBF16}, "bf16 weights and activations", 1e-3},
    {"fp8",
     PrecisionPolicy::kAsExecuted,
     {DType::kF8E4M3},
     "fp8 e4m3 per-channel scale, bf16 activations",
     0.02},
    {"int8",
     PrecisionPolicy::kAsExecuted,
     {DType::kI8},
     "int8 per-channel weights + per-token int8 activations, bf16",
     0.011},
    // Which the manifest does not know: to be as good as its fp8 without scales.
    {"low_rank", PrecisionPolicy::kAsExecuted, LowRankFormat(kDefaultRank),
     "fp8 e4m3 unscaled cast, fp32 activations", 0.03}};

struct Options {
  std::string folder;
  std::string only_test;
  Policy policy = kPolicies[0];
  bool guard = false;

  bool reference() const { return policy.precision == PrecisionPolicy::kReference; }
};

struct Difference {
  double rel_l2 = 0;
  double max_abs = 0;
  double psnr_db = 200;  // peak = range of the reference
};

Difference Compare(const std::vector<float>& got, const std::vector<float>& reference) {
  Difference d;
  double squares = 0;
  double norm = 0;
  const auto [low, high] = std::minmax_element(reference.begin(), reference.end());
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double difference = static_cast<double>(got[i]) - reference[i];
    squares += difference * difference;
    norm += static_cast<double>(reference[i]) * reference[i];
    // A NaN must not hide behind max(), which ignores it.
    d.max_abs = std::isnan(difference) ? HUGE_VAL : std::max(d.max_abs, std::abs(difference));
  }
  if (std::isnan(squares)) squares = HUGE_VAL;
  d.rel_l2 = norm > 0 ? std::sqrt(squares / norm) : std::sqrt(squares);
  const double range = reference.empty() ? 0 : static_cast<double>(*high) - *low;
  const double mean = reference.empty() ? 0 : squares / static_cast<double>(reference.size());
  if (mean > 0 && range > 0) d.psnr_db = std::min(200.0, 10 * std::log10(range * range / mean));
  return d;
}

bool Within(const Difference& d, const Tolerance& limit) {
  if (limit.exact) return d.max_abs == 0;
  return (!limit.rel_l2 || d.rel_l2 <= *limit.rel_l2) && (!limit.max_abs || d.max_abs <= *limit.max_abs);
}

std::string LimitText(const Tolerance& limit) {
  if (limit.exact) return "exact";
  if (!limit.rel_l2 && !limit.max_abs) return "none";
  return absl::StrFormat("%.2g / %.2g", limit.rel_l2.value_or(HUGE_VAL), limit.max_abs.value_or(HUGE_VAL));
}

// What the manifest says of a policy.
struct Guidance {
  double forward_rel_l2_max = HUGE_VAL;
  double psnr_db_min = 0;
};

Guidance GuidanceOf(const Set& set, const Policy& policy) {
  Guidance guidance;
  const nlohmann::json modes = set.manifest()
                                   .value("precision_guidance", nlohmann::json::object())
                                   .value("modes", nlohmann::json::array());
  for (const nlohmann::json& mode : modes) {
    if (mode.value("mode", "") != policy.guidance) continue;
    const nlohmann::json limits = mode.value("suggested_limits", nlohmann::json::object());
    guidance.forward_rel_l2_max = limits.value("forward_rel_l2_max", guidance.forward_rel_l2_max);
    guidance.psnr_db_min = limits.value("pipeline_psnr_db_min", guidance.psnr_db_min);
  }
  return guidance;
}

bool IsVelocity(const std::string& tensor) {
  return tensor.ends_with(".vid_out") || tensor.ends_with(".audio_out");
}

// Verdict on a tensor as executed: the guidance speaks of velocities and of final latents, of nothing else.
std::string GuidedVerdict(const std::string& tensor, const Difference& d, const Guidance& guidance,
                          double active, bool& failed) {
  if (IsVelocity(tensor)) {
    const bool pass = d.rel_l2 <= guidance.forward_rel_l2_max && d.rel_l2 >= active;
    failed |= !pass;
    return absl::StrFormat("guidance rel_l2 %.2g..%.2g  %s", active, guidance.forward_rel_l2_max,
                           pass ? "PASS" : "FAIL");
  }
  if (tensor.find("final_latents") != std::string::npos) {
    const bool pass = d.psnr_db >= guidance.psnr_db_min;
    failed |= !pass;
    return absl::StrFormat("guidance psnr >= %.0f dB  %s", guidance.psnr_db_min, pass ? "PASS" : "FAIL");
  }
  return "-";
}

class Checker {
 public:
  Checker(const Set& set, const Options& options)
      : set_(set), options_(options), guidance_(GuidanceOf(set, options.policy)) {}

  absl::Status RunTest(const Test& test, Backend& backend) {
    const Runner runner = FindRunner(test.id);
    if (!runner) {
      Fail(absl::StrCat(test.id, ": unknown test id"));
      return absl::OkStatus();
    }
    constexpr std::int64_t kArenaBytes = std::int64_t{1} << 30;
    OVI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBlock> block, backend.AllocateBlock(kArenaBytes));
    Arena arena(std::move(block));
    OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream, backend.NewStream());
    Results results;
    absl::Status status;
    try {
      status = runner({set_, test, Runtime{backend, *stream, arena}, options_.policy.precision,
                       options_.policy.block_matrices},
                      results);
    } catch (const nlohmann::json::exception& error) {
      status = absl::InvalidArgumentError(absl::StrCat("params: ", error.what()));
    }
    if (!status.ok()) Fail(absl::StrCat(test.id, ": ", status.ToString()));
    for (const std::string& output : test.outputs) CheckOutput(test.id, output, results);
    return absl::OkStatus();
  }

  int failures() const { return failures_; }
  int tensors() const { return tensors_; }

 private:
  void Fail(const std::string& line) {
    ++failures_;
    std::printf("%s  FAIL\n", line.c_str());
  }

  void CheckOutput(const std::string& id, const std::string& output, const Results& results) {
    ++tensors_;
    const absl::StatusOr<Reference> reference = set_.Tensor(output);
    if (!reference.ok())
      return Fail(absl::StrCat(id, "  ", output, "  ", std::string(reference.status().message())));
    const auto found = results.find(output);
    if (found == results.end()) return Fail(absl::StrCat(id, "  ", output, "  not computed"));
    if (found->second.size() != reference->values.size()) {
      return Fail(absl::StrCat(id, "  ", output, "  ", found->second.size(), " values, expected ",
                               reference->values.size()));
    }
    const Difference d = Compare(found->second, reference->values);
    // Whatever the limits are, and where there is none.
    if (std::isinf(d.max_abs)) return Fail(absl::StrCat(id, "  ", output, "  not finite"));
    std::string verdict;
    bool failed = false;
    if (options_.reference()) {
      const Tolerance limit = set_.ToleranceOf(output);
      failed = !Within(d, limit);
      verdict = absl::StrFormat("limits %s  %s", LimitText(limit), failed ? "FAIL" : "PASS");
    } else {
      verdict = GuidedVerdict(output, d, guidance_, options_.policy.active, failed);
    }
    failures_ += failed ? 1 : 0;
    std::printf("%-20s %-46s rel_l2 %.3e  max_abs %.3e  %s%s\n", id.c_str(), output.c_str(), d.rel_l2,
                d.max_abs, options_.reference() ? "" : absl::StrFormat("psnr %.1f dB  ", d.psnr_db).c_str(),
                verdict.c_str());
  }

  const Set& set_;
  const Options& options_;
  Guidance guidance_;
  int failures_ = 0;
  int tensors_ = 0;
};

// 0 or 1 as a program's exit code, or an error for unusable input.
absl::StatusOr<int> Check(const Options& options) {
  OVI_ASSIGN_OR_RETURN(const Set set, Set::Open(options.folder));
  std::unique_ptr<Backend> backend = MakeCpuBackend();
  if (options.guard) backend = MakeGuardBackend(std::move(backend));
  Checker checker(set, options);
  int tests = 0;
  for (const Test& test : set.tests()) {
    if (!options.only_test.empty() && test.id != options.only_test) continue;
    ++tests;
    OVI_RETURN_IF_ERROR(checker.RunTest(test, *backend));
  }
  if (tests == 0)
    return absl::InvalidArgumentError(absl::StrCat("no test ", options.only_test, " in ", options.folder));
  std::printf("%d tests, %d tensors, %d failures\n", tests, checker.tensors(), checker.failures());
  return checker.failures() == 0 ? 0 : 1;
}

// False on bad usage.
bool ParseOptions(int argc, char** argv, Options& options) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!argument.starts_with("--")) {
      if (!options.folder.empty()) return false;
      options.folder = argument;
      continue;
    }
    if (i + 1 == arguments.size()) return false;
    const std::string& value = arguments[++i];
    if (argument == "--policy") {
      const auto* const found = std::find_if(std::begin(kPolicies), std::end(kPolicies),
                                             [&value](const Policy& policy) { return value == policy.name; });
      if (found == std::end(kPolicies)) return false;
      options.policy = *found;
    } else if (argument == "--backend" && (value == "cpu" || value == "guard")) {
      options.guard = value == "guard";
    } else if (argument == "--test") {
      options.only_test = value;
    } else {
      return false;
    }
  }
  return !options.folder.empty();
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, options)) {
    std::fprintf(
        stderr,
        "usage: check_golden DIR [--policy reference|as_executed|fp8|int8|low_rank] [--backend cpu|guard] "
        "[--test ID]\n");
    return 2;
  }
  const absl::StatusOr<int> code = Check(options);
  if (!code.ok()) {
    std::fprintf(stderr, "check_golden: %s\n", std::string(code.status().message()).c_str());
    return 1;
  }
  return *code;
}

}  // namespace
}  // namespace ovi::golden

int main(int argc, char** argv) {
  return ovi::golden::Main(argc, argv);
}
