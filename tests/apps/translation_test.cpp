// A translator by command: learns six words, is scored, translates lines, goes on where it was stopped.
#include "engine/safetensors.h"
#include "tests/apps/command.h"

namespace sluice::test::translation_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TranslationCommand : public CommandTest {};

TEST_F(TranslationCommand, LearnsScoresAndTranslates) {
  write_pairs();
  const std::string run = run_dir();
  const Outcome o = sluice(translator("--rule asa2 --label-smoothing 0.1 --epochs 40 --get-li --out " + run));
  ASSERT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, AllOf(HasSubstr("test loss"), HasSubstr("test accuracy"), HasSubstr("validation")));
  EXPECT_TRUE(fs::exists(run + "/indicators.npy"));
  const Outcome scored = sluice("eval --run " + run + " --translations " + run + "/test.de");
  ASSERT_EQ(scored.status, 0) << scored.text;
  EXPECT_THAT(scored.text, AllOf(HasSubstr("nats a token (perplexity"), HasSubstr("BLEU 100.00"), HasSubstr("greedy")));
  std::ifstream translations(run + "/test.de");
  const std::string all{std::istreambuf_iterator<char>(translations), {}};
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 30);
  EXPECT_THAT(sluice("eval --beam 3 --run " + run).text, AllOf(HasSubstr("BLEU 100.00"), HasSubstr("beam 3")));
  const Outcome said = shell("printf 'five one\\n\\nsix six two\\n' | " SLUICE_BINARY " translate --run " + run);
  EXPECT_EQ(said.status, 0);
  EXPECT_THAT(said.text, HasSubstr("fünf eins\n\nsechs sechs zwei\n"));
}

TEST_F(TranslationCommand, ARecurrentNetworkLearnsTheSame) {
  write_pairs();
  const std::string run = run_dir();
  const Outcome o =
      sluice("train --model gnmt8 --rule bp --data iwslt --pieces 0 --data-dir " + dir_.path().string() +
             " --width 0.03125 --batch 20 --micro-batches 2 --dropout 0.1 --lr-schedule constant --lr 0.005 "
             "--label-smoothing 0.1 --epochs 25 --cuts 4,9,14 --devices cpu:0,cpu:1 --cores-per-device 1 --out " +
             run);
  ASSERT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, HasSubstr("gnmt8 with bp on iwslt"));
  EXPECT_THAT(sluice("eval --beam 3 --coverage-penalty 0.1 --run " + run).text,
              AllOf(HasSubstr("nats a token"), HasSubstr("BLEU 100.00"), HasSubstr("beam 3")));
  EXPECT_THAT(shell("printf 'five one\n' | " SLUICE_BINARY " translate --coverage-penalty 0.1 --run " + run).text,
              HasSubstr("fünf eins\n"));
}

TEST_F(TranslationCommand, Wmt16sPiecesBecomeWordsAgain) {
  struct Word {
    const char *english, *german, *published;
  };
  const std::vector<Word> words{{"one", "eins", "eins"}, {"t@@ wo", "zwei", "zwei"}, {"five", "f@@ ünf", "fünf"}};
  const auto write = [&](const std::string& name, int lines, const char* Word::*side, const char* end) {
    std::ofstream out(dir_ / name);
    for (int i = 0; i < lines; ++i) {
      out << words[size_t(i % 3)].*side << " " << words[size_t(i / 3 % 3)].*side << " "
          << words[size_t(i / 9 % 3)].*side << end << "\n";
    }
  };
  std::ofstream(dir_ / "vocab.bpe.32000") << "one\nt@@\nwo\nfive\neins\nzwei\nf@@\nünf\n.\n";
  for (const auto& [half, lines] :
       {std::pair{"train.tok.clean", 270}, {"newstest_dev.tok.clean", 9}, {"newstest2014.tok", 27}}) {
    write(str(half, ".bpe.32000.en"), lines, &Word::english, " .");
    write(str(half, ".bpe.32000.de"), lines, &Word::german, " .");
  }
  write("newstest2014.de", 27, &Word::published, ".");
  const std::string run = run_dir();
  const Outcome o = sluice("train --model gnmt8 --rule bp --data wmt16 --data-dir " + dir_.path().string() +
                           " --width 0.03125 --batch 20 --dropout 0 --lr-schedule constant --lr 0.005 --epochs 25 "
                           "--cores-per-device 1 --out " +
                           run);
  ASSERT_EQ(o.status, 0) << o.text;
  for (const char* beam : {"1", "2", "4"})
    EXPECT_THAT(sluice("eval --run " + run + " --beam " + beam).text, HasSubstr("BLEU 100.00"));
  EXPECT_THAT(shell("printf 'five t@@ wo one .\n' | " SLUICE_BINARY " translate --run " + run).text,
              HasSubstr("fünf zwei eins.\n"));
}

TEST_F(TranslationCommand, AKilledRunGoesOnBitForBit) {
  write_pairs();
  const auto short_run = [&](const std::string& more) {
    return sluice(translator("--rule bp --batch-tokens 240 --epochs 2 --devices cpu:0,cpu:1 " + more)).status;
  };
  ASSERT_EQ(short_run("--out " + run_dir("whole")), 0);
  ASSERT_EQ(short_run("--max-steps 7 --out " + run_dir("parts")), 0);
  ASSERT_EQ(short_run("--out " + run_dir("parts")), 0);
  const auto expected = read_safetensors(checkpoint("whole")).arrays;
  for (const auto& [name, array] : read_safetensors(checkpoint("parts")).arrays)
    EXPECT_EQ(array.bytes, expected.at(name).bytes) << name;
}

TEST_F(TranslationCommand, WhatDoesNotFitIsOneClearError) {
  write_pairs();
  const std::string images = "train --model transformer_base --rule bp --data-dir " + data();
  expect_one_error(sluice(images), HasSubstr("holds no pairs of sentences, expected debian-pairs, iwslt or wmt16"));
  expect_one_error(sluice(translator("--rule al")), HasSubstr("transformer_base with bp"));
  expect_one_error(sluice("train --model gnmt16 --rule bp --data-dir " + data()),
                   HasSubstr("model=gnmt16 translates, and data=fashion-mnist holds no pairs"));
  expect_one_error(sluice(translator("--rule bp --n-heads 3")), HasSubstr("do not split into n_heads=3"));
  expect_one_error(sluice(translator("--rule bp --set adam_eps=0")), HasSubstr("adam_eps=0"));
  expect_one_error(sluice(translator("--rule ara")), HasSubstr("take aba1 to aba4 or asa1 to asa4"));
  ASSERT_EQ(sluice(translator("--rule bp --max-steps 1 --out " + run_dir())).status, 0);
  EXPECT_THAT(shell("printf '\\377\\n' | " SLUICE_BINARY " translate --run " + run_dir()).text,
              HasSubstr("sluice: standard input: line 1 is no UTF-8"));
  EXPECT_THAT(sluice("eval --beam 0 --run " + run_dir()).text, HasSubstr("beam 0"));
  ASSERT_EQ(sluice(small("--rule bp --max-steps 1 --out " + run_dir("images"))).status, 0);
  expect_one_error(shell("echo a | " SLUICE_BINARY " translate --run " + run_dir("images")),
                   HasSubstr("model=vgg does not translate"));
}

}  // namespace
}  // namespace sluice::test::translation_test
