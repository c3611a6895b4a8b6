/* A libnvidia-ml.so.1 that answers from a table, so that the real binding can be tested without
 * a GPU. Each line of the file that STUB_NVML names is "GPU FUNCTION ANSWER", with "-" for the GPU
 * where a function has none. "!18" answers with error 18; what is not in the table is error 3, not
 * supported. Signatures: nvml.h.
 *
 * Time: "A | B | C" is a list with one answer for each look at the GPU, the last of which repeats.
 * A look begins with nvmlDeviceGetMemoryInfo, of whichever GPU. The table is read again when the
 * file changes, so a test may also rewrite it. STUB_NVML_CALLS names a file that gets one line for
 * each question. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
typedef unsigned long long u64;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } process;

static char text[16384];
static char *table;
static struct stat seen;
static int opened, look = -1;

static void read_table(void) {
    struct stat now;
    const char *path = getenv("STUB_NVML");
    if (!path || stat(path, &now)) return;
    if (table && now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_ino == seen.st_ino
        && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec && now.st_size == seen.st_size) return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    free(table);
    table = calloc(1, now.st_size + 1);
    table[fread(table, 1, now.st_size, file)] = 0;
    fclose(file);
    seen = now;
}

/* Leaves the answer for this look in text. */
static void pick(const char *answers, const char *end) {
    const char *bar;
    for (int n = look; n > 0; n--) {
        for (bar = answers; bar < end && *bar != '|'; bar++) {}
        if (bar == end) break;
        answers = bar + 1 + (bar[1] == ' ');
    }
    for (bar = answers; bar < end && *bar != '|'; bar++) {}
    while (bar < end && bar > answers && bar[-1] == ' ') bar--;
    snprintf(text, sizeof text, "%.*s", (int)(bar - answers), answers);
}

static void note(const char *key) {
    const char *path = getenv("STUB_NVML_CALLS");
    FILE *calls = path ? fopen(path, "a") : NULL;
    if (!calls) return;
    fprintf(calls, "%s\n", key);
    fclose(calls);
}

/* The answer is left in text; handles are index + 1. */
static int find(void *gpu, const char *function) {
    char key[160] = "- ";
    if (!opened) return UNINITIALIZED;
    read_table();
    if (gpu) snprintf(key, sizeof key, "%d ", (int)(uintptr_t)gpu - 1);
    strncat(key, function, 120);
    note(key);
    size_t length = strlen(key);
    for (const char *line = table, *next; line && *line; line = next) {
        const char *end = line + strcspn(line, "\n");
        next = end + (*end == '\n');
        if (strncmp(line, key, length) || (line[length] != ' ' && line + length != end)) continue;
        pick(line + length + (line + length != end), end);
        return text[0] == '!' ? atoi(text + 1) : SUCCESS;
    }
    return NOT_SUPPORTED;
}

/* Of a clock or a sensor: "FUNCTION/1" for kind 1, "FUNCTION" for all. */
static int find_kind(void *gpu, const char *function, unsigned kind) {
    char one[128];
    snprintf(one, sizeof one, "%s/%u", function, kind);
    int result = find(gpu, one);
    return result == NOT_SUPPORTED ? find(gpu, function) : result;
}

static u64 number(void) { return strtoull(text, NULL, 10); }

#define NUMBER(function, type, ...)                      \
    int function(__VA_ARGS__ type *out) {                \
        int result = find(gpu, #function);               \
        if (!result) *out = (type)number();              \
        return result;                                   \
    }
#define NUMBER_OF_KIND(function)                                    \
    int function(void *gpu, unsigned kind, unsigned *out) {         \
        int result = find_kind(gpu, #function, kind);               \
        if (!result) *out = (unsigned)number();                     \
        return result;                                              \
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
NUMBER_OF_KIND(nvmlDeviceGetClockInfo)
NUMBER_OF_KIND(nvmlDeviceGetMaxClockInfo)
NUMBER_OF_KIND(nvmlDeviceGetApplicationsClock)
NUMBER_OF_KIND(nvmlDeviceGetDefaultApplicationsClock)
NUMBER_OF_KIND(nvmlDeviceGetTemperature)
NUMBER_OF_KIND(nvmlDeviceGetTemperatureThreshold)
NUMBER(nvmlDeviceGetPowerUsage, unsigned, GPU)
NUMBER(nvmlDeviceGetTotalEnergyConsumption, u64, GPU)
PAIR(nvmlDeviceGetMigMode)
PAIR(nvmlDeviceGetEccMode)
PAIR(nvmlDeviceGetDriverModel_v2)

int nvmlInitWithFlags(unsigned flags) {
    opened++;
    int result = find(NULL, "nvmlInitWithFlags");
    if (result == NOT_SUPPORTED) return SUCCESS;
    opened--;
    return result;
}
int nvmlShutdown(void) {
    if (!opened) return UNINITIALIZED;
    opened--;
    return SUCCESS;
}
const char *nvmlErrorString(int error) {
    switch (error) {
        case UNINITIALIZED: return "Uninitialized";
        case NOT_SUPPORTED: return "Not Supported";
        case 4: return "Insufficient Permissions";
        case NOT_FOUND: return "Not Found";
        case 9: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        case 16: return "GPU requires restart";
        case 18: return "Driver/library version mismatch";
        case 999: return "Unknown Error";
        default: return "Stub error";
    }
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    *out = (void *)(uintptr_t)(index + 1);
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    for (uintptr_t handle = 1; handle <= 8; handle++) {
        if (find((void *)handle, "nvmlDeviceGetUUID") || strcmp(text, uuid)) continue;
        *out = (void *)handle;
        return SUCCESS;
    }
    return opened ? NOT_FOUND : UNINITIALIZED;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *gpu, void **out) {
    int result = find(gpu, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle");
    if (!result) *out = (void *)(uintptr_t)(number() + 1);
    return result;
}
int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
    char key[32];
    snprintf(key, sizeof key, "name-of-%u", pid);
    int result = find(NULL, key);
    if (!result) snprintf(out, size, "%s", text);
    return result;
}
int nvmlDeviceGetMemoryInfo(void *gpu, u64 *memory) { /* total, free, used */
    look++;
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
