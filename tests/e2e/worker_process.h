// What the end-to-end tests share: the program under test as a child process, folders that go away, model
// folders with one file of them broken.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ovi {

// A folder of its own for one test, removed with all that is in it.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Writes a file into it and returns its path.
  std::string Write(const std::string& name, const std::string& bytes) const;
  std::vector<std::string> Files() const;                        // names, recursively, sorted
  std::vector<std::string> Files(const std::string& end) const;  // those that end so

 private:
  std::string path_;
};

struct WorkerRun {
  int exit_code = -1;  // -1 where it was killed or did not end in time
  std::string out;
  std::string err;  // its last 8 KB
};

using Environment = std::vector<std::pair<std::string, std::string>>;

// argv of `ovi-worker args...` with the shipped models and `extra` environment variables.
std::vector<std::string> WorkerArgv(const std::vector<std::string>& args, const Environment& extra = {});
// Runs it to its end.
WorkerRun RunWorker(const std::vector<std::string>& args, const Environment& extra = {});

// The shipped job, model and reference runs.
std::string MiniJob();
std::string MiniModel();
std::string GoldenFile(const std::string& name);

// A copy of the shipped model (of links to its files) whose parts a test may replace.
void LinkModel(const std::string& folder);

std::vector<std::string> Lines(const std::string& text);

}  // namespace ovi
