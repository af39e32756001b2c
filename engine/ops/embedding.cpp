// Rows of a table by id. Backward keeps the ids; only the weight half has work.
#include "kernels/embedding.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct EmbeddingFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    gradient = Saved(std::move(dy), SaveKind::kDeferred, &c.ledger);
    return {};
  }
  void backward_weight(BackwardCtx& c) override {
    const GradSlot slot = c.arena.grad(table);
    launch(
        kernels::EmbeddingGrad{
            .ids = ids.cref(), .dy = gradient.cref(), .dtable = slot.ref, .accumulate = slot.accumulate},
        c.stream);
    ids.reset();
    gradient.reset();
  }
  Param table;
  Saved ids, gradient;
};

Tensor gather(Ctx& c, const Tensor& ids, const Rows& table, DType dtype) {
  expect_rank("embedding", "table", table.w.shape, 2);
  Shape shape = ids.shape();
  shape.push_back(table.w.dim(1));
  Tensor y = c.empty(shape, dtype);
  launch(kernels::Embedding{.ids = ids.cref(),
                            .table = table.w,
                            .y = y.ref(),
                            .direction = table.direction,
                            .m = table.m,
                            .v = table.v,
                            .scalars = table.scalars,
                            .place = table.place,
                            .group = table.group},
         c.stream);
  return y;
}

}  // namespace

Var embedding(Ctx& c, const Tensor& ids, const Param& table, DType dtype) {
  Tensor y = gather(c, ids, c.weights.rows_of(table), dtype);
  if (!c.recording({}, true)) return {y};
  auto f = std::make_unique<EmbeddingFn>();
  f->table = table;
  f->ids = c.save(SaveKind::kActivation, ids);
  return c.tape->record(std::move(f), y, {}, true);
}

Tensor gather_rows(Ctx& c, const Tensor& table, const Tensor& ids) {
  return gather(c, ids, {.w = table.cref()}, DType::kF32);
}

}  // namespace sluice
