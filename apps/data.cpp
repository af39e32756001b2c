// `sluice data`: makes data sets from what the machine's package manager offers.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "apps/commands.h"
#include "apps/debian_index.h"
#include "apps/progress.h"
#include "apps/run_dir.h"
#include "apps/table.h"
#include "data/debian_topics.h"
#include "engine/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

struct FetchOptions {
  std::string out, lists = "/var/lib/apt/lists";
  std::vector<std::string> sections = debian_topic_sections();
};

/// A folder for the time of a command.
class WorkDir {
 public:
  explicit WorkDir(const fs::path& beside) : path_(beside / fmt::format("fetch-{}", getpid())) {
    fs::create_directories(path_);
  }
  WorkDir(const WorkDir&) = delete;
  WorkDir& operator=(const WorkDir&) = delete;
  ~WorkDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

DebianIndex read_index(const IndexFiles& files) {
  std::vector<std::pair<fs::path, bool>> all;
  for (const fs::path& p : files.packages) all.emplace_back(p, true);
  for (const fs::path& p : files.descriptions) all.emplace_back(p, false);
  int64_t packed = 0;
  for (const auto& [path, ignored] : all) packed += int64_t(fs::file_size(path));
  // The bar counts packed megabytes: how large a file is once unpacked shows only at its end.
  Progress bar("reading the index", std::max<int64_t>(packed / 1'000'000, 1), stderr, "MB");
  DebianIndex index;
  int64_t before = 0;
  for (const auto& [path, is_packages] : all) {
    const auto size = int64_t(fs::file_size(path));
    const std::string text = read_index_file(path, [&](int64_t bytes) {
      bar.update((before + std::min(bytes / 2, size)) / 1'000'000);  // lists shrink to about half under lz4
    });
    if (is_packages)
      index.add_packages(text);
    else
      index.add_descriptions(text);
    before += size;
    bar.update(before / 1'000'000);
  }
  bar.finish();
  return index;
}

std::string summary(const std::vector<DebianTopic>& topics, const std::vector<std::string>& sections) {
  const auto count = [&](const std::string& section, bool test) {
    return std::count_if(topics.begin(), topics.end(), [&](const DebianTopic& t) {
      return t.test == test && (section.empty() || t.section == section);
    });
  };
  Table table({"class", "training", "test"});
  for (const std::string& s : sections)
    table.add({s, fmt::format("{}", count(s, false)), fmt::format("{}", count(s, true))});
  table.add({"all", fmt::format("{}", count("", false)), fmt::format("{}", count("", true))});
  return table.text();
}

void fetch_debian_topics(const FetchOptions& o) {
  const fs::path out = o.out.empty() ? data_home() / "debian-topics" : fs::path(o.out);
  std::error_code error;
  fs::create_directories(out, error);
  if (error) throw DataError(str(out.string(), ": cannot be made: ", error.message()));
  const WorkDir work(out);
  IndexFiles files = find_index_files(o.lists);
  if (files.packages.empty()) {
    fmt::print("{} holds no index with descriptions: apt fetches one (17 MB), nothing of the system is changed\n",
               o.lists);
    std::fflush(stdout);
    const fs::path lists = fetch_index(work.path());
    files = find_index_files(lists);
    if (files.packages.empty())
      throw DataError(
          str(lists.string(), ": apt fetched no index with descriptions, expected Packages and Translation-en"));
  }
  const DebianIndex index = read_index(files);
  const std::vector<DebianTopic> topics = index.topics(o.sections);
  std::string classes;
  for (const std::string& s : o.sections) {
    if (std::none_of(topics.begin(), topics.end(), [&](const DebianTopic& t) { return t.section == s && !t.test; }))
      throw DataError(
          str("Debian's index: no package of section '", s, "' to train on, expected some of each section"));
    classes += s + "\n";
  }
  write_file((out / "train.csv").string(), debian_topics_csv(topics, o.sections, false));
  write_file((out / "test.csv").string(), debian_topics_csv(topics, o.sections, true));
  write_file((out / "classes.txt").string(), classes);
  fmt::print("{} packages, {} with a section and a long description\n{}", index.packages(), index.described(),
             summary(topics, o.sections));
  fmt::print("{}: train.csv {}, test.csv {}, classes.txt\n", out.string(),
             bytes_text(int64_t(fs::file_size(out / "train.csv"))),
             bytes_text(int64_t(fs::file_size(out / "test.csv"))));
}

}  // namespace

void add_data(CLI::App& app) {
  auto o = std::make_shared<FetchOptions>();
  CLI::App* data = app.add_subcommand("data", "Make data sets from public packages");
  data->require_subcommand(1);
  CLI::App* fetch = data->add_subcommand("fetch", "Fetch a data set");
  fetch->require_subcommand(1);
  CLI::App* topics = fetch->add_subcommand(
      "debian-topics", "Topics from Debian's package index, in AG News' layout: needs apt, installs nothing");
  topics->add_option("--out", o->out, "folder to write to [SLUICE_DATA_DIR or ~/.cache/sluice, then debian-topics]");
  topics->add_option("--lists", o->lists,
                     "apt's lists; where they hold no descriptions apt fetches some [" + o->lists + "]");
  topics->add_option("--sections", o->sections, "classes, separated by commas [14 sections]")->delimiter(',');
  topics->callback([o] { fetch_debian_topics(*o); });
}

}  // namespace sluice
