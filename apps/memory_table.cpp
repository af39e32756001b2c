// Lays out expected memory.
#include "apps/memory_table.h"

#include "apps/table.h"

namespace sluice {

std::string memory_table(const std::vector<Device>& devices, const std::vector<WorkerBytes>& expected) {
  Table table(
      {"expected memory", "weights", "stash", "gradients", "optimizer", "parcels", "activations", "working", "all"});
  for (size_t d = 0; d < expected.size(); ++d) {
    const WorkerBytes& b = expected[d];
    std::vector<std::string> row{devices[d].text()};
    for (const int64_t bytes :
         {b.weights, b.stash, b.gradients, b.optimizer, b.parcels, b.activations, b.working, b.peak()})
      row.push_back(bytes_text(bytes));
    table.add(row);
  }
  return table.text();
}

}  // namespace sluice
