// Texts to ids, through the search, and back.
#include "apps/translation.h"

#include "apps/progress.h"
#include "data/parallel.h"
#include "engine/error.h"

namespace sluice {
namespace {

const TranslationText& text_of(const Training& training) {
  if (training.text() != nullptr) return *training.text();
  throw ConfigError(str("model=", training.config().model, " does not translate; expected a run of a translator"));
}

std::vector<std::string> translate_ids(const Training& training, const std::vector<std::vector<int32_t>>& sources,
                                       const SearchOptions& options) {
  const TranslationText& text = text_of(training);
  Progress bar("translating", int64_t(std::max<size_t>(1, sources.size())), stderr, "sentences");
  const auto ids = training.translate(sources, options, [&](int64_t done) { bar.update(done); });
  bar.finish();
  std::vector<std::string> all;
  for (const std::vector<int32_t>& t : ids) all.push_back(text.target.decode(t));
  return all;
}

}  // namespace

std::vector<std::string> translate_test_set(const Training& training, const SearchOptions& options) {
  text_of(training);
  const auto& pairs = dynamic_cast<const ParallelDataset&>(training.test_samples());
  std::vector<std::vector<int32_t>> sources;
  for (int64_t i = 0; i < pairs.size(); ++i) sources.emplace_back(pairs.source[i].begin(), pairs.source[i].end());
  return translate_ids(training, sources, options);
}

std::vector<std::string> translate_texts(const Training& training, const std::vector<std::string>& texts,
                                         const SearchOptions& options) {
  const TranslationText& text = text_of(training);
  std::vector<std::vector<int32_t>> sources;
  std::vector<size_t> at;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].find_first_not_of(" \t") == std::string::npos) continue;
    sources.push_back(text.source.encode(texts[i]));
    at.push_back(i);
  }
  std::vector<std::string> all(texts.size());
  std::vector<std::string> found = translate_ids(training, sources, options);
  for (size_t i = 0; i < at.size(); ++i) all[at[i]] = std::move(found[i]);
  return all;
}

BleuScore bleu_of(const std::vector<std::string>& translations, const std::vector<std::string>& references) {
  if (translations.size() != references.size())
    throw DataError(str("BLEU: ", translations.size(), " translations of ", references.size(), " references"));
  BleuScore score;
  for (size_t i = 0; i < translations.size(); ++i) score.add(translations[i], references[i]);
  return score;
}

}  // namespace sluice
