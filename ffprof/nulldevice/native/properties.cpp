// What a device says of itself, and which one is current. Limits that the description does not
// give are those of the CUDA C++ Programming Guide's table of compute capabilities.
#include <cuda_runtime_api.h>
#include <algorithm>
#include <cstdio>
#include <cstring>
#include "device.h"
#include "errors.h"
using namespace null_device;

static thread_local cudaError_t last_error;
cudaError_t failed(cudaError_t error) { return last_error = error; }
API cudaError_t cudaGetLastError(void) {
    cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}
API cudaError_t cudaPeekAtLastError(void) { return last_error; }
API const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
        case cudaSuccess: return "no error";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorNotSupported: return "operation not supported (by ffprof's null device)";
        default: return "an error of ffprof's null device";
    }
}
API const char *cudaGetErrorName(cudaError_t e) {
    switch (e) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
        case cudaErrorNoDevice: return "cudaErrorNoDevice";
        case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
        case cudaErrorNotSupported: return "cudaErrorNotSupported";
        default: return "cudaErrorUnknown";
    }
}

static bool known(int device) { return device >= 0 && device < description().count; }
API cudaError_t cudaGetDeviceCount(int *n) {
    *n = description().count;
    return *n ? cudaSuccess : failed(cudaErrorNoDevice);
}
API cudaError_t cudaGetDevice(int *device) { *device = current_device(); return cudaSuccess; }
API cudaError_t cudaSetDevice(int device) {
    if (!known(device)) return failed(cudaErrorInvalidDevice);
    set_current_device(device);
    use_device(device);
    return cudaSuccess;
}
API cudaError_t cudaInitDevice(int device, unsigned, unsigned) { return known(device) ? cudaSuccess : failed(cudaErrorInvalidDevice); }
API cudaError_t cudaDeviceSynchronize(void) { return cudaSuccess; }
API cudaError_t cudaDeviceReset(void) { return cudaSuccess; }
API cudaError_t cudaSetDeviceFlags(unsigned) { return cudaSuccess; }
API cudaError_t cudaGetDeviceFlags(unsigned *flags) { *flags = 0; return cudaSuccess; }
API cudaError_t cudaDeviceSetLimit(cudaLimit, size_t) { return cudaSuccess; }
API cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0, *greatest = -5; return cudaSuccess; }
API cudaError_t cudaDriverGetVersion(int *v) { *v = CUDART_VERSION; return cudaSuccess; }
API cudaError_t cudaRuntimeGetVersion(int *v) { *v = CUDART_VERSION; return cudaSuccess; }
API cudaError_t cudaProfilerStart(void) { return cudaSuccess; }
API cudaError_t cudaProfilerStop(void) { return cudaSuccess; }
// Devices do not reach each other's memory, as GeForce cards do not.
API cudaError_t cudaDeviceCanAccessPeer(int *can, int, int) { *can = 0; return cudaSuccess; }
API cudaError_t cudaDeviceGetPCIBusId(char *out, int size, int device) {
    if (!known(device)) return failed(cudaErrorInvalidDevice);
    snprintf(out, size, "0000:%02x:00.0", device + 1);
    return cudaSuccess;
}

struct Limits { int shared, shared_per_block, blocks, l2; };  // bytes, bytes, blocks, bytes
static Limits limits() {
    switch (description().major * 10 + description().minor) {
        case 60: case 61: case 62: return {98304, 49152, 32, 2 << 20};
        case 70: case 72: return {98304, 98304, 32, 6 << 20};
        case 75: return {65536, 65536, 16, 4 << 20};
        case 80: case 87: return {167936, 166912, 32, 40 << 20};
        case 86: return {102400, 101376, 16, 4 << 20};
        case 89: return {102400, 101376, 24, 24 << 20};
        case 90: case 100: case 103: return {233472, 232448, 32, 50 << 20};
        default: return {102400, 101376, 24, 32 << 20};
    }
}
API cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
    if (!known(device)) return failed(cudaErrorInvalidDevice);
    const Description &d = description();
    Limits most = limits();
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", d.name);
    uuid_of(device, (unsigned char *)&p->uuid);
    p->totalGlobalMem = d.total_bytes;
    p->sharedMemPerBlock = 49152;
    p->sharedMemPerBlockOptin = most.shared_per_block;
    p->sharedMemPerMultiprocessor = most.shared;
    p->reservedSharedMemPerBlock = d.major >= 8 ? 1024 : 0;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->memPitch = 2147483647;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsPerMultiProcessor = d.threads_per_multiprocessor;
    p->maxBlocksPerMultiProcessor = most.blocks;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024, p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 2147483647, p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->totalConstMem = 65536;
    p->major = d.major, p->minor = d.minor;
    p->textureAlignment = 512, p->texturePitchAlignment = 32, p->surfaceAlignment = 512;
    p->multiProcessorCount = d.multiprocessors;
    p->canMapHostMemory = p->unifiedAddressing = p->concurrentKernels = p->asyncEngineCount = 1;
    p->managedMemory = p->concurrentManagedAccess = p->cooperativeLaunch = 1;
    p->l2CacheSize = most.l2;
    p->persistingL2CacheMaxSize = most.l2 / 4 * 3;
    p->memoryBusWidth = 128;
    p->streamPrioritiesSupported = p->globalL1CacheSupported = p->localL1CacheSupported = 1;
    p->pciBusID = device + 1;
    p->memoryPoolsSupported = 1;
    return cudaSuccess;
}
API cudaError_t cudaDeviceGetAttribute(int *out, cudaDeviceAttr which, int device) {
    cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, device)) return cudaErrorInvalidDevice;
    switch (which) {
        case cudaDevAttrMaxThreadsPerBlock: *out = p.maxThreadsPerBlock; break;
        case cudaDevAttrMaxBlockDimX: case cudaDevAttrMaxBlockDimY: *out = 1024; break;
        case cudaDevAttrMaxBlockDimZ: *out = 64; break;
        case cudaDevAttrMaxGridDimX: *out = p.maxGridSize[0]; break;
        case cudaDevAttrMaxGridDimY: case cudaDevAttrMaxGridDimZ: *out = 65535; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *out = (int)p.sharedMemPerBlock; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *out = (int)p.sharedMemPerBlockOptin; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *out = (int)p.sharedMemPerMultiprocessor; break;
        case cudaDevAttrReservedSharedMemoryPerBlock: *out = (int)p.reservedSharedMemPerBlock; break;
        case cudaDevAttrTotalConstantMemory: *out = 65536; break;
        case cudaDevAttrWarpSize: *out = 32; break;
        case cudaDevAttrMaxPitch: *out = 2147483647; break;
        case cudaDevAttrMaxRegistersPerBlock: case cudaDevAttrMaxRegistersPerMultiprocessor: *out = 65536; break;
        case cudaDevAttrClockRate: case cudaDevAttrMemoryClockRate: *out = 1000000; break;  // kHz; stated by nobody
        case cudaDevAttrMultiProcessorCount: *out = p.multiProcessorCount; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *out = p.maxThreadsPerMultiProcessor; break;
        case cudaDevAttrMaxBlocksPerMultiprocessor: *out = p.maxBlocksPerMultiProcessor; break;
        case cudaDevAttrComputeCapabilityMajor: *out = p.major; break;
        case cudaDevAttrComputeCapabilityMinor: *out = p.minor; break;
        case cudaDevAttrL2CacheSize: *out = p.l2CacheSize; break;
        case cudaDevAttrGlobalMemoryBusWidth: *out = p.memoryBusWidth; break;
        case cudaDevAttrPciBusId: *out = p.pciBusID; break;
        case cudaDevAttrAsyncEngineCount: case cudaDevAttrConcurrentKernels: case cudaDevAttrUnifiedAddressing:
        case cudaDevAttrManagedMemory: case cudaDevAttrConcurrentManagedAccess: case cudaDevAttrCooperativeLaunch:
        case cudaDevAttrMemoryPoolsSupported: case cudaDevAttrCanMapHostMemory: case cudaDevAttrStreamPrioritiesSupported:
        case cudaDevAttrGlobalL1CacheSupported: case cudaDevAttrLocalL1CacheSupported: *out = 1; break;
        case 102: *out = 1; break;  // CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        default: *out = 0;          // what is optional, this device has not
    }
    return cudaSuccess;
}
