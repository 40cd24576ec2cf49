// A card's plan for people, programs and documents. Pure.
#pragma once

#include <string>

#include "client/ovictl/card_plan.h"
#include "client/ovictl/terminal.h"

namespace ovi::client {

// Lines of at most 100 columns: the card, a table of all rows, the memory of the chosen one over the stages
// as bars, what is recommended.
std::string CardPlanText(const CardPlan& plan, const Screen& screen);

// One line; all figures in bytes and seconds, as numbers.
std::string CardPlanJson(const CardPlan& plan);

// The memory over the stages, one group of bars a row, as an SVG document.
std::string CardPlanSvg(const CardPlan& plan);

}  // namespace ovi::client
