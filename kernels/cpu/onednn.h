// Shared edges of oneDNN: the engine, exceptions turned into Status, and a bounded cache of prepared
// primitives.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/features.h"
#include "kernels/dtype.h"

namespace ovi::cpu {

// OVI_CPU_ISA holds for oneDNN as well. Takes effect only before its first primitive, hence here.
inline dnnl::engine MakeDnnlEngine() {
  const Features& features = CpuFeatures();
  if (!features.amx) {
    dnnl::set_max_cpu_isa(features.avx512_bf16 ? dnnl::cpu_isa::avx512_core_bf16
                          : features.avx512    ? dnnl::cpu_isa::avx512_core_vnni
                                               : dnnl::cpu_isa::avx2);
  }
  return {dnnl::engine::kind::cpu, 0};
}

inline dnnl::engine& DnnlEngine() {
  static dnnl::engine engine = MakeDnnlEngine();
  return engine;
}

inline dnnl::memory::data_type DnnlType(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return dnnl::memory::data_type::bf16;
    case DType::kI8:
      return dnnl::memory::data_type::s8;
    case DType::kI32:
      return dnnl::memory::data_type::s32;
    default:
      return dnnl::memory::data_type::f32;
  }
}

// Runs body(), which may throw dnnl::error or bad_alloc, and returns what it threw as a Status.
template <typename Body>
absl::Status CatchDnnl(const char* what, const Body& body) {
  try {
    return body();
  } catch (const dnnl::error& error) {
    return absl::InternalError(
        absl::StrCat(what, ": oneDNN status ", static_cast<int>(error.status), ": ", error.message));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": out of host memory"));
  }
}

// Least recently used values by key. Thread-safe; a value stays alive while somebody holds it.
template <typename Value>
class PrimitiveCache {
 public:
  using Key = std::vector<std::int64_t>;

  explicit PrimitiveCache(std::size_t entries_max) : entries_max_(entries_max) {}

  // The value of `key`, made by make() when it is not there.
  template <typename Make>
  std::shared_ptr<const Value> Get(const Key& key, const Make& make) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = index_.find(key);
    if (found != index_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return found->second->second;
    }
    auto value = std::make_shared<const Value>(make());
    order_.emplace_front(key, value);
    index_[key] = order_.begin();
    if (order_.size() > entries_max_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return value;
  }

 private:
  using Entry = std::pair<Key, std::shared_ptr<const Value>>;
  std::size_t entries_max_;
  std::mutex mutex_;
  std::list<Entry> order_;
  std::map<Key, typename std::list<Entry>::iterator> index_;
};

}  // namespace ovi::cpu
