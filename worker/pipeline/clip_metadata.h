// What a finished MP4 says about how it was made.
#pragma once

#include <map>
#include <string>

#include "worker/job/job_spec.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"

namespace ovi {

// Tags for Mp4Options::metadata. Pure.
std::map<std::string, std::string> ClipMetadata(const ModelSpec& model, const JobSpec& job,
                                                const ClipRequest& clip, const PromptItem& item);

}  // namespace ovi
