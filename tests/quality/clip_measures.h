// How far one clip is from another that should be the same: of the picture, peak signal to noise and
// structural similarity; of the sound, log-spectral distance. Pure functions.
#pragma once

#include <span>

#include "tests/e2e/clip_checks.h"

namespace ovi {

// |a - b| / |a| in L2; 0 where they are equal, infinite where only a is all zeros.
double RelativeError(std::span<const float> a, std::span<const float> b);

// Over all bytes of all frames, which must be of one size and count.
double MeanSquaredError(const Frames& a, const Frames& b);

// 10 log10(255^2 / mean_squared_error) in dB; infinite for none.
double Psnr(double mean_squared_error);

// Structural similarity (Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 13(4), 2004) of the luma, 1 for equal
// frames: with a Gaussian window of 11x11 and sigma 1.5, at each place where the window lies inside,
//
//   (2 ma mb + C1) (2 cov + C2) / ((ma^2 + mb^2 + C1) (va + vb + C2)),   C1 = (0.01 * 255)^2, C2 = (0.03 *
//   255)^2
//
// the mean of which over all places and all frames it is. Luma: 0.299 R + 0.587 G + 0.114 B. Frames of one
// size and count, at least 11 pixels high and wide.
double Ssim(const Frames& a, const Frames& b);

// Windows of 1024 samples (Hann), each 256 after the last, as many as fit; one, with silence behind, where
// the sound is shorter. A window's distance is the root of the mean, over the 513 frequencies, of the squared
// difference of levels in dB; the result is the mean over windows. A sine of amplitude 1 has level 0, and
// what is below -60 counts as -60: further down the rounding of a vocoder in bf16 is all there is to see
// (between two runs of mini-ovi that sound the same -80 gave 1.6 dB, -60 gives 0.05). Sounds of one length.
double LogSpectralDistance(std::span<const float> a, std::span<const float> b);

}  // namespace ovi
