#include "worker/group/group_files.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/part_file.h"
#include "base/secret.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"

namespace ovi {
namespace {

constexpr std::int64_t kFactsBytesMax = 64 * 1024;
constexpr std::size_t kNameBytesMax = 128;
constexpr std::size_t kTextBytesMax = 4096;
constexpr int kRanksMax = 64;
constexpr int kShareMax = 1000;
constexpr int kThreadsMax = 1024;
constexpr std::int64_t kBytesMax = std::int64_t{1} << 50;
constexpr std::int64_t kIdleTimeoutMsMax = std::int64_t{7} * 24 * 3600 * 1000;

absl::Status CheckRange(const char* field, std::int64_t value, std::int64_t min, std::int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " must be from ", min, " to ", max, ", got ", value));
}

// A name that can be part of a path without leading out of its folder.
absl::Status CheckName(const char* field, const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (plain && !name.empty() && name.size() <= kNameBytesMax && name.front() != '.') return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " must be 1 to ", kNameBytesMax,
                                                 " letters, digits, - _ . and not begin with a dot, got ",
                                                 Quoted(name)));
}

absl::Status CheckText(const char* field, const std::string& text) {
  const bool control =
      std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (text.size() <= kTextBytesMax && !control && IsValidUtf8(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " must be at most ", kTextBytesMax,
                                                 " bytes of UTF-8 without control characters, got ",
                                                 Quoted(text)));
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<PartFile> file, PartFile::Create(path));
  OVI_RETURN_IF_ERROR(file->Write({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
  return file->Commit();
}

// Takes the fields of one JSON object; all of them are required. Keeps the first error.
class FactsReader {
 public:
  explicit FactsReader(const nlohmann::json& object) : object_(object) {}

  void Read(const char* field, std::string& out) {
    if (const nlohmann::json* value = Find(field, "text", [](const auto& v) { return v.is_string(); }))
      out = value->get<std::string>();
  }
  void Read(const char* field, bool& out) {
    if (const nlohmann::json* value =
            Find(field, "true or false", [](const auto& v) { return v.is_boolean(); }))
      out = value->get<bool>();
  }
  void Read(const char* field, std::int64_t& out) {
    if (const nlohmann::json* value = Find(field, "a whole number", IsInt64))
      out = value->get<std::int64_t>();
  }
  void Read(const char* field, int& out) {
    std::int64_t wide = 0;
    Read(field, wide);
    if (wide == static_cast<int>(wide)) {
      out = static_cast<int>(wide);
    } else {
      Fail(field, "is too large");
    }
  }
  void Read(const char* field, std::vector<int>& out) {
    const nlohmann::json* list = Find(field, "a list of whole numbers", [](const auto& v) {
      return v.is_array() && std::all_of(v.begin(), v.end(), [](const nlohmann::json& item) {
               return IsInt64(item) && item.get<std::int64_t>() == static_cast<int>(item.get<std::int64_t>());
             });
    });
    if (list != nullptr) out = list->get<std::vector<int>>();
  }

  const absl::Status& status() const { return status_; }

 private:
  static bool IsInt64(const nlohmann::json& value) {
    // Numbers above the range of int64 are kept as unsigned ones.
    return value.is_number_integer() &&
           (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
  }
  template <typename Is>
  const nlohmann::json* Find(const char* field, const char* kind, const Is& is) {
    const auto found = object_.find(field);
    if (found == object_.end()) {
      Fail(field, "is missing");
    } else if (!is(*found)) {
      Fail(field, absl::StrCat("must be ", kind));
    } else {
      return &*found;
    }
    return nullptr;
  }
  void Fail(const char* field, const std::string& reason) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(field, " ", reason));
  }

  const nlohmann::json& object_;
  absl::Status status_;
};

absl::StatusOr<GroupFacts> ParseFacts(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  GroupFacts facts;
  FactsReader reader(json);
  reader.Read("group_id", facts.group_id);
  reader.Read("node", facts.node);
  reader.Read("gpu_indices", facts.gpu_indices);
  reader.Read("bytes_per_rank", facts.bytes_per_rank);
  reader.Read("rank_shares", facts.rank_shares);
  reader.Read("model_name", facts.model_name);
  reader.Read("models_dir", facts.models_dir);
  reader.Read("weights_dir", facts.weights_dir);
  reader.Read("coordinator_address", facts.coordinator_address);
  reader.Read("idle_timeout_ms", facts.idle_timeout_ms);
  reader.Read("insecure", facts.insecure);
  reader.Read("threads_per_rank", facts.threads_per_rank);
  OVI_RETURN_IF_ERROR(reader.status());
  OVI_RETURN_IF_ERROR(CheckGroupFacts(facts));
  return facts;
}

std::string FactsPath(const std::string& dir) {
  return absl::StrCat(dir, "/group.json");
}
std::string TokenPath(const std::string& dir) {
  return absl::StrCat(dir, "/token");
}

}  // namespace

absl::Status CheckGroupFacts(const GroupFacts& facts) {
  OVI_RETURN_IF_ERROR(CheckName("group_id", facts.group_id));
  OVI_RETURN_IF_ERROR(CheckName("node", facts.node));
  OVI_RETURN_IF_ERROR(CheckName("model_name", facts.model_name));
  OVI_RETURN_IF_ERROR(
      CheckRange("gpu_indices: how many", static_cast<std::int64_t>(facts.gpu_indices.size()), 1, kRanksMax));
  for (const int index : facts.gpu_indices) OVI_RETURN_IF_ERROR(CheckRange("gpu_indices", index, 0, 1023));
  OVI_RETURN_IF_ERROR(CheckRange("bytes_per_rank", facts.bytes_per_rank, 1, kBytesMax));
  if (!facts.rank_shares.empty() && facts.rank_shares.size() != facts.gpu_indices.size()) {
    return absl::InvalidArgumentError(absl::StrCat("rank_shares must be none or one for each of ",
                                                   facts.gpu_indices.size(), " ranks, got ",
                                                   facts.rank_shares.size()));
  }
  for (const int share : facts.rank_shares)
    OVI_RETURN_IF_ERROR(CheckRange("rank_shares", share, 1, kShareMax));
  OVI_RETURN_IF_ERROR(CheckText("models_dir", facts.models_dir));
  OVI_RETURN_IF_ERROR(CheckText("weights_dir", facts.weights_dir));
  OVI_RETURN_IF_ERROR(CheckText("coordinator_address", facts.coordinator_address));
  if (facts.coordinator_address.empty()) return absl::InvalidArgumentError("coordinator_address is empty");
  OVI_RETURN_IF_ERROR(CheckRange("idle_timeout_ms", facts.idle_timeout_ms, 1, kIdleTimeoutMsMax));
  return CheckRange("threads_per_rank", facts.threads_per_rank, 0, kThreadsMax);
}

absl::Status WriteGroupFiles(const std::string& dir, const GroupFacts& facts, const std::string& token) {
  OVI_RETURN_IF_ERROR(CheckGroupFacts(facts));
  const nlohmann::json json = {{"group_id", facts.group_id},
                               {"node", facts.node},
                               {"gpu_indices", facts.gpu_indices},
                               {"bytes_per_rank", facts.bytes_per_rank},
                               {"rank_shares", facts.rank_shares},
                               {"model_name", facts.model_name},
                               {"models_dir", facts.models_dir},
                               {"weights_dir", facts.weights_dir},
                               {"coordinator_address", facts.coordinator_address},
                               {"idle_timeout_ms", facts.idle_timeout_ms},
                               {"insecure", facts.insecure},
                               {"threads_per_rank", facts.threads_per_rank}};
  OVI_RETURN_IF_ERROR(WriteSecretFile(TokenPath(dir), token));
  return WriteFile(FactsPath(dir), json.dump(2) + "\n");
}

absl::StatusOr<GroupFacts> ReadGroupFacts(const std::string& dir) {
  OVI_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(FactsPath(dir), kFactsBytesMax));
  absl::StatusOr<GroupFacts> facts = ParseFacts(text);
  if (!facts.ok()) return Annotate(facts.status(), FactsPath(dir));
  return facts;
}

absl::StatusOr<std::string> ReadGroupToken(const std::string& dir) {
  return ReadSecretFile(TokenPath(dir));
}

}  // namespace ovi
