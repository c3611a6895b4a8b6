// cuDNN's graph interface. A convolution has two engines: one on tensor cores, which copies
// tensors into its workspace where the work is worth it, and one that needs no workspace. The
// sizes are those of ffprof/estimator/cuda/workspaces.py, which says where they come from; a test
// holds the two against each other. PyTorch takes the second engine where the first one's
// workspace cannot be allocated. Any other graph has one engine without a workspace.
#include <cudnn.h>
#include <dlfcn.h>
#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>
#include "device.h"
using namespace null_device;

struct Tensor {
    std::vector<int64_t> dims, strides;
    int type = CUDNN_DATA_FLOAT;
};
struct Problem {  // what a graph is about
    enum { OTHER, FORWARD, DATA_GRADIENT, WEIGHT_GRADIENT } which = OTHER;
    Tensor x, w, y;
};
struct Attribute { int64_t count; std::string bytes; };
struct Descriptor {
    cudnnBackendDescriptorType_t type;
    std::map<int, Attribute> has;
    Problem problem;
    int engine = 0;  // 0 on tensor cores, 1 without workspace
};

static size_t bytes_of(cudnnBackendAttributeType_t type) {
    switch (type) {
        case CUDNN_TYPE_HANDLE: case CUDNN_TYPE_INT64: case CUDNN_TYPE_DOUBLE: case CUDNN_TYPE_VOID_PTR:
        case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
        case CUDNN_TYPE_BOOLEAN: case CUDNN_TYPE_CHAR: return 1;
        case CUDNN_TYPE_FRACTION: return 16;
        default: return 4;
    }
}
static Descriptor *child(const Descriptor *d, int name) {
    auto found = d->has.find(name);
    if (found == d->has.end() || found->second.bytes.size() < sizeof(void *)) return nullptr;
    Descriptor *out;
    memcpy(&out, found->second.bytes.data(), sizeof out);
    return out;
}
static std::vector<int64_t> integers(const Descriptor *d, int name) {
    auto found = d->has.find(name);
    std::vector<int64_t> out;
    if (found == d->has.end()) return out;
    out.resize(found->second.bytes.size() / 8);
    memcpy(out.data(), found->second.bytes.data(), out.size() * 8);
    return out;
}
static Tensor tensor(const Descriptor *operation, int name) {
    Tensor t;
    const Descriptor *d = child(operation, name);
    if (!d) return t;
    t.dims = integers(d, CUDNN_ATTR_TENSOR_DIMENSIONS);
    t.strides = integers(d, CUDNN_ATTR_TENSOR_STRIDES);
    auto type = d->has.find(CUDNN_ATTR_TENSOR_DATA_TYPE);
    if (type != d->has.end()) memcpy(&t.type, type->second.bytes.data(), 4);
    return t;
}
// The first convolution of a graph; a fused one has others beside it.
static Problem problem_of(const Descriptor *graph) {
    Problem p;
    for (int64_t pointer : integers(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
        const Descriptor *d = (const Descriptor *)(uintptr_t)pointer;
        switch (d->type) {
            case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
                return {Problem::FORWARD, tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X),
                        tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W), tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y)};
            case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
                return {Problem::DATA_GRADIENT, tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX),
                        tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W), tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY)};
            case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
                return {Problem::WEIGHT_GRADIENT, tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X),
                        tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW), tensor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY)};
            default: break;
        }
    }
    return p;
}

// torch.backends.cudnn.benchmark, asked of PyTorch itself; false where it does not tell.
static bool autotuned() {
    static void *torch = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
    static auto context = torch ? (void *(*)())dlsym(torch, "_ZN2at13globalContextEv") : nullptr;
    static auto asked = torch ? (bool (*)(const void *))dlsym(torch, "_ZNK2at7Context14benchmarkCuDNNEv") : nullptr;
    return context && asked && asked(context());
}
static size_t element_bytes(const Tensor &t) {
    return t.type == CUDNN_DATA_DOUBLE ? 8 : t.type == CUDNN_DATA_HALF || t.type == CUDNN_DATA_BFLOAT16 ? 2 : 4;
}
static bool has_tensor_cores(const Tensor &x) {
    return x.type != CUDNN_DATA_DOUBLE && description().major >= (element_bytes(x) == 2 ? 7 : 8);
}
static double product(const std::vector<int64_t> &dims, size_t from = 0) {
    double n = 1;
    for (size_t i = from; i < dims.size(); i++) n *= (double)dims[i];
    return n;
}
// As PyTorch suggests a format: what is contiguous as well (the weight of a 1x1 convolution) is not.
static bool channels_last(const Tensor &t) {
    if (t.dims.size() != 4 || t.strides.size() != 4 || t.strides[1] != 1 || t.dims[1] <= 1) return false;
    return t.strides[3] != 1 || t.strides[2] != t.dims[3];
}
// Since Ampere, by compute capability; their TF32 is hardly faster than their float32.
static bool is_geforce() {
    int major = description().major, minor = description().minor;
    return (major == 8 && minor > 0) || major >= 12;
}
// Bytes of the copies that the engine on tensor cores makes; FLOP a byte decide whether it does.
static int64_t copies(const Problem &p) {
    if (p.which == Problem::OTHER || !has_tensor_cores(p.x)) return 0;
    double size = (double)element_bytes(p.x);
    double x = product(p.x.dims) * size, w = product(p.w.dims) * size, y = product(p.y.dims) * size;
    double flops = 2 * product(p.y.dims) * product(p.w.dims, 1);
    if (flops <= (autotuned() || (size == 4 && is_geforce()) ? 80 : 10) * (x + w + y)) return 0;
    bool half = size < 4;
    if (channels_last(p.x) || channels_last(p.w)) {
        if (half) return 0;
        return (int64_t)(p.which == Problem::FORWARD ? x + w : p.which == Problem::DATA_GRADIENT ? w + y : x + y);
    }
    if (p.which == Problem::FORWARD) return (int64_t)(half ? x + w + y : x + w);
    return (int64_t)(p.which == Problem::DATA_GRADIENT ? x + w + y : x + y);
}
static int engines(const Problem &p) { return p.which != Problem::OTHER && has_tensor_cores(p.x) ? 2 : 1; }
static int64_t workspace(const Problem &p, int engine) { return engine == 0 && engines(p) == 2 ? copies(p) : 0; }

API cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *d) {
    *d = (cudnnBackendDescriptor_t) new Descriptor{type, {}, {}};
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) {
    delete (Descriptor *)d;
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t) { return CUDNN_STATUS_SUCCESS; }
API cudnnStatus_t cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t) {
    COUNT(LIBRARY, "cudnnBackendExecute");
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *from) {
    Descriptor *d = (Descriptor *)to;
    d->has[name] = {n, from ? std::string((const char *)from, n * bytes_of(type)) : ""};
    switch (name) {  // the problem goes down the chain by value: what it came from may be destroyed
        case CUDNN_ATTR_OPERATIONGRAPH_OPS: d->problem = problem_of(d); break;
        case CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH: case CUDNN_ATTR_ENGINE_OPERATION_GRAPH:
        case CUDNN_ATTR_ENGINECFG_ENGINE: case CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG:
            if (const Descriptor *given = child(d, name)) d->problem = given->problem, d->engine = given->engine;
            break;
        case CUDNN_ATTR_ENGINE_GLOBAL_INDEX: d->engine = (int)integers(d, name)[0] == 0 ? 0 : 1; break;
        default: break;
    }
    return CUDNN_STATUS_SUCCESS;
}

static void put(int64_t value, int64_t *n, void *out) {
    *n = 1;
    if (out) memcpy(out, &value, sizeof value);
}
// Engine configurations, best first; the caller made their descriptors.
static void answer_engines(const Descriptor *d, int64_t asked, int64_t *n, void *out) {
    *n = engines(d->problem);
    if (out) *n = std::min(*n, asked);
    for (int64_t i = 0; out && i < *n; i++) {
        Descriptor *made = ((Descriptor **)out)[i];
        if (made) made->problem = d->problem, made->engine = (int)i;
    }
}
// PyTorch leaves out engines on tensor cores where allow_tf32 is off.
static void answer_notes(const Descriptor *d, int64_t asked, int64_t *n, void *out) {
    std::vector<int> notes;
    if (d->engine == 0 && engines(d->problem) == 2) notes = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
    *n = (int64_t)notes.size();
    if (out) *n = std::min(*n, asked), memcpy(out, notes.data(), sizeof(int) * *n);
}
API cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t asked, int64_t *n, void *out) {
    const Descriptor *d = (const Descriptor *)from;
    int64_t unwanted;
    if (!n) n = &unwanted;
    switch (name) {
        case CUDNN_ATTR_ENGINEHEUR_RESULTS: answer_engines(d, asked, n, out); return CUDNN_STATUS_SUCCESS;
        case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT: put(engines(d->problem), n, out); return CUDNN_STATUS_SUCCESS;
        case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE: answer_notes(d, asked, n, out); return CUDNN_STATUS_SUCCESS;
        case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE: case CUDNN_ATTR_ENGINE_KNOB_INFO: *n = 0; return CUDNN_STATUS_SUCCESS;
        case CUDNN_ATTR_ENGINE_GLOBAL_INDEX: put(d->engine, n, out); return CUDNN_STATUS_SUCCESS;
        case CUDNN_ATTR_ENGINECFG_ENGINE:
            *n = 1;
            if (Descriptor *made = out && asked ? *(Descriptor **)out : nullptr) made->problem = d->problem, made->engine = d->engine;
            return CUDNN_STATUS_SUCCESS;
        case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE: case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE:
            if (d->problem.which == Problem::OTHER) COUNT(ASSUMED, "workspace of a cuDNN graph without a convolution");
            else COUNT(MODELLED, "workspace of a cuDNN convolution");
            put(workspace(d->problem, d->engine), n, out);
            return CUDNN_STATUS_SUCCESS;
        case CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION:
            *n = 3;
            if (out) memcpy(out, "{}", std::min<int64_t>(asked, 3));
            return CUDNN_STATUS_SUCCESS;
        default: break;
    }
    auto found = d->has.find(name);
    if (found == d->has.end()) {  // nothing was set, so there are none of these
        *n = 0;
        if (out) memset(out, 0, asked * bytes_of(type));
        return CUDNN_STATUS_SUCCESS;
    }
    *n = found->second.count;
    if (out) *n = std::min(*n, asked), memcpy(out, found->second.bytes.data(), std::min<size_t>(found->second.bytes.size(), asked * bytes_of(type)));
    return CUDNN_STATUS_SUCCESS;
}
