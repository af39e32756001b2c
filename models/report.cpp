// Parameters are counted by the second word of their path, "stage0.f.conv1.weight".
#include "models/report.h"

#include <algorithm>

namespace sluice {

std::vector<StageParams> parameter_report(const std::vector<StageNet>& nets) {
  std::vector<StageParams> report;
  for (size_t i = 0; i < nets.size(); ++i) {
    StageParams& stage = report.emplace_back();
    stage.stage = nets[i].name;
    for (const ParamSpec& p : nets[i].init.params()) {
      const size_t begin = nets[i].name.size() + 1, end = p.path.find('.', begin);
      const std::string module = p.path.substr(begin, end - begin);
      const auto it = std::find_if(stage.modules.begin(), stage.modules.end(),
                                   [&](const auto& entry) { return entry.first == module; });
      if (it == stage.modules.end())
        stage.modules.emplace_back(module, p.shape.numel());
      else
        it->second += p.shape.numel();
      const bool trains_only = module == "g" || module == "p" || (module == "b" && i + 1 < nets.size());
      (trains_only ? stage.affiliate : stage.effective) += p.shape.numel();
    }
  }
  return report;
}

}  // namespace sluice
