// Lines become pairs, pairs become ids: through pieces that are learned once, or through words.
#include "data/translation_files.h"

#include <algorithm>
#include <memory>

#include "data/cache_file.h"
#include "data/lines.h"
#include "data/pieces.h"
#include "data/utf8.h"
#include "data/vocabulary.h"
#include "engine/error.h"
#include "engine/rng.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

struct TextPair {
  std::string source, target;
};

struct TranslationFiles {
  fs::path train, validation, test;
  bool swapped = false;  // the target's line comes first
};

TranslationFiles find_files(const fs::path& dir, const std::string& set, bool to_english) {
  for (const bool swapped : {false, true}) {
    const char* sides = to_english == swapped ? "en_de" : "de_en";
    const auto file = [&](const char* half) { return dir / str(sides, "_", set, "_", half, "_cache.csv"); };
    if (fs::is_regular_file(file("train"))) return {file("train"), file("val"), file("test"), swapped};
  }
  throw DataError(str(dir.string(), ": neither en_de_", set, "_train_cache.csv nor de_en_", set,
                      "_train_cache.csv, expected one of them with _val_ and _test_"));
}

std::vector<TextPair> read_pairs(const fs::path& path, bool swapped) {
  LineReader lines(path);
  const auto next = [&] {
    if (!lines.next()) return false;
    if (find_invalid_utf8(lines.line()) != std::string_view::npos)
      lines.fail("a byte that is no UTF-8, expected a text in UTF-8");
    return true;
  };
  std::vector<TextPair> pairs;
  while (next()) {
    std::string first(lines.line());
    if (!next()) lines.fail("a sentence without the other language's, expected lines in pairs");
    std::string second(lines.line());
    if (swapped) std::swap(first, second);
    pairs.push_back({std::move(first), std::move(second)});
  }
  if (pairs.empty()) throw DataError(str(path.string(), ": empty, expected pairs of sentences"));
  return pairs;
}

/// Both languages' lines in the order of the file, so that either direction learns the same pieces.
Pieces learn_pieces(const std::vector<TextPair>& pairs, int64_t size, bool swapped) {
  size_t line = 0;
  return Pieces::train(size, [&](std::string_view& sentence) {
    if (line == 2 * pairs.size()) return false;
    const TextPair& pair = pairs[line / 2];
    sentence = (line % 2 == 1) == swapped ? pair.source : pair.target;
    ++line;
    return true;
  });
}

/// The pieces of a file in the cache or, where there is none that fits, new ones.
Pieces cached_pieces(const std::vector<TextPair>& pairs, const TranslationFiles& files, const ParallelOptions& options,
                     bool& from_cache) {
  const fs::path& of = files.train;
  const std::string name = str(of.string(), " ", options.pieces);
  const std::string key =
      str("pieces of ", name, "\n", fs::file_size(of), " ", fs::last_write_time(of).time_since_epoch().count());
  const fs::path path = options.cache / str(of.stem().string(), "-", std::hex, path_hash(name), ".pieces");
  if (const auto kept = options.cache.empty() ? std::nullopt : read_cache(path, key)) {
    from_cache = true;
    return Pieces::from_model(std::string(kept->begin(), kept->end()), path.string());
  }
  Pieces pieces = learn_pieces(pairs, options.pieces, files.swapped);
  const std::string& model = pieces.model();
  // Where this fails the next start learns them again.
  if (!options.cache.empty())
    write_cache(path, key, std::span(reinterpret_cast<const uint8_t*>(model.data()), model.size()));
  return pieces;
}

/// A sentence without a token is one unknown one.
std::vector<int32_t> or_unknown(std::vector<int32_t> ids) {
  if (ids.empty()) ids.push_back(PairTokens::kUnknown);
  return ids;
}

TextCoding coding_of(const Pieces& pieces) {
  return {.encode = [pieces](std::string_view text) { return or_unknown(pieces.encode(text)); },
          .decode = [pieces](std::span<const int32_t> ids) { return pieces.decode(ids); },
          .vocabulary = pieces.size()};
}

/// A word's id in a vocabulary, which has no marks, and a translator's differ by as many.
constexpr int32_t kMarks = PairTokens::kFirstWord - Vocabulary::kFirstWord;

TextCoding coding_of(Vocabulary words) {
  const auto shared = std::make_shared<const Vocabulary>(std::move(words));
  const auto encode = [shared](std::string_view text) {
    std::vector<int32_t> ids;
    for (const std::string_view word : split_words(text)) {
      const int32_t id = shared->id(word);
      ids.push_back(id == Vocabulary::kUnknown ? PairTokens::kUnknown : id + kMarks);
    }
    return or_unknown(std::move(ids));
  };
  const auto decode = [shared](std::span<const int32_t> ids) {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 0 || id >= shared->size() + kMarks)
        throw DataError(str("words: id ", id, ", expected one in [0, ", shared->size() + kMarks, ")"));
      if (id != PairTokens::kUnknown && id < PairTokens::kFirstWord) continue;
      if (!text.empty()) text += ' ';
      text += id == PairTokens::kUnknown ? "<unk>" : shared->words()[size_t(id - PairTokens::kFirstWord)];
    }
    return text;
  };
  return {.encode = encode, .decode = decode, .vocabulary = shared->size() + kMarks};
}

/// The words of one side that come twice or more in pairs that are short enough.
TextCoding coding_of_words(const std::vector<TextPair>& pairs, std::string TextPair::*side, int64_t max_len) {
  WordCounter counter;
  for (const TextPair& pair : pairs)
    if (int64_t(std::max(split_words(pair.source).size(), split_words(pair.target).size())) <= max_len)
      for (const std::string_view word : split_words(pair.*side)) counter.add(word);
  return coding_of(counter.most_frequent(counter.distinct() + PairTokens::kFirstWord, 2).vocabulary);
}

ParallelDataset empty_dataset(const TranslationText& text, const ParallelOptions& options) {
  ParallelDataset d;
  d.source_vocabulary = text.source.vocabulary;
  d.target_vocabulary = text.target.vocabulary;
  d.bucket = options.bucket;
  return d;
}

/// All pairs, and their target sides as text.
ParallelDataset encode_all(const std::vector<TextPair>& pairs, const TranslationText& text,
                           const ParallelOptions& options, std::vector<std::string>& references) {
  ParallelDataset d = empty_dataset(text, options);
  for (const TextPair& pair : pairs) {
    d.source.add(text.source.encode(pair.source));
    d.target.add(text.target.encode(pair.target));
    references.push_back(pair.target);
  }
  return d;
}

}  // namespace

ParallelSplit load_translation(const fs::path& dir, const std::string& set, const ParallelOptions& options) {
  if (options.pieces < 0 || options.max_len < 1 || options.bucket < 1)
    throw ConfigError(str("pairs of sentences: pieces ", options.pieces, ", max_len ", options.max_len, ", bucket ",
                          options.bucket, "; expected pieces of at least 0 and the others of at least 1"));
  const TranslationFiles files = find_files(dir, set, options.to_english);
  const std::vector<TextPair> train = read_pairs(files.train, files.swapped);
  ParallelSplit split;
  if (options.pieces > 0) {
    split.text.source = split.text.target = coding_of(cached_pieces(train, files, options, split.from_cache));
  } else {
    split.text.source = coding_of_words(train, &TextPair::source, options.max_len);
    split.text.target = coding_of_words(train, &TextPair::target, options.max_len);
  }
  split.train = empty_dataset(split.text, options);
  split.train.token_weights = options.token_weights;
  for (const TextPair& pair : train) {
    const std::vector<int32_t> source = split.text.source.encode(pair.source),
                               target = split.text.target.encode(pair.target);
    if (pair.source.empty() || pair.target.empty() ||
        int64_t(std::max(source.size(), target.size())) > options.max_len) {
      ++split.left_out;
      continue;
    }
    split.train.source.add(source);
    split.train.target.add(target);
  }
  if (split.train.size() == 0)
    throw DataError(str(files.train.string(), ": no pair of at most ", options.max_len,
                        " tokens a side, expected some to train on"));
  split.validation =
      encode_all(read_pairs(files.validation, files.swapped), split.text, options, split.text.validation);
  split.test = encode_all(read_pairs(files.test, files.swapped), split.text, options, split.text.test);
  return split;
}

}  // namespace sluice
