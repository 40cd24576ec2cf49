// The drawing of card_plan_view.h.
#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/format.h"
#include "client/ovictl/card_plan_view.h"
#include "client/ovictl/memory_style.h"

namespace ovi::client {
namespace {

constexpr double kBarWidth = 14, kBarGap = 3, kGroupGap = 26;
constexpr double kLeft = 60, kTop = 40, kHeight = 260, kFoot = 110;

std::string XmlText(std::string_view text) {
  return absl::StrReplaceAll(OneLine(text), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

struct TextStyle {
  const char* anchor = "start";
  double turned = 0;  // degrees
};

class Drawing {
 public:
  // With room for so many groups of three bars, up to `bytes_full`.
  Drawing(std::size_t groups, double bytes_full, const ByteUnit& unit)
      : width_(std::max(kLeft + (3 * (kBarWidth + kBarGap) + kGroupGap) * static_cast<double>(groups) + 20,
                        560.0)),
        bytes_full_(bytes_full),
        unit_(unit) {
    absl::StrAppendFormat(
        &svg_,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
        "font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
        width_, kTop + kHeight + kFoot);
  }

  void Title(std::string_view words) { Text(kLeft, 16, words, {}); }

  void Legend() {
    double x = kLeft;
    for (const auto& [use, style] : kUseStyles) {
      absl::StrAppendFormat(&svg_, "<rect x=\"%.1f\" y=\"22\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", x,
                            style.colour);
      Text(x + 14, 31, style.words, {});
      x += 30 + 6.2 * static_cast<double>(std::string_view(style.words).size());
    }
  }

  // Lines at 1, 2 or 5 times a power of ten, at most ten of them.
  void Axis() {
    const double most = bytes_full_ / unit_.bytes;
    double step = std::pow(10.0, std::floor(std::log10(most)));
    for (const double part : {0.1, 0.2, 0.5, 1.0}) {
      if (most / (step * part) > 10) continue;
      step *= part;
      break;
    }
    for (double value = 0; value <= most; value += step) {
      const double y = At(value * unit_.bytes);
      absl::StrAppendFormat(&svg_, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#dddddd\"/>\n", kLeft, y,
                            width_ - 10);
      Text(kLeft - 6, y + 4, absl::StrFormat("%g", value), {.anchor = "end"});
    }
  }

  // The stages of a row; pale where they do not fit.
  void Group(const PlanRow& row) {
    const double middle = x_ + 1.5 * (kBarWidth + kBarGap);
    for (const StageNeed& stage : row.plan.stages) {
      double top = 0;
      for (const auto& [use, style] : kUseStyles) {
        const auto bytes = static_cast<double>(BytesOf(stage, use));
        if (bytes == 0) continue;
        top += bytes;
        absl::StrAppendFormat(&svg_,
                              "<rect x=\"%.1f\" y=\"%.2f\" width=\"%.0f\" height=\"%.2f\" fill=\"%s\"%s/>\n",
                              x_, At(top), kBarWidth, kHeight * bytes / bytes_full_, style.colour,
                              row.fits ? "" : " fill-opacity=\"0.4\"");
      }
      x_ += kBarWidth + kBarGap;
    }
    x_ += kGroupGap;
    Text(middle, kTop + kHeight + 14, absl::StrCat(ToString(row.vram_mode), ", ", ToString(row.gpus)),
         {.anchor = "end", .turned = -40});
  }

  void Limit(std::int64_t bytes_max) {
    const double y = At(static_cast<double>(bytes_max));
    absl::StrAppendFormat(&svg_,
                          "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#cc3311\" stroke-dasharray=\"5 3\"/>\n",
                          kLeft, y, width_ - 10);
    Text(width_ - 10, y - 4, absl::StrCat("a job may take ", FormatBytes(bytes_max)), {.anchor = "end"});
  }

  std::string Finish() { return std::move(svg_) + "</svg>\n"; }

 private:
  double At(double bytes) const { return kTop + kHeight * (1 - bytes / bytes_full_); }

  void Text(double x, double y, std::string_view words, const TextStyle& style) {
    absl::StrAppendFormat(&svg_, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"", x, y, style.anchor);
    if (style.turned != 0) {
      absl::StrAppendFormat(&svg_, " transform=\"rotate(%.0f %.1f %.1f)\"", style.turned, x, y);
    }
    absl::StrAppend(&svg_, ">", XmlText(words), "</text>\n");
  }

  const double width_;
  const double bytes_full_;
  const ByteUnit& unit_;
  double x_ = kLeft + kGroupGap / 2;
  std::string svg_;
};

}  // namespace

std::string CardPlanSvg(const CardPlan& plan) {
  const ByteUnit unit = UnitFor(plan.table);
  std::int64_t most = plan.table.bytes_max;
  for (const PlanRow& row : plan.table.rows) most = std::max(most, row.plan.bytes_peak);
  Drawing drawing(plan.table.rows.size(), 1.05 * static_cast<double>(most), unit);
  drawing.Title(absl::StrCat(plan.model, " on ", plan.gpu ? plan.gpu->name : "a card", ": ", unit.name,
                             " on each GPU while it encodes, denoises, decodes"));
  drawing.Legend();
  drawing.Axis();
  for (const PlanRow& row : plan.table.rows) drawing.Group(row);
  drawing.Limit(plan.table.bytes_max);
  return drawing.Finish();
}

}  // namespace ovi::client
