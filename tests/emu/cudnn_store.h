// Descriptors of cuDNN's graph API as typed attribute stores: what may be set, when, and what a finished one promises.
// Codes are those that cuDNN 9.19 returns for the same mistakes.
#pragma once

#include <cudnn.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emu/rt.h"

struct cudnnContext {
  static constexpr emu::rt::Made kMade = emu::rt::Made::kCudnn;
  int device = 0;
  cudaStream_t stream = nullptr;
};

namespace emu::lib {

using Name = cudnnBackendAttributeName_t;
using Type = cudnnBackendAttributeType_t;
struct Node;
using NodePtr = std::shared_ptr<Node>;

struct Value {
  Type type{};
  int64_t count = 0;
  std::vector<std::byte> bytes{};
  std::vector<NodePtr> nodes{};  // of CUDNN_TYPE_BACKEND_DESCRIPTOR
};

/// What a descriptor holds. Others that were given the descriptor keep it alive.
struct Node {
  cudnnBackendDescriptorType_t type{};
  bool finished = false;
  std::map<Name, Value> values{};

  bool has(Name name) const { return values.count(name) != 0; }
  template <class T>
  std::vector<T> list(Name name) const {
    const auto it = values.find(name);
    if (it == values.end()) return {};
    std::vector<T> out(it->second.bytes.size() / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), it->second.bytes.data(), out.size() * sizeof(T));
    return out;
  }
  template <class T>
  T get(Name name, T otherwise = {}) const {
    const std::vector<T> all = list<T>(name);
    return all.empty() ? otherwise : all.front();
  }
  /// Null where nothing was set.
  const Node* child(Name name) const {
    const auto it = values.find(name);
    return it == values.end() || it->second.nodes.empty() ? nullptr : it->second.nodes.front().get();
  }
  template <class T>
  void put(Name name, Type of, const std::vector<T>& all) {
    Value v{of, int64_t(all.size()), {}, {}};
    v.bytes.resize(all.size() * sizeof(T));
    if (!all.empty()) std::memcpy(v.bytes.data(), all.data(), v.bytes.size());
    values[name] = std::move(v);
  }
  void put_nodes(Name name, std::vector<NodePtr> nodes) {
    values[name] = {CUDNN_TYPE_BACKEND_DESCRIPTOR, int64_t(nodes.size()), {}, std::move(nodes)};
  }
};

/// What a handle points to.
struct Descriptor {
  static constexpr rt::Made kMade = rt::Made::kCudnnDescriptor;
  NodePtr node;
};

/// Remembers the reason for cudnnGetLastErrorString and returns the code.
cudnnStatus_t refuse(cudnnStatus_t code, std::string why);
std::string last_refusal();

cudnnStatus_t set_attribute(Node& node, Name name, Type type, int64_t count, const void* data);
cudnnStatus_t get_attribute(const Node& node, Name name, Type type, int64_t room, int64_t* count, void* data);
/// Whether a descriptor of this type is emulated.
bool is_emulated(cudnnBackendDescriptorType_t type);

// ---- cudnn_graph.cpp ----

/// Checks the descriptor and, for heuristics and plans, works out what can then be asked of it.
cudnnStatus_t finish(const NodePtr& node);

// ---- cudnn_convolution.cpp ----

bool is_convolution(const Node& operation);
/// The last step of finishing a convolution's operation.
cudnnStatus_t check_convolution(const Node& operation);
/// The engines, best first. 0 takes tensor cores (f32 rounded to TF32), 1 sums in an order of its own each time, 2 is
/// exact; so who does not read their notes gets wrong or changing numbers.
inline constexpr int64_t kTensorCoreEngine = 0, kUnorderedEngine = 1, kExactEngine = 2;
/// Whether the engine takes the operation.
bool takes(int64_t engine, const Node& operation);
int64_t workspace_of(int64_t engine, const Node& operation);
/// Queues the operation with the tensors of a variant pack.
cudnnStatus_t run_convolution(const cudnnContext& handle, const Node& plan, const Node& pack);

}  // namespace emu::lib
