// The main program of every test of an emulated build: a test that leaves a report of the emulator behind has failed,
// and
// --dump DIR writes every launch to DIR.
#include <gtest/gtest.h>

#include <iostream>
#include <string>

#include "emu/dump.h"
#include "emu/emu.h"

namespace emu {
namespace {

class ReportsFail final : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo&) override {
    for (const Report& r : finish_test()) ADD_FAILURE() << name(r.kind) << ": " << r.text;
  }
};

int run(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new ReportsFail);
  for (int i = 1; i < argc; i += 2) {
    if (std::string(argv[i]) != "--dump" || i + 1 == argc) {
      std::cerr << argv[0] << ": unknown argument '" << argv[i] << "', expected --dump DIR or GoogleTest's options\n";
      return 1;
    }
    dump_launches_to(argv[i + 1]);
  }
  return RUN_ALL_TESTS();
}

}  // namespace
}  // namespace emu

int main(int argc, char** argv) {
  try {
    return emu::run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << argv[0] << ": " << e.what() << "\n";
    return 1;
  }
}
