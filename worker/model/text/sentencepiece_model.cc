#include "worker/model/text/sentencepiece_model.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "worker/model/text/sentencepiece_library.h"

#if defined(__SANITIZE_ADDRESS__)
// The module's `new` is libstdc++'s, over the sanitizer's malloc; of its `delete` libstdc++ calls the
// sanitizer's. It is the same memory under two labels.
extern "C" const char* __asan_default_options() {
  return "alloc_dealloc_mismatch=0";
}
#endif

namespace ovi {
namespace {

void AddId(void* to, int id) {
  static_cast<std::vector<int>*>(to)->push_back(id);
}
void SetText(void* to, std::string_view text) {
  static_cast<std::string*>(to)->assign(text);
}

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
  Module module;
  // DEEPBIND: its symbols are looked for in itself and its libraries first. dlmopen into the ordinary
  // namespace is dlopen, but for the sanitizers, which refuse dlopen with that flag because memory may then
  // pass between two mallocs; here none does.
  void* handle = dlmopen(LM_ID_BASE, ModulePath().c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
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
  impl->library.reset(module.parse(bytes, SetText, error));
  if (impl->library == nullptr) return nullptr;
  return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(impl)));
}

bool SentencePieceModel::Encode(std::string_view text, std::vector<int>* ids, std::string* error) const {
  ids->clear();
  return impl_->library->Encode(text, AddId, ids, SetText, error);
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
    if (!impl_->library->is_special(id)) continue;
    Piece& piece = pieces.emplace_back(Piece{.text = "", .id = id});
    impl_->library->GivePiece(id, SetText, &piece.text);
  }
  return pieces;
}

}  // namespace ovi
