// The ODE solvers a job may ask for: solver_name unipc, dpm++, euler.
#pragma once

namespace ovi {

enum class SolverKind { kUniPc, kDpmPlusPlus, kEuler };

}  // namespace ovi
