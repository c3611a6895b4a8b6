// CUDA graphs. While a stream is captured, what is called is done at once; a graph that is launched
// does nothing, as its kernels would.
#include <cuda_runtime_api.h>
#include <cstdlib>
#include <map>
#include <mutex>
#include "device.h"
#include "errors.h"
using namespace null_device;

static std::mutex &lock = *new std::mutex;
static auto &captured = *new std::map<cudaStream_t, unsigned long long>;  // stream -> number
static unsigned long long captures;

API cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
    std::lock_guard<std::mutex> hold(lock);
    if (captured.count(s)) return failed(cudaErrorIllegalState);
    captured[s] = ++captures;
    return cudaSuccess;
}
API cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph) {
    std::lock_guard<std::mutex> hold(lock);
    if (!captured.erase(s)) return failed(cudaErrorIllegalState);
    *graph = (cudaGraph_t)calloc(1, 8);
    return cudaSuccess;
}
static cudaError_t answer(cudaStream_t s, cudaStreamCaptureStatus *status, unsigned long long *id, cudaGraph_t *graph, const cudaGraphNode_t **nodes, size_t *n) {
    std::lock_guard<std::mutex> hold(lock);
    auto found = captured.find(s);
    bool active = found != captured.end();
    *status = active ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    if (id) *id = active ? found->second : 0;
    if (graph) *graph = nullptr;
    if (nodes) *nodes = nullptr;
    if (n) *n = 0;
    return cudaSuccess;
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status) { return answer(s, status, nullptr, nullptr, nullptr, nullptr); }
#if CUDART_VERSION >= 13000
API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, cudaStreamCaptureStatus *status, unsigned long long *id, cudaGraph_t *graph, const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges, size_t *n) {
    if (edges) *edges = nullptr;
    return answer(s, status, id, graph, nodes, n);
}
#else
API cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t s, cudaStreamCaptureStatus *status, unsigned long long *id, cudaGraph_t *graph, const cudaGraphNode_t **nodes, size_t *n) { return answer(s, status, id, graph, nodes, n); }
#endif
API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *) { return cudaSuccess; }
API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *out, cudaGraph_t, unsigned long long) { *out = (cudaGraphExec_t)calloc(1, 8); return cudaSuccess; }
API cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) {
    COUNT(KERNEL, "a graph of kernels");
    return cudaSuccess;
}
API cudaError_t cudaGraphDestroy(cudaGraph_t graph) { free(graph); return cudaSuccess; }
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { free(graph); return cudaSuccess; }
// One, for PyTorch warns of graphs without nodes.
API cudaError_t cudaGraphGetNodes(cudaGraph_t, cudaGraphNode_t *nodes, size_t *n) {
    if (nodes && *n) nodes[0] = nullptr;
    *n = 1;
    return cudaSuccess;
}
API cudaError_t cudaDeviceGetGraphMemAttribute(int, cudaGraphMemAttributeType, void *out) { *(uint64_t *)out = 0; return cudaSuccess; }
API cudaError_t cudaDeviceSetGraphMemAttribute(int, cudaGraphMemAttributeType, void *) { return cudaSuccess; }
