// Profiles of networks as text, in the format of PipeDream's profiler (Narayanan et al., SOSP 2019): what partitioners
// of both systems read and write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sluice {

/// A module or an operation of the network's graph.
struct ProfileNode {
  std::string id;  // "node4"
  std::string description;
  double forward_ms = 0, backward_ms = 0;
  std::vector<double> activation_bytes{};  // of what it gives, one number each; a list where it gives several
  double parameter_bytes = 0;
  std::optional<int> stage{};  // where a partitioner has put it
  double activations() const;  // their sum
  /// Inputs cost nothing and belong to the first stage.
  bool is_input() const { return description.starts_with("Input"); }
  bool operator==(const ProfileNode&) const = default;
};

struct Profile {
  std::vector<ProfileNode> nodes;
  std::vector<std::pair<size_t, size_t>> edges;  // places in nodes: who gives, who reads
  bool operator==(const Profile&) const = default;
};

/// One line per node, "node1 -- Conv2d(3, 64) -- forward_compute_time=0.52, backward_compute_time=1.04,
/// activation_size=3211264.0, parameter_size=37632.0[ -- stage_id=0]", then a line per edge, "\tnode1 -- node2". Lists
/// are written "[a; b]". Blank lines are skipped. Throws DataError with `where`, the line and what was expected for:
/// a line that is neither, a missing or bad number, a node that is named twice, an edge of one that is not named.
Profile parse_profile(const std::string& text, const std::string& where);
/// The inverse, with times to 1e-6 ms.
std::string to_text(const Profile& profile);

}  // namespace sluice
