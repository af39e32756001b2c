// `sluice data`: makes data sets from what the machine's package manager offers.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "apps/commands.h"
#include "apps/debian_index.h"
#include "apps/fetch.h"
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

DebianIndex read_index(const IndexFiles& files) {
  std::vector<fs::path> all = files.packages;
  all.insert(all.end(), files.descriptions.begin(), files.descriptions.end());
  DebianIndex index;
  read_index_files(all, [&](size_t i, const std::string& text) {
    if (i < files.packages.size())
      index.add_packages(text);
    else
      index.add_descriptions(text);
  });
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
  const fs::path out = make_out_folder(o.out, "debian-topics");
  const WorkDir work(out);
  IndexFiles files = find_index_files(o.lists);
  if (files.packages.empty()) {
    fmt::print("{} holds no index with descriptions: apt fetches one (17 MB), nothing of the system is changed\n",
               o.lists);
    std::fflush(stdout);
    const Apt apt(work.path(), {"en"});
    files = find_index_files(apt.lists());
    if (files.packages.empty())
      throw DataError(
          str(apt.lists().string(), ": apt fetched no index with descriptions, expected Packages and Translation-en"));
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
  add_debian_pairs(*fetch);
}

}  // namespace sluice
