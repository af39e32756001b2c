// Labelled texts as token ids in host memory, and what turns them into micro-batches.
#pragma once

#include <filesystem>
#include <memory>

#include "data/clean.h"
#include "data/sample_source.h"
#include "data/vocabulary.h"

namespace sluice {

/// Fill it by hand for a dataset of one's own; Loader checks it.
struct TextDataset : SampleSource {
  std::vector<int32_t> tokens;           // of all documents, one after another
  std::vector<int64_t> offsets{0};       // [N + 1]: document i is tokens [offsets[i], offsets[i + 1]), at least one
  std::vector<int32_t> labels;           // [N], in [0, classes)
  std::vector<std::string> class_names;  // one a class
  int64_t vocabulary_size = 0;           // tokens are in [1, vocabulary_size)
  /// Documents of a micro-batch are padded on the right to the longest of them, rounded up to a multiple of this: few
  /// different shapes. 1 is the reference's padding, which matters to layers that average over padding, too.
  int64_t bucket = 8;

  std::span<const int32_t> document(int64_t i) const {
    return std::span(tokens).subspan(size_t(offsets[size_t(i)]), size_t(length(i)));
  }
  int64_t length(int64_t i) const override { return offsets[size_t(i) + 1] - offsets[size_t(i)]; }
  int64_t size() const override { return int64_t(labels.size()); }
  int64_t classes() const override { return int64_t(class_names.size()); }
  void expect_sound(const std::string& where) const override;
  /// "tokens" [b, T] i32, padded with Vocabulary::kPad, and "labels" [b] i32.
  std::vector<BatchPort> ports(const BatchDraw& draw) const override;
  void fill(const BatchDraw& draw, std::span<const Ref> out) const override;
};

struct TextOptions {
  int64_t max_len = 128;  // tokens of a document that are kept, the first ones
  int64_t min_len = 1;    // training documents with at most so many words are left out; test documents are all kept
  int64_t vocabulary = Vocabulary::kDefaultSize;  // ids, padding and unknown words included
  int64_t bucket = 8;                             // as in TextDataset
  uint64_t seed = 0;                              // of a split that the data set does not bring along
  /// The reference codes' reading, with what is wrong in it: the backslashes that stand for line breaks in AG News are
  /// deleted like other punctuation, which joins the words beside them.
  bool faithful = false;
  /// Where tokenised data are kept for the next time; empty: nowhere. A file there serves as long as the sources'
  /// names, sizes and times of change and these options are the same. A folder that cannot be written costs only the
  /// speed.
  std::filesystem::path cache{};
};
/// Throws ConfigError for lengths or sizes out of range.
void check(const TextOptions& options);

struct TextSplit {
  TextDataset train, test;
  Vocabulary vocabulary;                     // of the training documents
  int64_t distinct_words = 0, left_out = 0;  // of the training documents: words before ranking, documents too short
  bool from_cache = false;
};

/// Builds a split from texts, all training documents before the first test document. A document without a word becomes
/// one unknown word, so that no mean over a document is 0 / 0.
class TextSplitBuilder {
 public:
  /// Throws ConfigError for options out of range.
  TextSplitBuilder(std::vector<std::string> class_names, const TextOptions& options);
  /// `text` is valid UTF-8; `label` is in [0, classes).
  void add_train(std::string_view text, int32_t label);
  void add_test(std::string_view text, int32_t label);
  /// `where` names the data. Throws DataError for a class without a training document and a half without any document.
  TextSplit finish(const std::string& where);

 private:
  void rank_words();
  TextOptions options_;
  Cleaner cleaner_;
  WordCounter counter_;
  TextSplit split_;
  bool ranked_ = false;
};

}  // namespace sluice
