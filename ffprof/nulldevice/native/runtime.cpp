// The CUDA runtime: memory, copies, streams and events. Kernels are in launches.cpp, what a device
// says of itself in properties.cpp. What is not written by hand is generated (answers.py).
#include <cuda_runtime_api.h>
#include <time.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include "device.h"
#include "errors.h"
using namespace null_device;

// ---- memory
API cudaError_t cudaMalloc(void **out, size_t size) {
    use_device(current_device());
    *out = size ? take(current_device(), size) : nullptr;
    return size && !*out ? failed(cudaErrorMemoryAllocation) : cudaSuccess;
}
API cudaError_t cudaFree(void *at) {
    use_device(current_device());
    return !at || give(at) ? cudaSuccess : failed(cudaErrorInvalidValue);
}
API cudaError_t cudaMallocAsync(void **out, size_t size, cudaStream_t) { return cudaMalloc(out, size); }
API cudaError_t cudaMallocFromPoolAsync(void **out, size_t size, cudaMemPool_t, cudaStream_t) { return cudaMalloc(out, size); }
API cudaError_t cudaFreeAsync(void *at, cudaStream_t) { return cudaFree(at); }
API cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
    use_device(current_device());
    uint64_t used = used_bytes(current_device());
    *all = description().total_bytes;
    *left = used > *all ? 0 : *all - used;
    return cudaSuccess;
}

// Pinned host memory: address -> bytes.
static std::mutex &pinned_lock = *new std::mutex;
static auto &pinned = *new std::map<const char *, size_t>;
API cudaError_t cudaHostRegister(void *at, size_t size, unsigned) {
    std::lock_guard<std::mutex> hold(pinned_lock);
    pinned[(char *)at] = size;
    return cudaSuccess;
}
API cudaError_t cudaHostUnregister(void *at) {
    std::lock_guard<std::mutex> hold(pinned_lock);
    return pinned.erase((char *)at) ? cudaSuccess : failed(cudaErrorHostMemoryNotRegistered);
}
API cudaError_t cudaHostAlloc(void **out, size_t size, unsigned flags) {
    use_device(current_device());
    if (posix_memalign(out, 4096, size ? size : 1)) return failed(cudaErrorMemoryAllocation);
    return cudaHostRegister(*out, size, flags);
}
API cudaError_t cudaMallocHost(void **out, size_t size) { return cudaHostAlloc(out, size, 0); }
API cudaError_t cudaFreeHost(void *at) {
    if (!at) return cudaSuccess;
    cudaError_t status = cudaHostUnregister(at);
    if (!status) free(at);
    return status;
}
static bool is_pinned(const void *at) {
    std::lock_guard<std::mutex> hold(pinned_lock);
    auto next = pinned.upper_bound((const char *)at);
    if (next == pinned.begin()) return false;
    --next;
    return (const char *)at < next->first + next->second;
}
API cudaError_t cudaHostGetDevicePointer(void **out, void *at, unsigned) {
    *out = is_pinned(at) ? at : nullptr;
    return *out ? cudaSuccess : failed(cudaErrorInvalidValue);
}
API cudaError_t cudaHostGetFlags(unsigned *flags, void *at) {
    *flags = 0;
    return is_pinned(at) ? cudaSuccess : failed(cudaErrorInvalidValue);
}
API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *out, const void *at) {
    memset(out, 0, sizeof *out);
    int device = device_of(at);
    bool host = device < 0 && is_pinned(at);
    out->type = device >= 0 ? cudaMemoryTypeDevice : host ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    out->device = device >= 0 ? device : host ? current_device() : -2;
    out->devicePointer = device >= 0 || host ? (void *)at : nullptr;
    out->hostPointer = host ? (void *)at : nullptr;
    return cudaSuccess;
}

// ---- copies, which are real
static cudaError_t move(void *to, const void *from, size_t bytes) {
    bool reads = device_of(from) >= 0, writes = device_of(to) >= 0;
    if (reads && !writes && bytes) note_read(bytes);
    if (writes && !reads && bytes) note_write(bytes);
    copy(to, from, bytes);
    return cudaSuccess;
}
API cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind) { return move(to, from, n); }
API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind, cudaStream_t) { return move(to, from, n); }
API cudaError_t cudaMemcpyPeer(void *to, int, const void *from, int, size_t n) { return move(to, from, n); }
API cudaError_t cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t n, cudaStream_t) { return move(to, from, n); }
API cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind) {
    for (size_t i = 0; i < height; i++) copy((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
    if (device_of(from) >= 0 && device_of(to) < 0) note_read(width * height);
    return cudaSuccess;
}
API cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t) {
    return cudaMemcpy2D(to, to_pitch, from, from_pitch, width, height, kind);
}
API cudaError_t cudaMemset(void *to, int value, size_t n) {
    char byte = (char)value;
    fill(to, &byte, 1, n);
    return cudaSuccess;
}
API cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t) { return cudaMemset(to, value, n); }
// Variables of kernels, which no kernel reads.
API cudaError_t cudaMemcpyToSymbol(const void *, const void *, size_t, size_t, cudaMemcpyKind) { return cudaSuccess; }
API cudaError_t cudaMemcpyToSymbolAsync(const void *, const void *, size_t, size_t, cudaMemcpyKind, cudaStream_t) { return cudaSuccess; }
API cudaError_t cudaGetSymbolAddress(void **out, const void *symbol) {
    static std::mutex &lock = *new std::mutex;
    static auto &known = *new std::map<std::pair<int, const void *>, void *>;
    std::lock_guard<std::mutex> hold(lock);
    void *&at = known[{current_device(), symbol}];
    if (!at) at = reserve(current_device(), PAGE);
    *out = at;
    return at ? cudaSuccess : failed(cudaErrorInvalidSymbol);
}

// ---- pools of cudaMallocAsync: one for every device, that gives back at once
API cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *out, int device) { *out = (cudaMemPool_t)(uintptr_t)(device + 1); return cudaSuccess; }
API cudaError_t cudaDeviceGetMemPool(cudaMemPool_t *out, int device) { return cudaDeviceGetDefaultMemPool(out, device); }
API cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) { return cudaSuccess; }
API cudaError_t cudaMemPoolSetAccess(cudaMemPool_t, const cudaMemAccessDesc *, size_t) { return cudaSuccess; }
API cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }
API cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr which, void *out) {
    COUNT(ASSUMED, "cudaMemPoolGetAttribute");
    if (which < cudaMemPoolAttrReleaseThreshold) *(int *)out = 1;
    else *(uint64_t *)out = held_bytes((int)(uintptr_t)pool - 1);
    return cudaSuccess;
}

// ---- streams: all work is done when it is queued
static std::atomic<uint64_t> streams{16};
API cudaError_t cudaStreamCreate(cudaStream_t *s) { *s = (cudaStream_t)(uintptr_t)(streams += 16); return cudaSuccess; }
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { return cudaStreamCreate(s); }
API cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned, int) { return cudaStreamCreate(s); }
API cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
API cudaError_t cudaStreamGetPriority(cudaStream_t, int *p) { *p = 0; return cudaSuccess; }
API cudaError_t cudaStreamGetFlags(cudaStream_t, unsigned *flags) { *flags = 0; return cudaSuccess; }
API cudaError_t cudaStreamGetDevice(cudaStream_t, int *device) { *device = current_device(); return cudaSuccess; }
API cudaError_t cudaStreamGetId(cudaStream_t s, unsigned long long *id) { *id = (uintptr_t)s; return cudaSuccess; }
API cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
API cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
API cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
API cudaError_t cudaStreamAddCallback(cudaStream_t s, cudaStreamCallback_t f, void *data, unsigned) { f(s, cudaSuccess, data); return cudaSuccess; }
API cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t f, void *data) { f(data); return cudaSuccess; }

// ---- events: the host's clock when they are recorded
struct Event { double at; };
static double milliseconds() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}
API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { *e = (cudaEvent_t) new Event{-1}; return cudaSuccess; }
API cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t e) { delete (Event *)e; return cudaSuccess; }
API cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t) { ((Event *)e)->at = milliseconds(); return cudaSuccess; }
API cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned) { return cudaEventRecord(e, s); }
API cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
API cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
API cudaError_t cudaEventElapsedTime(float *out, cudaEvent_t a, cudaEvent_t b) {
    double from = ((Event *)a)->at, to = ((Event *)b)->at;
    if (from < 0 || to < 0) return failed(cudaErrorInvalidResourceHandle);
    *out = (float)(to - from);
    return cudaSuccess;
}
