// Debian's package index as apt keeps it: finding its files, having apt fetch it, reading it.
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

/// Has apt fetch the index with English descriptions, about 17 MB, into `dir`, from the system's own Debian sources and
/// with nothing of the system's changed (many containers switch descriptions off in /etc/apt). Returns the folder of
/// the lists. Throws DataError where there is no apt, no Debian source, or apt fails.
std::filesystem::path fetch_index(const std::filesystem::path& dir);

/// A file of the lists; apt unpacks those that are compressed. `on_bytes` hears how many bytes have been read so far.
/// Throws DataError where that fails.
std::string read_index_file(const std::filesystem::path& file, const std::function<void(int64_t)>& on_bytes);

}  // namespace sluice
