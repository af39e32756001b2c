// The progress line and the table, as text.
#include "apps/progress.h"

#include <gtest/gtest.h>

#include "apps/table.h"

namespace sluice::progress_test {
namespace {

TEST(ProgressTest, OneLineShowsBarRateLossAndTimeLeft) {
  EXPECT_EQ(Progress::line("al", 0.5, Progress::figures(1234.4, "samples", 0.51234), 65.2, 66),
            "al |######.....|  50 %     1234 samples/s  loss 0.5123  1:05 left");
}

TEST(ProgressTest, WorkWithoutALossHasAUnitOfItsOwn) { EXPECT_EQ(Progress::figures(12.3, "MB", {}), "     12 MB/s"); }

TEST(ProgressTest, TheBarStaysInsideItsBounds) {
  EXPECT_NE(Progress::line("t", 1.0, "", 0, 200).find(std::string(40, '#')), std::string::npos);
  EXPECT_EQ(Progress::line("t", 1.2, "", 0, 10).substr(0, 9), "t |#####|");
}

TEST(ProgressTest, AFileGetsALineATenth) {
  std::FILE* file = std::tmpfile();
  Progress p("run", 100, file);
  for (int64_t i = 1; i <= 100; ++i) p.update(i, 1.0);
  p.finish();
  std::rewind(file);
  int lines = 0;
  for (int ch = std::fgetc(file); ch != EOF; ch = std::fgetc(file)) lines += ch == '\n';
  std::fclose(file);
  EXPECT_EQ(lines, 11);  // 0 % and every tenth
}

TEST(TableTest, ColumnsAreAsWideAsTheirWidestCell) {
  Table t({"row", "rate"});
  t.add({"al_seq", "12"});
  t.add({"bp", "3456"});
  EXPECT_EQ(t.text(), "row     rate\n------------\nal_seq    12\nbp      3456\n");
}

TEST(TableTest, BytesInPowersOfAThousand) {
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1'500), "1.5 kB");
  EXPECT_EQ(bytes_text(25'600'000), "25.6 MB");
  EXPECT_EQ(bytes_text(2'500'000'000), "2.50 GB");
}

}  // namespace
}  // namespace sluice::progress_test
