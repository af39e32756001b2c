// Pairs of sentences by command: fetched, loaded, and batches that are counted in tokens.
#include "apps/catalog.h"
#include "engine/safetensors.h"
#include "tests/apps/command.h"

namespace sluice::test::pairs_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class PairsTest : public CommandTest {
 protected:
  void write(const std::string& path, const std::string& text) const {
    const fs::path file = dir_ / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::string text_of(const fs::path& path) const {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  /// 150 sentences of each source, as they lie on a system.
  void write_sources() const {
    const std::string lists = "lists/deb.example_debian_dists_stable_main_i18n_Translation-";
    const std::string help = "root/usr/share/libreoffice/help/";
    std::string english, german, english_page, german_page, entries;
    for (int i = 0; i < 150; ++i) {
      english += str("Package: p\nDescription-md5: ", i, "\nDescription-en: the title number ", i, "\n\n");
      german += str("Package: p\nDescription-md5: ", i, "\nDescription-de: der Titel Nummer ", i, "\n\n");
      english_page += str("<p id=\"par_id", i, "\">the paragraph number ", i, "</p>\n");
      german_page += str("<p id=\"par_id", i, "\">der Absatz Nummer ", i, "</p>\n");
      entries += str("Satz {m} | Das ist Satz ", i, ". :: sentence | This is sentence ", i, ".\n");
    }
    write(lists + "en", english);
    write(lists + "de", german);
    write(help + "en-US/text/a/page.html", english_page);
    write(help + "de/text/a/page.html", german_page);
    write("root/usr/share/trans/de-en", entries);
  }
  std::string fetch(const std::string& root = "root") const {
    return "data fetch debian-pairs --lists " + (dir_ / "lists").string() + " --root " + (dir_ / root).string() +
           " --out " + (dir_ / "pairs").string();
  }
};

TEST_F(PairsTest, ComeFromThreeSourcesAndAreLoaded) {
  write_sources();
  const Outcome o = sluice(fetch());
  ASSERT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, AllOf(HasSubstr("package descriptions"), HasSubstr("LibreOffice's help"),
                            HasSubstr("Ding dictionary"), Not(HasSubstr("left out"))));
  const fs::path pairs = dir_ / "pairs";
  EXPECT_EQ(std::distance(fs::directory_iterator(pairs), {}), 3) << "nothing else is left";
  std::string all;
  for (const char* half : {"train", "val", "test"})
    all += text_of(pairs / (std::string("en_de_debian_") + half + "_cache.csv"));
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 2 * 450);
  EXPECT_THAT(all, AllOf(HasSubstr("the title number 7\nder Titel Nummer 7\n"),
                         HasSubstr("the paragraph number 149\nder Absatz Nummer 149\n"),
                         HasSubstr("This is sentence 0.\nDas ist Satz 0.\n")));

  RunConfig c;
  c.data = "debian-pairs";
  c.data_dir = pairs.string();
  c.pieces = 90;
  c.language_direction = "G2E";
  const TrainingData data = load_data(c);
  ASSERT_TRUE(data.validation && data.translation);
  EXPECT_EQ(data.train->size() + data.validation->size() + data.test->size(), 450);
  EXPECT_EQ(data.train->classes(), 90);
  EXPECT_EQ(int64_t(data.translation->test.size()), data.test->size());
  EXPECT_EQ(data.translation->source.decode(data.translation->source.encode("Das ist Satz 5.")), "Das ist Satz 5.");
  EXPECT_THAT(data.translation->test[0], testing::AnyOf(HasSubstr("the"), HasSubstr("This")));
  expect_one_error(sluice("train --model lstm --rule bp --data debian-pairs --pieces 90 --data-dir " + pairs.string()),
                   HasSubstr("debian-pairs"));
}

TEST_F(PairsTest, ASourceThatDoesNotAnswerIsNamedAndLeftOut) {
  write_sources();
  fs::remove(dir_ / "root/usr/share/trans/de-en");
  const std::string without_apt = "PATH=/nowhere " SLUICE_BINARY " ";
  const Outcome o = shell(without_apt + fetch());
  EXPECT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, AllOf(HasSubstr("left out: Ding dictionary: apt-get: cannot be run"), HasSubstr("300")));
  fs::remove_all(dir_ / "lists");
  const Outcome none = shell(without_apt + fetch("nowhere"));
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.text, AllOf(HasSubstr("left out: package descriptions"), HasSubstr("left out: LibreOffice's help"),
                               HasSubstr("sluice: debian-pairs: of 0 pairs none is left")));
}

TEST_F(PairsTest, ARunWithBatchesOfTokensGoesOnBitForBit) {
  std::string table = "label,text\n";
  for (int i = 0; i < 90; ++i) {
    table += i % 2 == 0 ? "red," : "blue,";
    for (int k = 0; k <= i % 7; ++k) table += i % 2 == 0 ? "apple cherry " : "ocean sky ";
    table += "\n";
  }
  write("train.csv", table);
  const std::string run = "train --model transformer --rule bp --data csv --data-dir " + dir_.path().string() +
                          " --embedding-dim 12 --x-hid 8 --vocab-size 50 --max-len 14 --batch-tokens 128 "
                          "--micro-batches 2 --epochs 2 --cores-per-device 1 ";
  const Outcome whole = sluice(run + "--out " + run_dir("whole"));
  ASSERT_EQ(whole.status, 0) << whole.text;
  EXPECT_THAT(whole.text, HasSubstr("batch of 128 tokens in 2 parts"));
  ASSERT_EQ(sluice(run + "--max-steps 3 --out " + run_dir("parts")).status, 0);
  ASSERT_EQ(sluice(run + "--out " + run_dir("parts")).status, 0);
  const auto expected = read_safetensors(checkpoint("whole")).arrays;
  for (const auto& [name, array] : read_safetensors(checkpoint("parts")).arrays)
    EXPECT_EQ(array.bytes, expected.at(name).bytes) << name;
  expect_one_error(sluice(run + "--set batch_tokens=20"), HasSubstr("expected room for one sample of max_len=14"));
}

}  // namespace
}  // namespace sluice::test::pairs_test
