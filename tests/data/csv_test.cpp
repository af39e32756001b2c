// The CSV reader: RFC 4180's cases, and one clear line with file and line for every way in which a file can be wrong.
#include "data/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/utf8.h"
#include "engine/error.h"
#include "tests/support/temp_dir.h"

namespace sluice::csv_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;
using Rows = std::vector<std::vector<std::string>>;
namespace fs = std::filesystem;

fs::path written(const test::TempDir& dir, const std::string& content) {
  test::write_file(dir / "table.csv", std::vector<uint8_t>(content.begin(), content.end()));
  return dir / "table.csv";
}

Rows rows_of(const std::string& content, size_t fields = 0, std::vector<int64_t>* lines = nullptr) {
  const test::TempDir dir;
  CsvReader csv(written(dir, content), fields);
  Rows rows;
  while (csv.next()) {
    rows.emplace_back(csv.fields().begin(), csv.fields().end());
    if (lines != nullptr) lines->push_back(csv.line());
  }
  return rows;
}

void expect_refused(const std::string& content, int line, const std::string& what, size_t fields = 0) {
  SCOPED_TRACE(content);
  const test::TempDir dir;
  const fs::path path = written(dir, content);
  EXPECT_THAT(
      [&] {
        CsvReader csv(path, fields);
        while (csv.next()) {
        }
      },
      ThrowsMessage<DataError>(
          AllOf(HasSubstr(path.string() + ":" + std::to_string(line) + ": "), HasSubstr(what), Not(HasSubstr("\n")))));
}

TEST(Csv, ReadsWhatTheStandardDescribes) {
  EXPECT_EQ(rows_of("a,b\nc,d\n"), (Rows{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(rows_of("a,b\nc,d"), (Rows{{"a", "b"}, {"c", "d"}})) << "no line feed at the end";
  EXPECT_EQ(rows_of("a,b\r\n\"c\",d\r\n"), (Rows{{"a", "b"}, {"c", "d"}})) << "CR LF";
  EXPECT_EQ(rows_of(R"("a ""b"" c","""","")"), (Rows{{"a \"b\" c", "\"", ""}})) << "doubled quotes";
  EXPECT_EQ(rows_of(",,\n"), (Rows{{"", "", ""}})) << "empty fields";
  EXPECT_EQ(rows_of(" a , b \n"), (Rows{{" a ", " b "}})) << "spaces belong to the field";
  EXPECT_EQ(rows_of("one\n\ntwo\n"), (Rows{{"one"}, {""}, {"two"}})) << "a blank line is an empty field";
  EXPECT_EQ(rows_of(""), Rows{});
  EXPECT_EQ(rows_of("\xEF\xBB\xBF\x61,b\n"), (Rows{{"a", "b"}})) << "a byte order mark";
  EXPECT_EQ(rows_of("\"\xC3\xA9\",\xE2\x82\xAC\n"), (Rows{{"\xC3\xA9", "\xE2\x82\xAC"}}));
}

TEST(Csv, CountsLinesThroughBreaksInsideQuotes) {
  std::vector<int64_t> lines;
  const Rows rows = rows_of("\"a\n\nb, \"\"c\"\"\r\nd\",1\nx,2\n\"y\n\",3\nz,4\n", 2, &lines);
  EXPECT_EQ(rows, (Rows{{"a\n\nb, \"c\"\r\nd", "1"}, {"x", "2"}, {"y\n", "3"}, {"z", "4"}}));
  EXPECT_EQ(lines, (std::vector<int64_t>{1, 5, 6, 8}));
}

TEST(Csv, FieldsLiveAsLongAsTheReader) {
  const test::TempDir dir;
  CsvReader csv(written(dir, "\"a \"\"1\"\"\"\n\"b \"\"2\"\"\"\n"));
  ASSERT_TRUE(csv.next());
  const std::string_view first = csv.fields()[0];
  ASSERT_TRUE(csv.next());
  EXPECT_EQ(first, "a \"1\"");
  EXPECT_FALSE(csv.next());
}

TEST(Csv, WhatIsWrittenIsReadBack) {
  const std::vector<std::string> fields{"plain", "", "a \"quoted\" word", "two\nlines", "x,y", "\""};
  std::string text;
  for (const std::string& f : fields) text += (text.empty() ? "" : ",") + csv_quoted(f);
  EXPECT_EQ(rows_of(text + "\n"), Rows{fields});
}

TEST(Csv, RefusesWithFileAndLine) {
  expect_refused("a,b\nc,\"d\ne\n", 2, "a quote that is never closed");
  expect_refused("a,b\nc\n", 2, "1 fields, expected 2");
  expect_refused("a,b\n\"c\nd\",e\nf,g,h\n", 4, "3 fields, expected 2");
  expect_refused("a,b\nc,d\n", 1, "2 fields, expected 3", 3);
  expect_refused("a,b\n\n", 2, "1 fields, expected 2");
  expect_refused("a\nb\nit is \"so\"\n", 3, "a quote inside a field");
  expect_refused("a\n\"b\"c\n", 2, "'c' behind a closing quote");
  expect_refused("a\nb\rc\n", 2, "a carriage return that ends no line");
  expect_refused("a\nb\r", 2, "a carriage return that ends no line");
  expect_refused("a\nb\nc\xFF\n", 3, "a byte that is no UTF-8");
}

TEST(Csv, RefusesAFileThatIsNotThere) {
  const test::TempDir dir;
  EXPECT_THAT([&] { CsvReader csv(dir / "none.csv"); }, ThrowsMessage<DataError>(HasSubstr("none.csv: no such file")));
  EXPECT_THROW(CsvReader csv(dir.path()), DataError);
}

TEST(Utf8, FindsTheFirstByteThatIsNone) {
  EXPECT_EQ(find_invalid_utf8("plain ascii, longer than eight bytes"), std::string_view::npos);
  EXPECT_EQ(
      find_invalid_utf8("\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF"),
      std::string_view::npos);
  const std::string before = "0123456789";
  for (const std::string bad : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x9F\xBF", "\xE2\x82",
                                "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_EQ(find_invalid_utf8(before + bad), before.size()) << testing::PrintToString(bad);
    EXPECT_EQ(find_invalid_utf8(before + bad + "and more of it"), before.size()) << testing::PrintToString(bad);
  }
}

TEST(Utf8, EveryCodePointIsEncodedAndDecoded) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string s;
    append_utf8(c, s);
    size_t at = 0;
    ASSERT_EQ(find_invalid_utf8(s), std::string_view::npos) << uint32_t(c);
    ASSERT_EQ(decode_utf8(s, at), c) << uint32_t(c);
    ASSERT_EQ(at, s.size()) << uint32_t(c);
  }
}

}  // namespace
}  // namespace sluice::csv_test
