// WMT16's English-German news in the files that the usual preparation for GNMT leaves: Moses' tokeniser and cleaning,
// then byte pair encoding of both languages (Sennrich, Haddow and Birch 2016).
#pragma once

#include <filesystem>

#include "data/translation_files.h"

namespace sluice {

/// From dir: vocab.bpe.32000, a piece a line; train.tok.clean.bpe.32000, newstest_dev.tok.clean.bpe.32000 and
/// newstest2014.tok.bpe.32000, each .en and .de, pieces of a word joined by "@@ "; and what newstest2014's translations
/// are compared with, newstest2014.de or .en, as published. Ids from PairTokens::kFirstWord on are the vocabulary's
/// lines, and so many behind them are words of no text that the ids are a multiple of 8, one to eight. Sources have
/// both marks, as in the original. Training pairs with an empty side or more than max_len pieces on one are left out,
/// the others are all kept. Texts to encode are as in the files, decoded ones as one writes them (detokenised()). Of
/// the options `pieces` and `cache` count for nothing. Throws ConfigError for options out of range, DataError (path,
/// line, what was found, what was expected) for files that are missing, odd or of different lengths.
ParallelSplit load_wmt16(const std::filesystem::path& dir, const ParallelOptions& options = {});

/// The pieces' words: "@@ " is taken out, and "@@" at the end.
std::string join_pieces(std::string_view text);

}  // namespace sluice
