// The driver API: what PyTorch, Triton and expandable segments call. What is not written by hand
// is generated (answers.py).
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include "device.h"
using namespace null_device;

#define CONTEXT(device) ((CUcontext)(uintptr_t)(0x1000 + (device)))
static int device_in(CUcontext c) { return (int)((uintptr_t)c - 0x1000); }

API CUresult cuInit(unsigned) { return description().count ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE; }
API CUresult cuDriverGetVersion(int *v) { *v = CUDART_VERSION; return CUDA_SUCCESS; }
API CUresult cuGetErrorString(CUresult e, const char **s) { *s = cudaGetErrorString((cudaError_t)e); return CUDA_SUCCESS; }
API CUresult cuGetErrorName(CUresult e, const char **s) { *s = cudaGetErrorName((cudaError_t)e); return CUDA_SUCCESS; }
#if CUDA_VERSION >= 13000
// There is nothing to log, so the callback is never called.
API CUresult cuLogsRegisterCallback(CUlogsCallback, void *, CUlogsCallbackHandle *out) { if (out) *out = nullptr; return CUDA_SUCCESS; }
API CUresult cuLogsUnregisterCallback(CUlogsCallbackHandle) { return CUDA_SUCCESS; }
#endif
API CUresult cuDeviceGetCount(int *n) { *n = description().count; return CUDA_SUCCESS; }
API CUresult cuDeviceGet(CUdevice *d, int ordinal) {
    if (ordinal < 0 || ordinal >= description().count) return CUDA_ERROR_INVALID_DEVICE;
    *d = ordinal;
    return CUDA_SUCCESS;
}
API CUresult cuDeviceGetName(char *out, int size, CUdevice) { snprintf(out, size, "%s", description().name); return CUDA_SUCCESS; }
API CUresult cuDeviceGetUuid_v2(CUuuid *out, CUdevice d) { uuid_of(d, (unsigned char *)out); return CUDA_SUCCESS; }
API CUresult cuDeviceTotalMem_v2(size_t *n, CUdevice) { *n = description().total_bytes; return CUDA_SUCCESS; }
API CUresult cuDeviceGetAttribute(int *out, CUdevice_attribute a, CUdevice d) { return (CUresult)cudaDeviceGetAttribute(out, (cudaDeviceAttr)a, d); }
API CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned *flags, int *active) { *flags = 0, *active = has_context(d); return CUDA_SUCCESS; }
API CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) { use_device(d); *c = CONTEXT(d); return CUDA_SUCCESS; }
API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
API CUresult cuCtxGetCurrent(CUcontext *c) { *c = has_context(current_device()) ? CONTEXT(current_device()) : nullptr; return CUDA_SUCCESS; }
API CUresult cuCtxGetDevice(CUdevice *d) { *d = current_device(); return CUDA_SUCCESS; }
API CUresult cuCtxSetCurrent(CUcontext c) { if (c) set_current_device(device_in(c)); return CUDA_SUCCESS; }
API CUresult cuCtxPushCurrent_v2(CUcontext c) { return cuCtxSetCurrent(c); }
API CUresult cuCtxPopCurrent_v2(CUcontext *c) { return cuCtxGetCurrent(c); }
API CUresult cuCtxSynchronize(void) { return CUDA_SUCCESS; }
API CUresult cuStreamSynchronize(CUstream) { return CUDA_SUCCESS; }
API CUresult cuMemGetInfo_v2(size_t *left, size_t *all) { return (CUresult)cudaMemGetInfo(left, all); }
API CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t n) { return (CUresult)cudaMalloc((void **)out, n); }
API CUresult cuMemFree_v2(CUdeviceptr at) { return (CUresult)cudaFree((void *)at); }
API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t n) { return (CUresult)cudaMemcpy((void *)to, from, n, cudaMemcpyHostToDevice); }
API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n, CUstream) { return cuMemcpyHtoD_v2(to, from, n); }
API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t n) { return (CUresult)cudaMemcpy(to, (void *)from, n, cudaMemcpyDeviceToHost); }
API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n, CUstream) { return cuMemcpyDtoH_v2(to, from, n); }
API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream) { copy((void *)to, (void *)from, n); return CUDA_SUCCESS; }
API CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char v, size_t n, CUstream) { fill((void *)at, &v, 1, n); return CUDA_SUCCESS; }
API CUresult cuMemsetD32Async(CUdeviceptr at, unsigned v, size_t n, CUstream) { fill((void *)at, &v, 4, n); return CUDA_SUCCESS; }
API CUresult cuPointerGetAttribute(void *out, CUpointer_attribute which, CUdeviceptr at) {
    int device = device_of((void *)at);
    if (device < 0) return CUDA_ERROR_INVALID_VALUE;
    switch (which) {
        case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)out = CONTEXT(device); return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)out = device; return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *(unsigned *)out = CU_MEMORYTYPE_DEVICE; return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)out = at; return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(unsigned *)out = 0; return CUDA_SUCCESS;
        default: COUNT(UNKNOWN, "cuPointerGetAttribute"); return CUDA_ERROR_NOT_SUPPORTED;
    }
}

// ---- virtual memory, of which expandable segments are made: addresses, and memory apart from them
struct Chunk { int device; size_t bytes; };
API CUresult cuMemAddressReserve(CUdeviceptr *out, size_t size, size_t, CUdeviceptr, unsigned long long) {
    *out = (CUdeviceptr)reserve(current_device(), size);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
API CUresult cuMemAddressFree(CUdeviceptr at, size_t) { unreserve((void *)at); return CUDA_SUCCESS; }
API CUresult cuMemCreate(CUmemGenericAllocationHandle *out, size_t size, const CUmemAllocationProp *p, unsigned long long) {
    int device = p && p->location.type == CU_MEM_LOCATION_TYPE_DEVICE ? p->location.id : current_device();
    if (device < 0 || device >= description().count) return CUDA_ERROR_INVALID_DEVICE;
    if (!charge(device, size)) return CUDA_ERROR_OUT_OF_MEMORY;
    *out = (CUmemGenericAllocationHandle) new Chunk{device, size};
    return CUDA_SUCCESS;
}
API CUresult cuMemRelease(CUmemGenericAllocationHandle h) {
    Chunk *chunk = (Chunk *)h;
    discharge(chunk->device, chunk->bytes);
    delete chunk;
    return CUDA_SUCCESS;
}
API CUresult cuMemMap(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long) { return CUDA_SUCCESS; }
API CUresult cuMemUnmap(CUdeviceptr at, size_t n) { forget((void *)at, n); return CUDA_SUCCESS; }
API CUresult cuMemSetAccess(CUdeviceptr, size_t, const CUmemAccessDesc *, size_t) { return CUDA_SUCCESS; }
API CUresult cuMemGetAllocationGranularity(size_t *out, const CUmemAllocationProp *, CUmemAllocationGranularity_flags) { *out = PAGE; return CUDA_SUCCESS; }

// ---- kernels that were compiled at run time
API CUresult cuModuleLoadData(CUmodule *out, const void *) { *out = (CUmodule)(uintptr_t)1; return CUDA_SUCCESS; }
API CUresult cuModuleLoadDataEx(CUmodule *out, const void *, unsigned, CUjit_option *, void **) { return cuModuleLoadData(out, nullptr); }
API CUresult cuModuleLoad(CUmodule *out, const char *) { return cuModuleLoadData(out, nullptr); }
API CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
API CUresult cuModuleGetFunction(CUfunction *out, CUmodule, const char *name) {
    *out = (CUfunction)&tally(KERNEL, name);  // where its launches are counted
    return CUDA_SUCCESS;
}
API CUresult cuLaunchKernel(CUfunction f, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **, void **) {
    ++*(std::atomic<uint64_t> *)f;
    return CUDA_SUCCESS;
}
API CUresult cuLaunchKernelEx(const CUlaunchConfig *, CUfunction f, void **, void **) { ++*(std::atomic<uint64_t> *)f; return CUDA_SUCCESS; }
API CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
API CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }
API CUresult cuFuncGetAttribute(int *out, CUfunction_attribute which, CUfunction) {
    *out = which == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : which == CU_FUNC_ATTRIBUTE_NUM_REGS ? 32 : 0;
    return CUDA_SUCCESS;
}
API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *out, CUfunction, int threads, size_t) { return (CUresult)cudaOccupancyMaxActiveBlocksPerMultiprocessor(out, nullptr, threads, 0); }
API CUresult cuOccupancyMaxActiveClusters(int *out, CUfunction, const CUlaunchConfig *) { *out = description().multiprocessors; return CUDA_SUCCESS; }
API CUresult cuTensorMapEncodeTiled(CUtensorMap *out, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
    memset(out, 0, sizeof *out);
    return CUDA_SUCCESS;
}

// ---- functions by name: this library's own, in their newest version
static void *entry(const char *name) {
    static void *self = [] {
        Dl_info info;
        return dladdr((void *)&device_in, &info) ? dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
    }();
    for (const char *version : {"_v4", "_v3", "_v2", ""})
        if (void *found = self ? dlsym(self, (std::string(name) + version).c_str()) : nullptr) return found;
    tally(UNKNOWN, name)++;
    return nullptr;
}
API cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned, unsigned long long, cudaDriverEntryPointQueryResult *result) {
    *out = entry(name);
    if (result) *result = *out ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
API cudaError_t cudaGetDriverEntryPoint(const char *name, void **out, unsigned long long flags, cudaDriverEntryPointQueryResult *result) { return cudaGetDriverEntryPointByVersion(name, out, 0, flags, result); }
API CUresult cuGetProcAddress_v2(const char *name, void **out, int, cuuint64_t, CUdriverProcAddressQueryResult *result) {
    *out = entry(name);
    if (result) *result = *out ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *out ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
