// Finishing descriptors: each type's own checks, the heuristic's proposals, and the plan.
#include <algorithm>

#include "emu/cudnn_store.h"

namespace emu::lib {
namespace {

int64_t size_of(cudnnDataType_t type) {
  switch (type) {
    case CUDNN_DATA_FLOAT:
    case CUDNN_DATA_INT32:
      return 4;
    case CUDNN_DATA_HALF:
    case CUDNN_DATA_BFLOAT16:
      return 2;
    case CUDNN_DATA_DOUBLE:
    case CUDNN_DATA_INT64:
      return 8;
    default:
      return 1;
  }
}

cudnnStatus_t bad(const char* why) { return refuse(CUDNN_STATUS_BAD_PARAM, why); }

cudnnStatus_t finish_tensor(const Node& n) {
  const auto dimensions = n.list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  if (!n.has(CUDNN_ATTR_TENSOR_DATA_TYPE)) return bad("the tensor has no data type");
  if (dimensions.empty()) return bad("the tensor has no dimensions");
  if (n.list<int64_t>(CUDNN_ATTR_TENSOR_STRIDES).size() != dimensions.size())
    return bad("the tensor has not as many strides as dimensions");
  if (!n.has(CUDNN_ATTR_TENSOR_UNIQUE_ID)) return bad("the tensor has no unique id");
  const auto alignment = n.get<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0);
  if (alignment <= 0 || alignment % size_of(n.get<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE)) != 0)
    return bad("the tensor's alignment is no multiple of its elements");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_convolution(const Node& n) {
  const auto dims = n.get<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0);
  if (dims < 1 || !n.has(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) || !n.has(CUDNN_ATTR_CONVOLUTION_CONV_MODE))
    return bad("the convolution lacks its number of dimensions, mode or type");
  const auto all_at_least = [&](Name name, int64_t least) {
    const auto values = n.list<int64_t>(name);
    return int64_t(values.size()) == dims &&
           std::all_of(values.begin(), values.end(), [&](int64_t v) { return v >= least; });
  };
  if (!all_at_least(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 0) || !all_at_least(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 0) ||
      !all_at_least(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 1) || !all_at_least(CUDNN_ATTR_CONVOLUTION_DILATIONS, 1))
    return bad("the convolution's paddings, strides or dilations are missing or out of range");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_graph(Node& n) {
  const auto it = n.values.find(CUDNN_ATTR_OPERATIONGRAPH_OPS);
  if (it == n.values.end()) return bad("the graph has no operations");
  for (const NodePtr& operation : it->second.nodes)
    if (!operation->finished || !is_convolution(*operation)) return bad("an operation of the graph is not finalized");
  if (it->second.count > 1)
    return refuse(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "graphs of several operations are not emulated");
  n.put<int64_t>(CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, CUDNN_TYPE_INT64, {kExactEngine + 1});
  return CUDNN_STATUS_SUCCESS;
}

/// A finished child of the given type, or null.
const Node* finished(const Node& n, Name name, cudnnBackendDescriptorType_t type) {
  const Node* const child = n.child(name);
  return child != nullptr && child->finished && child->type == type ? child : nullptr;
}
const Node* operation_of(const Node& graph) { return graph.child(CUDNN_ATTR_OPERATIONGRAPH_OPS); }

cudnnStatus_t finish_engine(Node& n) {
  const Node* const graph = finished(n, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  const auto index = n.get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1);
  if (graph == nullptr || index < 0 || index > kExactEngine) return bad("the engine has no graph or no valid index");
  if (!takes(index, *operation_of(*graph)))
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "the engine does not take this operation");
  std::vector<cudnnBackendNumericalNote_t> notes;
  if (index == kTensorCoreEngine) notes.push_back(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
  if (index == kUnorderedEngine) notes.push_back(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
  n.put(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, notes);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_config(Node& n) {
  const Node* const engine = finished(n, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  if (engine == nullptr) return bad("the configuration has no finalized engine");
  const Node& operation = *operation_of(*engine->child(CUDNN_ATTR_ENGINE_OPERATION_GRAPH));
  const auto index = engine->get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  n.put<int64_t>(CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE, CUDNN_TYPE_INT64, {workspace_of(index, operation)});
  return CUDNN_STATUS_SUCCESS;
}

NodePtr proposal(const NodePtr& graph, int64_t index) {
  const auto engine = std::make_shared<Node>();
  engine->type = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
  engine->put_nodes(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, {graph});
  engine->put<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, {index});
  const auto config = std::make_shared<Node>();
  config->type = CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
  if (finish(engine) != CUDNN_STATUS_SUCCESS) return nullptr;
  config->put_nodes(CUDNN_ATTR_ENGINECFG_ENGINE, {engine});
  finish(config);
  return config;
}

/// Each mode proposes engines of its own, the exact one last.
cudnnStatus_t finish_heuristic(Node& n) {
  if (finished(n, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) == nullptr)
    return bad("the heuristic has no finalized graph");
  const auto mode = n.get<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_INSTANT);
  const NodePtr graph = n.values.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).nodes.front();
  std::vector<NodePtr> configs;
  for (const int64_t index : {mode == CUDNN_HEUR_MODE_FALLBACK ? kUnorderedEngine : kTensorCoreEngine, kExactEngine})
    if (NodePtr config = proposal(graph, index)) configs.push_back(std::move(config));
  n.put_nodes(CUDNN_ATTR_ENGINEHEUR_RESULTS, std::move(configs));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_plan(Node& n) {
  const Node* const config = finished(n, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  if (config == nullptr) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the plan has no finalized configuration");
  if (!n.has(CUDNN_ATTR_EXECUTION_PLAN_HANDLE) && !n.has(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP))
    return bad("the plan has neither a handle nor the properties of a device");
  n.put(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64,
        config->list<int64_t>(CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_pack(const Node& n) {
  auto ids = n.list<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  if (ids.size() != n.list<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).size())
    return bad("the variant pack has not as many pointers as ids");
  std::sort(ids.begin(), ids.end());
  if (std::adjacent_find(ids.begin(), ids.end()) != ids.end())
    return refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "the variant pack names an id twice");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check(Node& n) {
  switch (n.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
      return finish_tensor(n);
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
      return finish_convolution(n);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      return finish_graph(n);
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
      return finish_engine(n);
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
      return finish_config(n);
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      return finish_heuristic(n);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
      return finish_plan(n);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
      return finish_pack(n);
    case CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR:
      return n.values.empty() ? bad("the device has no properties") : CUDNN_STATUS_SUCCESS;
    default:
      return check_convolution(n);
  }
}

}  // namespace

cudnnStatus_t finish(const NodePtr& node) {
  if (node->finished) return bad("the descriptor is finalized already");
  const cudnnStatus_t code = check(*node);
  node->finished = code == CUDNN_STATUS_SUCCESS;
  return code;
}

}  // namespace emu::lib
