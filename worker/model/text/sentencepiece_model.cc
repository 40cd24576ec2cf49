#include "worker/model/text/sentencepiece_model.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "worker/model/text/sentencepiece_library.h"

namespace ovi {
namespace {

// Beside an installed program, else where it was built.
std::string ModulePath() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path installed = program.parent_path() / "../lib/ovi/libovi_sentencepiece.so";
  return std::filesystem::is_regular_file(installed, error) ? installed.string() : OVI_SENTENCEPIECE_MODULE;
}

struct Module {
  ParseSentencePiece parse = nullptr;
  std::string error;
};

Module OpenModule() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kApart = 0;  // the sanitizers refuse it
#else
  constexpr int kApart = RTLD_DEEPBIND;
#endif
  Module module;
  void* handle = dlopen(ModulePath().c_str(), RTLD_NOW | RTLD_LOCAL | kApart);
  if (handle != nullptr) {
    module.parse = reinterpret_cast<ParseSentencePiece>(dlsym(handle, kParseSentencePieceName));
  }
  if (module.parse == nullptr) module.error = dlerror();
  return module;  // stays open until the process ends
}

}  // namespace

struct SentencePieceModel::Impl {
  std::unique_ptr<SentencePieceLibrary> library;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Parse(std::string_view bytes, std::string* error) {
  static const Module module = OpenModule();
  if (module.parse == nullptr) {
    *error = module.error;
    return nullptr;
  }
  auto impl = std::make_unique<Impl>();
  impl->library.reset(module.parse(bytes, error));
  if (impl->library == nullptr) return nullptr;
  return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(impl)));
}

bool SentencePieceModel::Encode(std::string_view text, std::vector<int>* ids, std::string* error) const {
  return impl_->library->Encode(text, ids, error);
}

int SentencePieceModel::piece_count() const {
  return impl_->library->piece_count();
}

int SentencePieceModel::eos_id() const {
  return impl_->library->eos_id();
}

std::vector<SentencePieceModel::Piece> SentencePieceModel::special_pieces() const {
  std::vector<Piece> pieces;
  for (int id = 0; id < piece_count(); ++id) {
    if (impl_->library->is_special(id)) pieces.push_back({impl_->library->piece(id), id});
  }
  return pieces;
}

}  // namespace ovi
