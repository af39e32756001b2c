// Tokenised data kept in a file, so that the second opening reads no text.
#pragma once

#include <functional>

#include "data/text.h"

namespace sluice {

/// What a split is made of.
struct TextSources {
  std::string name;                            // of the data set; the cache file's name starts with it
  std::vector<std::filesystem::path> paths{};  // files; they count by name, size and time of change
  std::string settings{};                      // how they are read, beside TextOptions
};

/// The split of the cache file that fits sources and options or, where there is none, the one that `make` gives, which
/// is then kept. A file that is damaged or of other sources is no hit. The file is written under a temporary name and
/// put in place at once; where that fails nothing is kept. Throws DataError for a source that does not exist.
TextSplit cached_split(const TextSources& sources, const TextOptions& options, const std::function<TextSplit()>& make);

}  // namespace sluice
