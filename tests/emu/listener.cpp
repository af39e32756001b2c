// In every test program of an emulated build: a test that leaves a report of the emulator behind has failed.
#include <gtest/gtest.h>

#include "emu/emu.h"

namespace emu {
namespace {

class ReportsFail final : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo&) override {
    for (const Report& r : finish_test()) ADD_FAILURE() << name(r.kind) << ": " << r.text;
  }
};

[[maybe_unused]] const bool kListening = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new ReportsFail);
  return true;
}();

}  // namespace
}  // namespace emu
