// Arrays on disk, learning indicators over epochs, their histogram and its drawing.
#include "apps/indicators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "apps/curves.h"
#include "kernels/common/error.h"
#include "tests/support/temp_dir.h"

namespace sluice::test::indicators_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Values = std::vector<double>;

std::string text_of(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}
void put(const std::filesystem::path& path, const std::string& text) {
  test::write_file(path, std::vector<uint8_t>(text.begin(), text.end()));
}

TEST(NpyTest, ComesBackAsItWasAndIsNumpysFormat) {
  const TempDir dir;
  const std::filesystem::path file = dir.path() / "a.npy";
  for (const NpyArray& a : {NpyArray{{2, 3}, {1, 2, 3, 4, 5, -6.5}}, NpyArray{{4}, {1, 2, 3, 4}}, NpyArray{{0}, {}}}) {
    write_npy(file, a);
    const NpyArray back = read_npy(file);
    EXPECT_EQ(back.shape, a.shape);
    EXPECT_EQ(back.values, a.values);
    const std::string bytes = text_of(file);
    EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
    EXPECT_EQ((bytes.size() - a.values.size() * 8) % 64, 0u) << "numbers begin at a multiple of 64";
  }
  write_npy(file, {{4}, {1, 2, 3, 4}});
  EXPECT_THAT(text_of(file), HasSubstr("{'descr': '<f8', 'fortran_order': False, 'shape': (4, ), }"));
}

TEST(NpyTest, ReadsFloatsOfOtherWriters) {
  const TempDir dir;
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  const float values[] = {0.5f, -2.0f};
  std::string file("\x93NUMPY\x01\x00", 8);
  file += char(header.size());
  file += '\0';
  file += header + std::string(reinterpret_cast<const char*>(values), sizeof values);
  put(dir.path() / "f.npy", file);
  EXPECT_THAT(read_npy(dir.path() / "f.npy").values, ElementsAre(0.5, -2.0));
  put(dir.path() / "short.npy", file.substr(0, file.size() - 1));
  put(dir.path() / "cut.npy", file.substr(0, 40));
  put(dir.path() / "text.npy", "values: 1 2 3 4");
  std::string fortran = file;
  fortran.replace(fortran.find("False"), 5, "True ");
  put(dir.path() / "fortran.npy", fortran);
  std::string huge = file;
  huge.replace(huge.find("(2,), }  "), 9, "(2, 9999999999999999999)}");
  put(dir.path() / "huge.npy", huge);
  for (const char* name : {"huge.npy", "short.npy", "cut.npy", "text.npy", "fortran.npy", "absent.npy"})
    EXPECT_THROW(read_npy(dir.path() / name), DataError) << name;
}

TEST(IndicatorsTest, OfConvolutionsAnEpochIsARowALayer) {
  const TempDir dir;
  const std::filesystem::path file = dir.path() / "indicators.npy";
  append_indicators(file, {.layers = {{1, 2, 3}, {4, 5, 6}}});
  append_indicators(file, {.layers = {{7, 8, 9}, {10, 11, 12}}, .epoch = 1});
  const NpyArray a = read_npy(file);
  EXPECT_THAT(a.shape, ElementsAre(4, 3));
  EXPECT_EQ(a.values, (Values{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_THROW(append_indicators(file, {.layers = {{1, 2}}}), DataError) << "another batch";
}

TEST(IndicatorsTest, OfTokensAnEpochIsASampleWithoutReplacement) {
  const TempDir dir;
  const std::filesystem::path file = dir.path() / "indicators.npy";
  std::vector<float> numbers(100);
  for (size_t i = 0; i < 100; ++i) numbers[i] = float(i);
  const IndicatorEpoch epoch{.layers = {numbers, {200, 201}}, .tokens = true, .most = 60, .seed = 3, .epoch = 0};
  append_indicators(file, epoch);
  NpyArray a = read_npy(file);
  EXPECT_THAT(a.shape, ElementsAre(60));
  std::sort(a.values.begin(), a.values.end());
  EXPECT_EQ(std::adjacent_find(a.values.begin(), a.values.end()), a.values.end());
  append_indicators(file, {.layers = {{1, 2, 3}}, .tokens = true, .most = 60, .epoch = 1});
  EXPECT_THAT(read_npy(file).shape, ElementsAre(63));
}

TEST(IndicatorsTest, HistogramLeavesOutWhatLiesOutside) {
  EXPECT_THAT(histogram({-1.0, -0.6, -0.1, 0.0, 0.4, 0.99, 1.0, -1.1, 7}, 1.0, 4), ElementsAre(2, 1, 2, 1));
  const std::string plot = histogram_plot({2, 0, 1, 3}, 0.1, "x.svg");
  EXPECT_THAT(plot, HasSubstr("set terminal svg"));
  EXPECT_THAT(plot, HasSubstr("set logscale y"));
  EXPECT_EQ(std::count(plot.begin(), plot.end(), '\n'), 12 + 3 + 1) << "empty parts are not drawn";
  EXPECT_THAT(histogram_plot({1}, 1, "x.png"), HasSubstr("pngcairo"));
}

TEST(CurvesTest, AreReadByTheHeaderAndDrawnByName) {
  const TempDir dir;
  const std::filesystem::path run = dir.path() / "aba4";
  std::filesystem::create_directory(run);
  const auto write = [&](const std::string& text) { std::ofstream(run / "metrics.csv") << text; };
  EXPECT_THAT([&] { read_curve(run, "loss"); }, testing::ThrowsMessage<DataError>(HasSubstr("cannot be read")));
  write("step,loss,test_accuracy\n10,2.5,\n20,2.25,0.5\n");
  const Curve loss = read_curve(run / "", "loss");
  EXPECT_EQ(loss.name, "aba4");
  EXPECT_THAT(loss.points, ElementsAre(std::pair(10.0, 2.5), std::pair(20.0, 2.25)));
  EXPECT_THAT(read_curve(run, "test_accuracy").points, ElementsAre(std::pair(20.0, 0.5)));
  EXPECT_THAT([&] { read_curve(run, "f1"); }, testing::ThrowsMessage<DataError>(HasSubstr("step,loss,test_accuracy")));
  write("step,loss,test_accuracy\n10,2.5,\n");
  EXPECT_THAT([&] { read_curve(run, "test_accuracy"); }, testing::ThrowsMessage<DataError>(HasSubstr("no value yet")));
  const std::string plot = curves_plot({loss, {"bp", {{10, 1}}}}, "loss", "x.svg");
  EXPECT_THAT(plot, HasSubstr("title 'aba4', '-' using"));
  EXPECT_THAT(plot, HasSubstr("10 2.5\n20 2.25\ne\n10 1\ne\n"));
}

}  // namespace
}  // namespace sluice::test::indicators_test
