// Reads word vectors in text form (GloVe's .txt, fastText's .vec) into the rows of an embedding.
#pragma once

#include <filesystem>

#include "data/vocabulary.h"

namespace sluice {

struct WordVectorOptions {
  uint64_t seed = 0;  // of the rows of words that the file lacks
  /// The matrix of the reference codes, with what is wrong in it: row r has the vector of the word with id r + 2, so
  /// each word starts with that of a rarer one and the padding with the most frequent word's; the last two rows and
  /// words that the file lacks are U[0, 1). Otherwise row r belongs to id r, the padding's row is zero, and the unknown
  /// word's and missing words' are N(0, s), s the standard deviation of all elements found.
  bool faithful = false;
};

struct WordVectors {
  int64_t dim = 0;
  std::vector<float> values;  // [vocabulary.size(), dim]
  int64_t found = 0;          // words of the vocabulary that the file has
};

/// `path` may be gzipped. One word a line, then its numbers, parted by single spaces; a first line of two fields is
/// fastText's header "count dim". Of a word that comes twice the first counts. A word may hold spaces (GloVe 840B).
/// Throws DataError "path:line: ..." for a line of another width than the first, for what is no number in a line of the
/// vocabulary, and DataError for a file that has none of its words.
WordVectors read_word_vectors(const std::filesystem::path& path, const Vocabulary& vocabulary,
                              const WordVectorOptions& options = {});

}  // namespace sluice
