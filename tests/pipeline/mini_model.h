// The model that ships with the program, its reference runs, and broken copies of it, for tests.
#pragma once

#include <string>
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

// The shipped job, model and reference runs.
std::string MiniJob();
std::string MiniModel();
std::string GoldenFile(const std::string& name);

// A copy of the shipped model (folders of links to its files) whose parts a test may replace.
void LinkModel(const std::string& folder);

}  // namespace ovi
