// NVML of the same devices: what nvidia-smi's library tells of memory, processes and names. What
// is not here is missing, and whoever asks for it is told so. Structures are laid out as in
// nvml.h; tests/unit/nulldevice holds them against the bindings of nvidia-ml-py.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "device.h"
#include "shared.h"
using namespace null_device;

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
struct Memory { unsigned long long total, free, used; };
struct Memory2 { unsigned version; unsigned long long total, reserved, free, used; };
struct Process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
struct Pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
static_assert(sizeof(Memory) == 24 && sizeof(Memory2) == 40 && sizeof(Process) == 24 && sizeof(Pci) == 68, "as in nvml.h");

static int opened;
static const null_device_table *table() {
    static int file;
    static null_device_table *mapped = null_device_map(description().folder, &file);
    return mapped;
}
static int index_of(void *handle) { return (int)(uintptr_t)handle - 1; }
#define CHECKED(handle)                                                                              \
    if (!opened) return UNINITIALIZED;                                                               \
    if (index_of(handle) < 0 || index_of(handle) >= description().count) return INVALID_ARGUMENT;
static void bus_id(int device, char *out, size_t size) { snprintf(out, size, "00000000:%02X:00.0", device + 1); }
static void uuid(int device, char *out, size_t size) {
    unsigned char u[16];
    uuid_of(device, u);
    char text[48] = "GPU-";
    size_t at = 4;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
        at += snprintf(text + at, sizeof text - at, "%02x", u[i]);
    }
    snprintf(out, size, "%s", text);
}

API int nvmlInit_v2(void) { opened++; return SUCCESS; }
API int nvmlInit(void) { return nvmlInit_v2(); }
API int nvmlInitWithFlags(unsigned) { return nvmlInit_v2(); }
API int nvmlShutdown(void) {
    if (!opened) return UNINITIALIZED;
    opened--;
    return SUCCESS;
}
API const char *nvmlErrorString(int e) {
    switch (e) {
        case SUCCESS: return "The operation was successful";
        case UNINITIALIZED: return "Uninitialized";
        case INVALID_ARGUMENT: return "Invalid Argument";
        case NOT_SUPPORTED: return "Not Supported";
        case NOT_FOUND: return "Not Found";
        default: return "Unknown Error";
    }
}
API int nvmlSystemGetDriverVersion(char *out, unsigned size) { snprintf(out, size, "%s", description().driver); return SUCCESS; }
API int nvmlSystemGetNVMLVersion(char *out, unsigned size) { snprintf(out, size, "13.%s", description().driver); return SUCCESS; }
API int nvmlSystemGetCudaDriverVersion(int *out) { *out = NULL_DEVICE_CUDA; return SUCCESS; }
API int nvmlSystemGetCudaDriverVersion_v2(int *out) { return nvmlSystemGetCudaDriverVersion(out); }
API int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/comm", pid);
    FILE *file = fopen(path, "re");
    if (!file) return NOT_FOUND;
    bool read = fgets(out, (int)size, file);
    fclose(file);
    if (!read) return NOT_FOUND;
    out[strcspn(out, "\n")] = 0;
    return SUCCESS;
}
API int nvmlDeviceGetCount_v2(unsigned *out) {
    if (!opened) return UNINITIALIZED;
    *out = description().count;
    return SUCCESS;
}
API int nvmlDeviceGetCount(unsigned *out) { return nvmlDeviceGetCount_v2(out); }
API int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    *out = (void *)(uintptr_t)(index + 1);
    CHECKED(*out)
    return SUCCESS;
}
API int nvmlDeviceGetHandleByUUID(const char *wanted, void **out) {
    if (!opened) return UNINITIALIZED;
    for (int i = 0; i < description().count; i++) {
        char text[64];
        uuid(i, text, sizeof text);
        if (!strcmp(text, wanted)) return *out = (void *)(uintptr_t)(i + 1), SUCCESS;
    }
    return NOT_FOUND;
}
API int nvmlDeviceGetHandleByPciBusId_v2(const char *wanted, void **out) {
    if (!opened) return UNINITIALIZED;
    const char *colon = strchr(wanted, ':');
    int bus = colon ? (int)strtol(colon + 1, nullptr, 16) : 0;
    if (bus < 1 || bus > description().count) return NOT_FOUND;
    *out = (void *)(uintptr_t)bus;
    return SUCCESS;
}
API int nvmlDeviceGetIndex(void *gpu, unsigned *out) { CHECKED(gpu) *out = index_of(gpu); return SUCCESS; }
API int nvmlDeviceGetName(void *gpu, char *out, unsigned size) { CHECKED(gpu) snprintf(out, size, "%s", description().name); return SUCCESS; }
API int nvmlDeviceGetUUID(void *gpu, char *out, unsigned size) { CHECKED(gpu) uuid(index_of(gpu), out, size); return SUCCESS; }
API int nvmlDeviceGetPciInfo_v3(void *gpu, Pci *out) {
    CHECKED(gpu)
    memset(out, 0, sizeof *out);
    out->bus = index_of(gpu) + 1;
    bus_id(index_of(gpu), out->bus_id, sizeof out->bus_id);
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", out->bus);
    return SUCCESS;
}
API int nvmlDeviceGetCudaComputeCapability(void *gpu, int *major, int *minor) {
    CHECKED(gpu)
    *major = description().major, *minor = description().minor;
    return SUCCESS;
}
static unsigned long long used_on(int device) {
    unsigned long long sum = 0;
    const null_device_table *t = table();
    for (int i = 0; t && i < NULL_DEVICE_SLOTS; i++)
        if (t->slot[i].pid && t->slot[i].device == device && null_device_alive(&t->slot[i])) sum += t->slot[i].bytes;
    return sum;
}
// What the driver keeps for itself, so that it is free neither here nor for CUDA.
static unsigned long long kept() { return description().nvml_bytes - description().total_bytes; }
API int nvmlDeviceGetMemoryInfo(void *gpu, Memory *out) {
    CHECKED(gpu)
    out->total = description().nvml_bytes;
    out->used = kept() + used_on(index_of(gpu));
    out->free = out->total > out->used ? out->total - out->used : 0;
    return SUCCESS;
}
API int nvmlDeviceGetMemoryInfo_v2(void *gpu, Memory2 *out) {
    CHECKED(gpu)
    out->total = description().nvml_bytes;
    out->reserved = kept();
    out->used = used_on(index_of(gpu));
    out->free = description().total_bytes > out->used ? description().total_bytes - out->used : 0;
    return SUCCESS;
}
API int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, Process *out) {
    CHECKED(gpu)
    unsigned found = 0;
    const null_device_table *t = table();
    for (int i = 0; t && i < NULL_DEVICE_SLOTS; i++) {
        const null_device_slot *slot = &t->slot[i];
        if (!slot->pid || slot->device != index_of(gpu) || !null_device_alive(slot)) continue;
        if (out && found < *count) out[found] = {(unsigned)slot->pid, slot->bytes, ~0u, ~0u};
        found++;
    }
    int status = found > *count ? INSUFFICIENT_SIZE : SUCCESS;
    *count = found;
    return status;
}
struct OldProcess { unsigned pid; unsigned long long used; };
API int nvmlDeviceGetComputeRunningProcesses(void *gpu, unsigned *count, OldProcess *out) {
    Process found[NULL_DEVICE_SLOTS];
    unsigned room = *count;
    int status = nvmlDeviceGetComputeRunningProcesses_v3(gpu, count, room <= NULL_DEVICE_SLOTS ? found : nullptr);
    for (unsigned i = 0; !status && out && i < *count; i++) out[i] = {found[i].pid, found[i].used};
    return status;
}
API int nvmlDeviceGetGraphicsRunningProcesses_v3(void *gpu, unsigned *count, Process *) { CHECKED(gpu) *count = 0; return SUCCESS; }
// Nothing runs, so there are no clocks, sensors or links to read.
#define UNSUPPORTED(name) API int name(void *gpu) { CHECKED(gpu) return NOT_SUPPORTED; }
UNSUPPORTED(nvmlDeviceGetUtilizationRates)
UNSUPPORTED(nvmlDeviceGetPersistenceMode)
UNSUPPORTED(nvmlDeviceGetComputeMode)
UNSUPPORTED(nvmlDeviceGetDisplayActive)
UNSUPPORTED(nvmlDeviceGetEnforcedPowerLimit)
UNSUPPORTED(nvmlDeviceGetPowerManagementDefaultLimit)
UNSUPPORTED(nvmlDeviceGetClockInfo)
UNSUPPORTED(nvmlDeviceGetMaxClockInfo)
UNSUPPORTED(nvmlDeviceGetApplicationsClock)
UNSUPPORTED(nvmlDeviceGetDefaultApplicationsClock)
UNSUPPORTED(nvmlDeviceGetTemperature)
UNSUPPORTED(nvmlDeviceGetTemperatureThreshold)
UNSUPPORTED(nvmlDeviceGetPowerUsage)
UNSUPPORTED(nvmlDeviceGetTotalEnergyConsumption)
UNSUPPORTED(nvmlDeviceGetCurrentClocksEventReasons)
UNSUPPORTED(nvmlDeviceGetCurrentClocksThrottleReasons)
UNSUPPORTED(nvmlDeviceGetMigMode)
UNSUPPORTED(nvmlDeviceGetEccMode)
UNSUPPORTED(nvmlDeviceGetDriverModel_v2)
UNSUPPORTED(nvmlDeviceGetNvLinkRemoteDeviceType)
UNSUPPORTED(nvmlDeviceGetNvLinkRemotePciInfo_v2)
UNSUPPORTED(nvmlDeviceGetNvLinkState)
UNSUPPORTED(nvmlDeviceGetGpuFabricInfoV)
UNSUPPORTED(nvmlDeviceGetDeviceHandleFromMigDeviceHandle)
