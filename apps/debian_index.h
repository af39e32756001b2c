// Debian's package index as apt keeps it: finding its files, having apt fetch it and packages, reading it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace sluice {

/// Files of apt's lists for the component main, of every release that has both kinds, sorted.
struct IndexFiles {
  std::vector<std::filesystem::path> packages, descriptions;
};
IndexFiles find_index_files(const std::filesystem::path& lists);
/// Files with the descriptions in a language, "en" or "de", sorted.
std::vector<std::filesystem::path> find_translations(const std::filesystem::path& lists, const std::string& language);

/// apt with lists of its own: nothing of the system's is changed (many containers switch descriptions off in /etc/apt).
class Apt {
 public:
  /// Has apt fetch the index with descriptions in these languages, about 17 MB, into `dir`, from the system's own
  /// Debian sources. Throws DataError where there is no apt, no Debian source, or apt fails.
  Apt(const std::filesystem::path& dir, const std::vector<std::string>& languages);
  std::filesystem::path lists() const { return dir_ / "lists"; }
  /// Downloads packages and unpacks them below the folder that is returned; installs nothing. Throws DataError.
  std::filesystem::path unpack(const std::vector<std::string>& packages) const;

 private:
  std::string config() const { return (dir_ / "apt.conf").string(); }
  std::filesystem::path dir_;
};

/// Reads files of the lists behind a progress bar; apt unpacks those that are compressed. `on_text` gets a file's place
/// in `files` and its text. Throws DataError where that fails.
void read_index_files(const std::vector<std::filesystem::path>& files,
                      const std::function<void(size_t, const std::string&)>& on_text);

}  // namespace sluice
