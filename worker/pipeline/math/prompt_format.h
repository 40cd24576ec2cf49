// The tags a model wants in its prompt, and the name of the file a prompt's video gets. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ovi {

// How a model was taught to find the sound description. Speech is <S>...<E> in both.
enum class PromptStyle {
  kAudcapTags,  // 720x720: <AUDCAP>rain<ENDAUDCAP>
  kAudioColon,  // 960x960 and mini-ovi: Audio: rain
};

// The positive prompt in the model's own style; a prompt that has the other one is rewritten, anything else
// is left alone. kAudcapTags takes all that follows the first "Audio:" as the sound. Negative prompts are not
// formatted.
std::string FormatPrompt(std::string_view text, PromptStyle style);

struct OutputName {
  std::string_view prompt;  // as the user wrote it
  int height;               // as configured, not as snapped
  int width;
  std::int64_t seed;  // of this very video: the job's seed plus its index
  int rank;
};

// "a_cat_sings_704x1280_103_0.mp4": tags removed, spaces and slashes made '_', cut to 50 characters. Where
// the original would put control characters into a file name, this has '_' as well.
std::string OutputFileName(const OutputName& name);

}  // namespace ovi
