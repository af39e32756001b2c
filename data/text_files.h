// Readers of labelled texts: AG News, DBpedia, IMDb as one table or as folders, Debian's topics, any CSV file.
//
// All clean, count and number words as data/text.h says, keep the result in options.cache, and throw DataError: path,
// line where there is one, what was found, what was expected.
#pragma once

#include "data/text.h"

namespace sluice {

/// AG News (Zhang, Zhao, LeCun 2015): train.csv and test.csv with "class 1..4","title","description" in `dir` or
/// dir/ag_news_csv. The text is the title, a space and the description.
TextSplit load_ag_news(const std::filesystem::path& dir, const TextOptions& options = {});
/// DBpedia (ibid.): "class 1..14","title","content" in `dir` or dir/dbpedia_csv. The text is the content alone.
TextSplit load_dbpedia(const std::filesystem::path& dir, const TextOptions& options = {});
/// What `sluice data fetch debian-topics` writes: AG News' layout, and the classes' names in classes.txt.
TextSplit load_debian_topics(const std::filesystem::path& dir, const TextOptions& options = {});

/// IMDb as one table, "IMDB Dataset.csv" or IMDB_Dataset.csv with the columns review and sentiment; `path` is the file
/// or its folder. Class 0 is positive, 1 negative. Four fifths, drawn by options.seed, are for training.
TextSplit load_imdb_csv(const std::filesystem::path& path, const TextOptions& options = {});
/// IMDb as folders (Maas et al. 2011): {train,test}/{pos,neg}/*.txt in `dir` or dir/aclImdb; classes as above.
TextSplit load_aclimdb(const std::filesystem::path& dir, const TextOptions& options = {});

/// Any table. Columns are called as its first line says or, without such a line, by their numbers from 1. Several text
/// columns are joined by spaces. Classes are what the training rows' label column holds, sorted.
struct CsvTable {
  std::filesystem::path train, test;  // no test: one fifth of train, drawn by options.seed
  std::string label = "label";
  std::vector<std::string> text{"text"};
  bool header = true;
};
TextSplit load_csv(const CsvTable& table, const TextOptions& options = {});

}  // namespace sluice
