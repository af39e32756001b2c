// Trains a small network on points that the program makes itself, saves it, loads it into a new one, and predicts.
// Everything a model needs without a pipeline: a stream, an Init, layers, an arena, a tape and an optimiser.
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "engine/checkpoint.h"
#include "layers/dense.h"
#include "layers/sequential.h"
#include "optim/adam.h"

namespace {

using namespace sluice;

/// A network and its parameters on one device.
struct Model {
  Model(const Stream& s, uint64_t seed) : stream(s), arena(s, declare(), seed) {}

  Init declare() {
    Init init;
    net.add<Dense>(init.scope("hidden1"), 2, 32, Act::kTanh)
        .add<Dense>(init.scope("hidden2"), 32, 32, Act::kTanh)
        .add<Dense>(init.scope("logits"), 32, 2);
    return init;
  }
  Ctx context(Tape* tape) {
    return {.stream = stream,
            .weights = arena.weights(),
            .arena = arena,
            .ledger = ledger,
            .tape = tape,
            .training = tape != nullptr};
  }
  double accuracy(const Tensor& points, const Tensor& labels) {
    Ctx c = context(nullptr);
    const Var logits = net.forward(c, {points});
    return double(correct_count(c, logits.value, labels).to_vector<float>(stream)[0]) / double(labels.numel());
  }

  Stream stream;
  Sequential net;
  Arena arena;
  Ledger ledger;
};

/// Two spirals: point i of arm k at angle a, radius a / 10.
void make_spirals(const Stream& s, Tensor& points, Tensor& labels) {
  std::vector<float> xy;
  std::vector<int32_t> arms;
  for (int i = 0; i < 400; ++i) {
    const int arm = i % 2;
    const float a = 0.5f + 0.02f * float(i);
    const float turn = a + 3.14159265f * float(arm);
    xy.insert(xy.end(), {0.2f * a * std::cos(turn), 0.2f * a * std::sin(turn)});
    arms.push_back(arm);
  }
  points = Tensor::from<float>(s, xy, {400, 2});
  labels = Tensor::from<int32_t>(s, arms, {400});
}

}  // namespace

int main() {
  const Device device = parse_device("cpu:0");
  const Stream stream(device, share_cores({device})[0]);
  Tensor points, labels;
  make_spirals(stream, points, labels);

  Model model(stream, /*seed=*/1);
  Adam adam;
  for (int64_t step = 0; step < 600; ++step) {
    Tape tape;
    Ctx c = model.context(&tape);
    const Var loss = softmax_cross_entropy(c, model.net.forward(c, {points}), labels);
    BackwardCtx b{.stream = stream, .weights = model.arena.weights(), .arena = model.arena, .ledger = model.ledger};
    tape.backward({{loss, {}}}, b);
    adam.step(model.arena, stream, {.step = step, .groups = {{.lr = 1e-2f}}});
    if (step % 100 == 0)
      std::printf("step %3d  loss %.4f\n", int(step), double(loss.value.to_vector<float>(stream)[0]));
  }
  const double trained = model.accuracy(points, labels);

  const std::string path = (std::filesystem::temp_directory_path() / "spirals.safetensors").string();
  write_safetensors(path, make_checkpoint({{model.arena, stream, {}}}));
  Model loaded(stream, /*seed=*/2);
  const double before = loaded.accuracy(points, labels);
  load_checkpoint(read_safetensors(path), path, {{loaded.arena, stream, {}}});
  const double after = loaded.accuracy(points, labels);
  std::printf("accuracy: trained %.3f, another seed %.3f, after loading %.3f\n", trained, before, after);
  std::filesystem::remove(path);
  return trained > 0.95 && after == trained ? 0 : 1;
}
