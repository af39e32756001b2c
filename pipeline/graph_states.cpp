// Topological order, nodes that every path passes, and the cuts between them.
#include "pipeline/graph_states.h"

#include <algorithm>
#include <deque>
#include <set>

#include "engine/error.h"

namespace sluice {
namespace {

using Places = std::vector<size_t>;

/// The nodes that are cut, with their edges among each other.
struct CutGraph {
  std::vector<bool> kept;  // by place in the profile
  std::vector<Places> to, from;
};

CutGraph cut_graph(const Profile& p) {
  CutGraph g;
  const size_t n = p.nodes.size();
  std::vector<bool> read(n, false);
  for (const auto& edge : p.edges) read[edge.first] = true;
  for (size_t i = 0; i < n; ++i) {
    const bool unread_item = !read[i] && p.nodes[i].description.find("getitem") != std::string::npos;
    g.kept.push_back(!p.nodes[i].is_input() && !unread_item);
  }
  g.to.resize(n);
  g.from.resize(n);
  for (const auto& [from, to] : p.edges) {
    if (!g.kept[from] || !g.kept[to]) continue;
    g.to[from].push_back(to);
    g.from[to].push_back(from);
  }
  return g;
}

/// The kept nodes, each behind its sources, one branch after another.
Places topological_order(const Profile& p, const CutGraph& g) {
  std::vector<size_t> missing(p.nodes.size());
  Places open, order;
  for (size_t i = p.nodes.size(); i-- > 0;) {
    missing[i] = g.from[i].size();
    if (g.kept[i] && missing[i] == 0) open.push_back(i);
  }
  while (!open.empty()) {
    const size_t node = open.back();
    open.pop_back();
    order.push_back(node);
    for (size_t i = g.to[node].size(); i-- > 0;)
      if (--missing[g.to[node][i]] == 0) open.push_back(g.to[node][i]);
  }
  for (size_t i = 0; i < p.nodes.size(); ++i)
    if (g.kept[i] && missing[i] > 0)
      throw DataError(str("profile: ", p.nodes[i].id, " is on or behind a cycle, expected a graph without one"));
  if (order.empty()) throw DataError("profile: no node but inputs");
  return order;
}

/// The places in the order behind which a segment ends: those of nodes that no edge jumps over, and the last.
Places segment_ends(const CutGraph& g, const Places& order) {
  const size_t n = order.size();
  std::vector<size_t> at(g.kept.size(), 0);
  for (size_t t = 0; t < n; ++t) at[order[t]] = t;
  std::vector<int64_t> jumps(n + 1, 0);  // differences: how many edges jump over each place
  const auto jump = [&](size_t begin, size_t end) {
    if (begin >= end) return;
    ++jumps[begin];
    --jumps[end];
  };
  for (size_t t = 0; t < n; ++t) {
    for (const size_t reader : g.to[order[t]]) jump(t + 1, at[reader]);
    if (g.from[order[t]].empty()) jump(0, t);
    if (g.to[order[t]].empty()) jump(t + 1, n);
  }
  Places ends;
  int64_t over = 0;
  for (size_t t = 0; t < n; ++t) {
    over += jumps[t];
    if (over == 0 || t + 1 == n) ends.push_back(t);
  }
  return ends;
}

/// The sets of a segment's nodes that hold all their sources, smallest first, without the empty one; nothing where
/// there are more than `most`.
std::vector<Places> closed_sets(const CutGraph& g, const Places& segment, size_t most) {
  std::set<Places> seen;
  std::deque<Places> queue{{}};
  std::vector<Places> sets;
  const std::set<size_t> mine(segment.begin(), segment.end());
  while (!queue.empty()) {
    const Places set = std::move(queue.front());
    queue.pop_front();
    const auto holds = [&](size_t node) { return std::find(set.begin(), set.end(), node) != set.end(); };
    for (const size_t node : segment) {
      if (holds(node)) continue;
      const bool open = std::all_of(g.from[node].begin(), g.from[node].end(),
                                    [&](size_t source) { return mine.count(source) == 0 || holds(source); });
      if (!open) continue;
      Places next = set;
      next.insert(std::upper_bound(next.begin(), next.end(), node), node);
      if (!seen.insert(next).second) continue;
      if (seen.size() > most) return {};
      sets.push_back(next);
      queue.push_back(std::move(next));
    }
  }
  return sets;
}

std::vector<Places> one_after_another(const Places& segment) {
  std::vector<Places> sets;
  for (size_t i = 1; i <= segment.size(); ++i) sets.emplace_back(segment.begin(), segment.begin() + std::ptrdiff_t(i));
  return sets;
}

void add_node(CutState& s, const ProfileNode& node, size_t place) {
  s.before[place] = true;
  s.seconds += (node.forward_ms + node.backward_ms) / 1e3;
  s.activations += node.activations();
  s.parameters += node.parameter_bytes;
}

double crossing(const Profile& p, const CutGraph& g, const CutState& s) {
  double bytes = 0;
  for (size_t i = 0; i < p.nodes.size(); ++i)
    if (s.before[i] && std::any_of(g.to[i].begin(), g.to[i].end(), [&](size_t reader) { return !s.before[reader]; }))
      bytes += p.nodes[i].activations();
  return bytes;
}

}  // namespace

bool CutState::contains(const CutState& other) const {
  for (size_t i = 0; i < before.size(); ++i)
    if (other.before[i] && !before[i]) return false;
  return true;
}

std::vector<CutState> cut_states(const Profile& p, size_t most) {
  const CutGraph g = cut_graph(p);
  const Places order = topological_order(p, g);
  std::vector<CutState> states;
  CutState base{.before = std::vector<bool>(p.nodes.size(), false)};
  size_t begin = 0;
  for (const size_t end : segment_ends(g, order)) {
    const Places segment(order.begin() + std::ptrdiff_t(begin), order.begin() + std::ptrdiff_t(end) + 1);
    std::vector<Places> sets = closed_sets(g, segment, most);
    if (sets.empty()) sets = one_after_another(segment);
    for (const Places& set : sets) {
      CutState s = base;
      for (const size_t node : set) add_node(s, p.nodes[node], node);
      s.crossing = crossing(p, g, s);
      states.push_back(std::move(s));
    }
    base = states.back();
    begin = end + 1;
  }
  return states;
}

void assign_stages(Profile& p, const std::vector<CutState>& cuts) {
  for (size_t i = 0; i < p.nodes.size(); ++i) {
    ProfileNode& node = p.nodes[i];
    node.stage.reset();
    if (node.is_input()) node.stage = 0;
    for (size_t s = 0; s < cuts.size() && !node.stage; ++s)
      if (cuts[s].before[i]) node.stage = int(s);
  }
  for (const auto& [from, to] : p.edges)  // items that nobody reads are before no cut
    if (!p.nodes[to].stage) p.nodes[to].stage = p.nodes[from].stage;
}

}  // namespace sluice
