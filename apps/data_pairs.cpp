// `sluice data fetch debian-pairs`: English-German sentences from what Debian's archive holds.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "apps/debian_index.h"
#include "apps/fetch.h"
#include "apps/progress.h"
#include "apps/table.h"
#include "data/debian_pairs.h"
#include "data/utf8.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

struct PairsOptions {
  std::string out, lists = "/var/lib/apt/lists", root = "/";
};

/// Where the sources are: on the system or, where it lacks them, fetched once into a folder for the time of the
/// command.
class PairSources {
 public:
  PairSources(const PairsOptions& options, fs::path work) : options_(options), work_(std::move(work)) {}

  std::vector<SentencePair> descriptions() {
    fs::path lists = options_.lists;
    if (find_translations(lists, "en").empty() || find_translations(lists, "de").empty()) lists = apt().lists();
    std::vector<fs::path> files = find_translations(lists, "en"), german = find_translations(lists, "de");
    if (files.empty() || german.empty())
      throw DataError(str(lists.string(), ": no descriptions in both languages, expected Translation-en and -de"));
    const size_t english = files.size();
    files.insert(files.end(), german.begin(), german.end());
    DescriptionPairs pairs;
    read_index_files(files, [&](size_t i, const std::string& text) {
      if (i < english)
        pairs.add_english(text);
      else
        pairs.add_german(text);
    });
    return pairs.sentences();
  }

  std::vector<SentencePair> help() {
    const fs::path help = find("usr/share/libreoffice/help", {"libreoffice-help-en-us", "libreoffice-help-de"});
    const fs::path english = help / "en-US/text", german = help / "de/text";
    std::vector<fs::path> pages;
    for (const auto& entry : fs::recursive_directory_iterator(english))
      if (const fs::path page = fs::relative(entry.path(), english); fs::is_regular_file(german / page))
        pages.push_back(page);
    std::sort(pages.begin(), pages.end());
    std::vector<SentencePair> pairs;
    Progress bar("reading the help", int64_t(pages.size()), stderr, "pages");
    for (size_t i = 0; i < pages.size(); ++i) {
      const std::vector<SentencePair> more =
          help_pairs(read_utf8_file(english / pages[i]), read_utf8_file(german / pages[i]));
      pairs.insert(pairs.end(), more.begin(), more.end());
      bar.update(int64_t(i) + 1);
    }
    bar.finish();
    return pairs;
  }

  std::vector<SentencePair> dictionary() {
    return dictionary_pairs(read_utf8_file(find("usr/share/trans/de-en", {"trans-de-en"})));
  }

 private:
  const Apt& apt() {
    if (!apt_) apt_.emplace(work_, std::vector<std::string>{"en", "de"});
    return *apt_;
  }
  fs::path find(const char* path, const std::vector<std::string>& packages) {
    const fs::path here = fs::path(options_.root) / path;
    const bool whole = fs::is_regular_file(here) || (fs::exists(here / "en-US/text") && fs::exists(here / "de/text"));
    return whole ? here : apt().unpack(packages) / path;
  }
  const PairsOptions& options_;
  fs::path work_;
  std::optional<Apt> apt_;
};

/// Source and target lines interleaved, as the reference codes keep them.
void write_pairs(const fs::path& path, const std::vector<SentencePair>& pairs) {
  std::string text;
  for (const SentencePair& p : pairs) text.append(p.english).append("\n").append(p.german).append("\n");
  write_file(path.string(), text);
}

void fetch_debian_pairs(const PairsOptions& o) {
  const fs::path out = make_out_folder(o.out, "debian-pairs");
  const WorkDir work(out);
  PairSources sources(o, work.path());
  PairCollection all;
  Table table({"source", "found", "training", "validation", "test"});
  const auto row = [&](const std::string& name, int64_t found, std::map<PairPart, int64_t> kept) {
    table.add({name, fmt::format("{}", found), fmt::format("{}", kept[PairPart::kTrain]),
               fmt::format("{}", kept[PairPart::kValidation]), fmt::format("{}", kept[PairPart::kTest])});
  };
  int64_t found = 0;
  const auto take = [&](const char* name, std::vector<SentencePair> (PairSources::*read)()) {
    try {
      const std::vector<SentencePair> pairs = (sources.*read)();
      found += int64_t(pairs.size());
      row(name, int64_t(pairs.size()), all.add(pairs));
    } catch (const DataError& e) {
      fmt::print("left out: {}: {}\n", name, e.what());
    }
  };
  take("package descriptions", &PairSources::descriptions);
  take("LibreOffice's help", &PairSources::help);
  take("Ding dictionary", &PairSources::dictionary);
  std::map<PairPart, int64_t> kept;
  for (const PairPart part : {PairPart::kTrain, PairPart::kValidation, PairPart::kTest}) {
    kept[part] = int64_t(all.part(part).size());
    if (kept[part] == 0)
      throw DataError(str("debian-pairs: of ", found, " pairs none is left for ", part_name(part),
                          ", expected at least one of the sources to answer"));
  }
  row("all", found, kept);
  fmt::print("{}{}:", table.text(), out.string());
  for (const auto& [part, ignored] : kept) {
    const std::string file = fmt::format("en_de_debian_{}_cache.csv", part_name(part));
    write_pairs(out / file, all.part(part));
    fmt::print(" {} {}", file, bytes_text(int64_t(fs::file_size(out / file))));
  }
  fmt::print("\n");
}

}  // namespace

void add_debian_pairs(CLI::App& fetch) {
  auto o = std::make_shared<PairsOptions>();
  CLI::App* pairs = fetch.add_subcommand(
      "debian-pairs",
      "English-German sentences from package descriptions, LibreOffice's help and the Ding dictionary: needs apt, "
      "installs nothing");
  pairs->add_option("--out", o->out, "folder to write to [SLUICE_DATA_DIR or ~/.cache/sluice, then debian-pairs]");
  pairs->add_option("--lists", o->lists,
                    "apt's lists; where they lack descriptions in a language apt fetches some [" + o->lists + "]");
  pairs->add_option("--root", o->root,
                    "where the packages libreoffice-help-en-us, libreoffice-help-de and trans-de-en are installed; "
                    "those that are not there are fetched [" +
                        o->root + "]");
  pairs->callback([o] { fetch_debian_pairs(*o); });
}

}  // namespace sluice
