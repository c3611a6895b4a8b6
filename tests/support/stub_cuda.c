/* A CUDA without a card, preloaded before libcudart, so that torch's own caching allocator runs on
 * any machine. Memory is only counted: of 80 GiB, STUB_CUDA_BYTES can be had, now or when that is
 * changed. Addresses are handed out first fit and never touched. Signatures: cuda_runtime_api.h and cuda.h of CUDA 13. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define OUT_OF_MEMORY 2
#define BASE 0x7f0000000000ull
#define PAGE (2ull << 20)
#define TOTAL (80ull << 30)
#define MOST 65536
typedef unsigned long long u64;

static u64 starts[MOST], sizes[MOST], asked[MOST], held;
static int count;

static int too_much(u64 size) {
    const char *text = getenv("STUB_CUDA_BYTES");
    return held + size > (text ? strtoull(text, NULL, 10) : TOTAL);
}

static u64 reserve(u64 size) {
    u64 at = BASE;
    u64 whole = size;
    int i = 0;
    size = (size + PAGE - 1) / PAGE * PAGE;
    while (i < count && starts[i] - at < size) at = starts[i] + sizes[i], i++;
    memmove(starts + i + 1, starts + i, (count - i) * sizeof *starts);
    memmove(sizes + i + 1, sizes + i, (count - i) * sizeof *sizes);
    memmove(asked + i + 1, asked + i, (count - i) * sizeof *asked);
    starts[i] = at, sizes[i] = size, asked[i] = whole, count++;
    return at;
}

static u64 drop(u64 at) {
    for (int i = 0; i < count; i++) {
        u64 size = asked[i];
        if (starts[i] != at) continue;
        count--;
        memmove(starts + i, starts + i + 1, (count - i) * sizeof *starts);
        memmove(sizes + i, sizes + i + 1, (count - i) * sizeof *sizes);
        memmove(asked + i, asked + i + 1, (count - i) * sizeof *asked);
        return size;
    }
    return 0;
}

int cudaMalloc(void **pointer, size_t size) {
    if (too_much(size)) return OUT_OF_MEMORY;
    held += size;
    *pointer = (void *)reserve(size);
    return 0;
}
int cudaFree(void *pointer) {
    held -= drop((u64)pointer);
    return 0;
}
int cudaMemGetInfo(size_t *left, size_t *all) {
    *all = TOTAL;
    *left = TOTAL - held;
    return 0;
}

/* The driver functions that expandable segments use. A handle is the size it stands for. */
static int cuMemAddressReserve(u64 *at, size_t size, size_t align, u64 hint, u64 flags) {
    *at = reserve(size);
    return 0;
}
static int cuMemAddressFree(u64 at, size_t size) {
    drop(at);
    return 0;
}
static int cuMemCreate(u64 *handle, size_t size, const void *properties, u64 flags) {
    if (too_much(size)) return OUT_OF_MEMORY;
    held += size;
    *handle = size;
    return 0;
}
static int cuMemRelease(u64 handle) {
    held -= handle;
    return 0;
}
static int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = 0;
    return 0;
}
static int nothing(void) { return 0; }
/* The context is there, so that torch goes on to use it. */
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    return *flags = 0, *active = 1, 0;
}
int cuCtxGetCurrent(void **context) { return *context = (void *)1, 0; }


static void *find(const char *name) {
    if (!strcmp(name, "cuMemAddressReserve")) return cuMemAddressReserve;
    if (!strcmp(name, "cuMemAddressFree")) return cuMemAddressFree;
    if (!strcmp(name, "cuMemCreate")) return cuMemCreate;
    if (!strcmp(name, "cuMemRelease")) return cuMemRelease;
    if (!strcmp(name, "cuDeviceGetAttribute")) return cuDeviceGetAttribute;
    return nothing;
}
int cudaGetDriverEntryPointByVersion(
    const char *name, void **found, unsigned version, u64 flags, int *status) {
    *found = find(name);
    if (status) *status = 0;
    return 0;
}
int cudaGetDriverEntryPoint(const char *name, void **found, u64 flags, int *status) {
    *found = find(name);
    if (status) *status = 0;
    return 0;
}

/* One device, compute capability 8.0. The name comes first in cudaDeviceProp, then two ids of 16
 * and 8 bytes and the mask of 4, then the memory, aligned to 8. */
int cudaGetDeviceProperties(void *properties, int device) {
    u64 bytes = TOTAL;
    memset(properties, 0, 1000);
    strcpy(properties, "stub");
    memcpy((char *)properties + 288, &bytes, sizeof bytes);
    *(int *)((char *)properties + 360) = 8;
    return 0;
}
int cudaGetDeviceCount(int *number) { return *number = 1, 0; }
int cudaGetDevice(int *device) { return *device = 0, 0; }
int cudaSetDevice(int device) { return 0; }
int cudaInitDevice(int device, unsigned flags, unsigned more) { return 0; }
int cudaDriverGetVersion(int *version) { return *version = 13000, 0; }
int cudaGetLastError(void) { return 0; }
int cudaPeekAtLastError(void) { return 0; }
int cudaDeviceSynchronize(void) { return 0; }
int cudaStreamSynchronize(void *stream) { return 0; }
int cudaStreamIsCapturing(void *stream, int *status) { return *status = 0, 0; }
int cudaStreamGetCaptureInfo(void *stream, int *status) { return *status = 0, 0; }
int cudaThreadExchangeStreamCaptureMode(int *mode) { return 0; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    return *least = 0, *greatest = 0, 0;
}
int cudaDeviceCanAccessPeer(int *can, int device, int peer) { return *can = 0, 0; }

/* torch asks NVML whether memory can be shared over a fabric, and after running out of memory who
 * else is on the card. */
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
    return *device = (void *)1, 0;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(void) { return 3; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void) { return 3; }
int nvmlDeviceGetGpuFabricInfoV(void) { return 3; }
int nvmlDeviceGetComputeRunningProcesses(void *device, unsigned *number, void *found) {
    return *number = 0, 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 13000, 0; }
