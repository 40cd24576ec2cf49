#include <chrono>
#include <cstdio>

#include "base/format.h"
#include "worker/plan/clip_plan.h"
using namespace ovi;
int main(int argc, char** argv) {
  for (const char* name : {"720x720_5s", "960x960_10s"}) {
    auto m = OpenModelConfig(std::string("/work/main/configs/models/") + name);
    if (!m.ok()) {
      puts(m.status().ToString().c_str());
      return 1;
    }
    for (auto mode : {VramMode::kStandard, VramMode::kFp8, VramMode::kFp8Offload, VramMode::kUltraLow})
      for (int w : {1, 4}) {
        JobSpec job;
        job.sample_steps = 1;
        job.mode = Mode::kT2v;
        job.size = Size{m->spec.default_height, m->spec.default_width};
        job.vram_mode = mode;
        auto clip = ResolveClip(job, {.text = "a"}, 0, *m, std::nullopt);
        if (!clip.ok()) {
          puts(clip.status().ToString().c_str());
          return 1;
        }
        auto t = std::chrono::steady_clock::now();
        PlannedRank r;
        if (w == 4) r.topology = {.world_size = 4, .cfg = 2, .sp = 2, .fsdp = true};
        auto p = SettleClip(*m, *clip, r, 0);
        if (!p.ok()) {
          puts(p.status().ToString().c_str());
          return 1;
        }
        printf("%s %s x%d %ldx%ld %.2fs: host %s", name, ToString(mode), w, clip->size.height,
               clip->size.width, std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count(),
               FormatBytes(p->plan.host_bytes).c_str());
        for (auto& s : p->plan.stages) printf(" %d=%.3fGiB", (int)s.stage, s.bytes / 1073741824.0);
        puts("");
        if (argc > 1) return 0;
      }
  }
}
