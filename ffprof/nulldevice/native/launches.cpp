// Kernels: they are named when a library is loaded, checked and counted when they are launched,
// and do nothing, but for those of values.cpp.
#include <cuda_runtime_api.h>
#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include "device.h"
#include "errors.h"
using namespace null_device;

struct Kernel {
    const char *name;
    std::atomic<uint64_t> *skipped = nullptr, *computed = nullptr;
};
static std::mutex &lock = *new std::mutex;
static auto &kernels = *new std::unordered_map<const void *, Kernel>;  // by the host's function

static cudaError_t launch(const void *function, dim3 grid, dim3 block, void **arguments) {
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (!grid.x || !grid.y || !grid.z || !threads || threads > 1024 || grid.y > 65535 || grid.z > 65535)
        return failed(cudaErrorInvalidConfiguration);
    use_device(current_device());
    Kernel *kernel;
    {
        std::lock_guard<std::mutex> hold(lock);
        kernel = &kernels[function];  // stays where it is
        if (!kernel->name) kernel->name = "a kernel without a name";
    }
    if (compute(kernel->name, arguments)) {
        if (!kernel->computed) kernel->computed = &tally(COMPUTED, kernel->name);
        ++*kernel->computed;
    } else {
        if (!kernel->skipped) kernel->skipped = &tally(KERNEL, kernel->name);
        ++*kernel->skipped;
    }
    return cudaSuccess;
}

struct Configuration { dim3 grid, block; size_t shared; cudaStream_t stream; };
static thread_local Configuration pushed;
API unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    pushed = {grid, block, shared, stream};
    return 0;
}
API cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    *grid = pushed.grid, *block = pushed.block, *shared = pushed.shared;
    *(cudaStream_t *)stream = pushed.stream;
    return cudaSuccess;
}
API cudaError_t __cudaGetKernel(cudaKernel_t *out, const void *function) { *out = (cudaKernel_t)function; return cudaSuccess; }
API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t, cudaStream_t) { return launch((const void *)kernel, grid, block, arguments); }
API cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t, cudaStream_t) { return launch(function, grid, block, arguments); }
API cudaError_t cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t, cudaStream_t) { return launch(function, grid, block, arguments); }
API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *function, void **arguments) { return launch(function, c->gridDim, c->blockDim, arguments); }

// Registration, as a library compiled by nvcc does it when it is loaded.
API char __cudaInitModule(void **) { return 1; }
API void **__cudaRegisterFatBinary(void *) { static void *handle[8]; return handle; }
API void __cudaRegisterFatBinaryEnd(void **) {}
API void __cudaUnregisterFatBinary(void **) {}
API void __cudaRegisterVar(void **, char *, char *, const char *, int, size_t, int, int) {}
API void __cudaRegisterManagedVar(void **, void **, char *, const char *, int, size_t, int, int) {}
API void __cudaRegisterFunction(void **, const char *host, char *, const char *name, int, uint3 *, uint3 *, dim3 *, dim3 *, int *) {
    std::lock_guard<std::mutex> hold(lock);
    kernels[host].name = name;
}

API cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int) { return cudaSuccess; }
API cudaError_t cudaFuncSetCacheConfig(const void *, cudaFuncCache) { return cudaSuccess; }
// The newest architecture that PyTorch's wheels are compiled for and the device can run: CUB looks
// its settings up by it, and fails for one that it was not compiled for.
static int compiled_for() {
    int own = description().major * 10 + description().minor, best = 50;
    for (int each : {60, 70, 75, 80, 86, 90, 100, 120})
        if (each <= own) best = each;
    return best;
}
API cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *out, const void *) {
    memset(out, 0, sizeof *out);
    out->maxThreadsPerBlock = 1024;
    out->numRegs = 32;  // of a kernel that is not compiled for anything: a middling one
    out->ptxVersion = out->binaryVersion = compiled_for();
    out->maxDynamicSharedSizeBytes = 49152;
    return cudaSuccess;
}
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *out, const void *, int threads, size_t) {
    *out = std::max(1, std::min(16, description().threads_per_multiprocessor / std::max(threads, 1)));
    return cudaSuccess;
}
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *out, const void *f, int threads, size_t shared, unsigned) { return cudaOccupancyMaxActiveBlocksPerMultiprocessor(out, f, threads, shared); }
