// What `sluice eval` and `sluice translate` do with a trained translator.
#pragma once

#include "apps/training.h"
#include "data/bleu.h"

namespace sluice {

/// Translations of the test set's sources, in its order, with a bar on the standard error.
std::vector<std::string> translate_test_set(const Training& training, const SearchOptions& options);
/// The same of any texts, which are valid UTF-8; an empty one stays empty. Throws ConfigError where the network does
/// not translate.
std::vector<std::string> translate_texts(const Training& training, const std::vector<std::string>& texts,
                                         const SearchOptions& options);

BleuScore bleu_of(const std::vector<std::string>& translations, const std::vector<std::string>& references);

}  // namespace sluice
