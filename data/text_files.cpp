// The layouts of text files, each a few lines over the CSV reader and the builder of splits.
#include "data/text_files.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>

#include "data/csv.h"
#include "data/loader.h"
#include "data/text_cache.h"
#include "data/utf8.h"
#include "engine/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

fs::path inner_folder(const fs::path& dir, const char* inner, const char* holding) {
  if (!fs::is_directory(dir)) throw DataError(str(dir.string(), ": no such folder, expected one with ", holding));
  return fs::is_directory(dir / inner) ? dir / inner : dir;
}

/// The layout of Zhang et al.: no header, "class from 1","title","content".
struct ClassCsv {
  std::string name;
  fs::path dir;
  std::vector<std::string> classes;
  bool with_title = true;
  bool backslash_is_space = false;

  TextSplit load(const TextOptions& options) const {
    const TextSources sources{.name = name, .paths = {dir / "train.csv", dir / "test.csv"}, .settings = settings()};
    return cached_split(sources, options, [&] {
      TextSplitBuilder builder(classes, options);
      read(sources.paths[0], [&](std::string_view text, int32_t label) { builder.add_train(text, label); });
      read(sources.paths[1], [&](std::string_view text, int32_t label) { builder.add_test(text, label); });
      return builder.finish(sources.paths[0].string());
    });
  }

  std::string settings() const {
    std::string all;
    for (const std::string& c : classes) all += c + ",";
    return all;
  }

  template <class Add>
  void read(const fs::path& path, Add&& add) const {
    CsvReader csv(path, 3);
    std::string text;
    while (csv.next()) {
      const std::string_view label = csv.fields()[0];
      int32_t number = 0;
      const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), number);
      if (error != std::errc() || end != label.data() + label.size() || number < 1 || number > int32_t(classes.size()))
        csv.fail(str("class '", label, "', expected a number from 1 to ", classes.size()));
      text.clear();
      if (with_title) text.append(csv.fields()[1]).append(" ");
      text += csv.fields()[2];
      if (backslash_is_space) std::replace(text.begin(), text.end(), '\\', ' ');
      add(text, number - 1);
    }
  }
};

struct LabelledText {
  std::string text;
  int32_t label = 0;
};

/// Four fifths for training, by seed; both parts in the order of the rows.
TextSplit drawn_split(std::vector<std::string> classes, const std::vector<LabelledText>& rows,
                      const TextOptions& options, const std::string& where) {
  const auto n = int64_t(rows.size());
  const std::vector<int32_t> order = epoch_order(n, options.seed, 0);
  std::vector<bool> train(rows.size(), false);
  for (int64_t i = 0; i < n * 4 / 5; ++i) train[size_t(order[size_t(i)])] = true;
  TextSplitBuilder builder(std::move(classes), options);
  for (size_t i = 0; i < rows.size(); ++i)
    if (train[i]) builder.add_train(rows[i].text, rows[i].label);
  for (size_t i = 0; i < rows.size(); ++i)
    if (!train[i]) builder.add_test(rows[i].text, rows[i].label);
  return builder.finish(where);
}

size_t column(const std::vector<std::string>& names, const std::string& wanted, const CsvReader& csv) {
  std::string all;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == wanted) return i;
    all += str(i == 0 ? "" : ", ", names[i]);
  }
  csv.fail(str("no column '", wanted, "', expected it among ", all));
}

/// Rows of a table; labels are numbers of `classes`, which grow while `open`.
struct TableReader {
  const CsvTable& table;
  std::map<std::string, int32_t, std::less<>> classes{};
  bool open = true;

  std::vector<LabelledText> read(const fs::path& path) {
    CsvReader csv(path);
    std::vector<LabelledText> rows;
    size_t label = 0;
    std::vector<size_t> text;
    for (bool first = true; csv.next(); first = false) {
      if (first) {
        std::vector<std::string> names;
        for (const std::string_view name : csv.fields())
          names.push_back(table.header ? std::string(name) : std::to_string(names.size() + 1));
        label = column(names, table.label, csv);
        for (const std::string& t : table.text) text.push_back(column(names, t, csv));
        if (table.header) continue;
      }
      LabelledText row{.text = {}, .label = class_of(csv.fields()[label], csv)};
      for (const size_t t : text) row.text.append(row.text.empty() ? "" : " ").append(csv.fields()[t]);
      rows.push_back(std::move(row));
    }
    return rows;
  }

  int32_t class_of(std::string_view name, const CsvReader& csv) {
    if (const auto it = classes.find(name); it != classes.end()) return it->second;
    if (open) return classes.emplace(name, int32_t(classes.size())).first->second;
    std::string known;
    for (const auto& [each, number] : classes) known += (known.empty() ? "" : ", ") + each;
    csv.fail(str("class '", name, "', expected one of ", known));
  }
};

/// Numbers classes by name instead of by first occurrence.
std::vector<std::string> sort_classes(TableReader& reader, std::vector<LabelledText>& rows) {
  std::vector<std::string> names;
  std::vector<int32_t> sorted(reader.classes.size());
  for (auto& [name, number] : reader.classes) {
    sorted[size_t(number)] = int32_t(names.size());
    number = int32_t(names.size());
    names.push_back(name);
  }
  for (LabelledText& row : rows) row.label = sorted[size_t(row.label)];
  return names;
}

std::vector<fs::path> text_files(const fs::path& dir) {
  if (!fs::is_directory(dir)) throw DataError(str(dir.string(), ": no such folder, expected one of reviews"));
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(dir))
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  if (files.empty()) throw DataError(str(dir.string(), ": no .txt file, expected one a review"));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

TextSplit load_ag_news(const fs::path& dir, const TextOptions& options) {
  return ClassCsv{.name = "ag-news",
                  .dir = inner_folder(dir, "ag_news_csv", "AG News' train.csv and test.csv"),
                  .classes = {"World", "Sports", "Business", "Sci/Tech"},
                  .backslash_is_space = !options.faithful}
      .load(options);
}

TextSplit load_dbpedia(const fs::path& dir, const TextOptions& options) {
  return ClassCsv{
      .name = "dbpedia",
      .dir = inner_folder(dir, "dbpedia_csv", "DBpedia's train.csv and test.csv"),
      .classes = {"Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder", "MeanOfTransportation",
                  "Building", "NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork"},
      .with_title = false}
      .load(options);
}

TextSplit load_debian_topics(const fs::path& dir, const TextOptions& options) {
  ClassCsv csv{.name = "debian-topics",
               .dir = inner_folder(dir, "debian-topics", "the files of `sluice data fetch debian-topics`"),
               .classes = {}};
  std::ifstream in(csv.dir / "classes.txt");
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) csv.classes.push_back(line);
  if (csv.classes.empty())
    throw DataError(str((csv.dir / "classes.txt").string(), ": no class names, expected one a line"));
  return csv.load(options);
}

TextSplit load_imdb_csv(const fs::path& path, const TextOptions& options) {
  fs::path file = path;
  if (fs::is_directory(path))
    file = fs::exists(path / "IMDB Dataset.csv") ? path / "IMDB Dataset.csv" : path / "IMDB_Dataset.csv";
  return cached_split({.name = "imdb", .paths = {file}}, options, [&] {
    const CsvTable table{.train = file, .test = {}, .label = "sentiment", .text = {"review"}};
    TableReader reader{.table = table, .classes = {{"positive", 0}, {"negative", 1}}, .open = false};
    return drawn_split({"positive", "negative"}, reader.read(file), options, file.string());
  });
}

TextSplit load_aclimdb(const fs::path& dir, const TextOptions& options) {
  const fs::path root = inner_folder(dir, "aclImdb", "the folders train and test of aclImdb");
  TextSources sources{.name = "aclimdb"};
  std::map<std::string, std::vector<fs::path>> files;
  for (const std::string part : {"train/pos", "train/neg", "test/pos", "test/neg"}) {
    files[part] = text_files(root / part);
    sources.paths.insert(sources.paths.end(), files[part].begin(), files[part].end());
  }
  return cached_split(sources, options, [&] {
    TextSplitBuilder builder({"positive", "negative"}, options);
    for (const bool negative : {false, true})
      for (const fs::path& f : files[negative ? "train/neg" : "train/pos"])
        builder.add_train(read_utf8_file(f), negative);
    for (const bool negative : {false, true})
      for (const fs::path& f : files[negative ? "test/neg" : "test/pos"]) builder.add_test(read_utf8_file(f), negative);
    return builder.finish(root.string());
  });
}

TextSplit load_csv(const CsvTable& table, const TextOptions& options) {
  TextSources sources{.name = "csv-" + table.train.stem().string(),
                      .paths = {table.train},
                      .settings = str(table.label, table.header ? " of header" : " of number")};
  for (const std::string& t : table.text) sources.settings += "," + t;
  if (!table.test.empty()) sources.paths.push_back(table.test);
  return cached_split(sources, options, [&] {
    TableReader reader{.table = table};
    std::vector<LabelledText> rows = reader.read(table.train);
    std::vector<std::string> classes = sort_classes(reader, rows);
    if (table.test.empty()) return drawn_split(std::move(classes), rows, options, table.train.string());
    reader.open = false;
    TextSplitBuilder builder(std::move(classes), options);
    for (const LabelledText& row : rows) builder.add_train(row.text, row.label);
    for (const LabelledText& row : reader.read(table.test)) builder.add_test(row.text, row.label);
    return builder.finish(table.train.string());
  });
}

}  // namespace sluice
