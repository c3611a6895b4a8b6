/* A libnvidia-ml.so.1 that answers from a table, so that the real binding can be tested without
 * a GPU. Each line of the file that STUB_NVML names is "GPU FUNCTION ANSWER", with "-" for the GPU
 * where a function has none. "!18" answers with error 18; what is not in the table is error 3, not
 * supported. Signatures: nvml.h. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUCCESS 0
#define NOT_SUPPORTED 3
#define INSUFFICIENT_SIZE 7
typedef unsigned long long u64;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } process;

static char text[4096];

/* The answer is left in text; handles are index + 1. */
static int find(void *gpu, const char *function) {
    char name[32] = "-", line[4096], have[32], called[128];
    const char *path = getenv("STUB_NVML");
    FILE *table = path ? fopen(path, "r") : NULL;
    int result = NOT_SUPPORTED, at;
    if (gpu) snprintf(name, sizeof name, "%d", (int)(uintptr_t)gpu - 1);
    while (table && fgets(line, sizeof line, table)) {
        if (sscanf(line, "%31s %127s %n", have, called, &at) < 2) continue;
        if (strcmp(have, name) || strcmp(called, function)) continue;
        strcpy(text, line + at);
        text[strcspn(text, "\n")] = 0;
        result = text[0] == '!' ? atoi(text + 1) : SUCCESS;
        break;
    }
    if (table) fclose(table);
    return result;
}

static u64 number(void) { return strtoull(text, NULL, 10); }

#define NUMBER(function, type, ...)                      \
    int function(__VA_ARGS__ type *out) {                \
        int result = find(gpu, #function);               \
        if (!result) *out = (type)number();              \
        return result;                                   \
    }
#define WORDS(function, ...)                             \
    int function(__VA_ARGS__ char *out, unsigned size) { \
        int result = find(gpu, #function);               \
        if (!result) snprintf(out, size, "%s", text);    \
        return result;                                   \
    }
#define PAIR(function)                                   \
    int function(void *gpu, unsigned *a, unsigned *b) {  \
        int result = find(gpu, #function);               \
        if (!result) *a = *b = (unsigned)number();       \
        return result;                                   \
    }
#define GPU void *gpu,
#define GPU_AND_KIND void *gpu, unsigned kind,

static void *const gpu = NULL; /* for functions without one */
NUMBER(nvmlSystemGetCudaDriverVersion, int, )
NUMBER(nvmlDeviceGetCount_v2, unsigned, )
WORDS(nvmlSystemGetDriverVersion, )
WORDS(nvmlDeviceGetUUID, GPU)
WORDS(nvmlDeviceGetName, GPU)
NUMBER(nvmlDeviceGetPersistenceMode, unsigned, GPU)
NUMBER(nvmlDeviceGetComputeMode, unsigned, GPU)
NUMBER(nvmlDeviceGetDisplayActive, unsigned, GPU)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, GPU)
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, GPU)
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, u64, GPU)
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, u64, GPU)
NUMBER(nvmlDeviceGetClockInfo, unsigned, GPU_AND_KIND)
NUMBER(nvmlDeviceGetMaxClockInfo, unsigned, GPU_AND_KIND)
NUMBER(nvmlDeviceGetApplicationsClock, unsigned, GPU_AND_KIND)
NUMBER(nvmlDeviceGetDefaultApplicationsClock, unsigned, GPU_AND_KIND)
NUMBER(nvmlDeviceGetTemperature, unsigned, GPU_AND_KIND)
NUMBER(nvmlDeviceGetTemperatureThreshold, unsigned, GPU_AND_KIND)
PAIR(nvmlDeviceGetMigMode)
PAIR(nvmlDeviceGetEccMode)

int nvmlInitWithFlags(unsigned flags) {
    int result = find(NULL, "nvmlInitWithFlags");
    return result == NOT_SUPPORTED ? SUCCESS : result;
}
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int error) {
    return error == NOT_SUPPORTED ? "Not Supported"
         : error == 18 ? "Driver/library version mismatch" : "Stub error";
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    *out = (void *)(uintptr_t)(index + 1);
    return SUCCESS;
}
int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
    char key[32];
    snprintf(key, sizeof key, "name-of-%u", pid);
    int result = find(NULL, key);
    if (!result) snprintf(out, size, "%s", text);
    return result;
}
int nvmlDeviceGetMemoryInfo(void *gpu, u64 *memory) { /* total, free, used */
    int result = find(gpu, "nvmlDeviceGetMemoryInfo");
    if (!result && sscanf(text, "%llu %llu", &memory[0], &memory[2]) == 2)
        memory[1] = memory[0] - memory[2];
    return result;
}

/* "4242:1048576 17:?": a question mark is memory that is not told. */
static int processes(void *gpu, const char *function, unsigned *count, process *out) {
    int result = find(gpu, function);
    unsigned found = 0;
    if (result) return result;
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "), found++) {
        if (!out || found >= *count) continue;
        char *colon = strchr(word, ':');
        memset(&out[found], 0, sizeof *out);
        out[found].pid = (unsigned)atoi(word);
        out[found].used = colon[1] == '?' ? ~0ULL : strtoull(colon + 1, NULL, 10);
    }
    result = found > *count ? INSUFFICIENT_SIZE : SUCCESS;
    *count = found;
    return result;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, process *out) {
    return processes(gpu, "nvmlDeviceGetComputeRunningProcesses_v3", count, out);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *gpu, unsigned *count, process *out) {
    return processes(gpu, "nvmlDeviceGetGraphicsRunningProcesses_v3", count, out);
}
