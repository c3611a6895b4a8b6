// The file through which processes see each other on the device, and NVML sees them all.
#pragma once
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NULL_DEVICE_SLOTS 256

typedef struct {
    int32_t pid, device;
    uint64_t started;  // in clock ticks since boot, so that a pid that is used again is another
    uint64_t bytes;
} null_device_slot;
typedef struct {
    null_device_slot slot[NULL_DEVICE_SLOTS];
} null_device_table;

// When the process was started; 0 where it is gone, or dead and not yet waited for.
static inline uint64_t null_device_started(int pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t n = read(file, text, sizeof text - 1);
    close(file);
    if (n <= 0) return 0;
    text[n] = 0;
    char *at = strrchr(text, ')');  // a name may hold blanks and brackets
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X') return 0;
    at += 2;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at) return 0;
        at++;
    }
    return strtoull(at, NULL, 10);
}

static inline int null_device_alive(const null_device_slot *slot) {
    return slot->pid && null_device_started(slot->pid) == slot->started;
}

// The table in that folder, or NULL; `file` is left open for locks.
static inline null_device_table *null_device_map(const char *folder, int *file) {
    char path[1100];
    snprintf(path, sizeof path, "%s/processes", folder);
    *file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*file < 0) return NULL;
    if (ftruncate(*file, sizeof(null_device_table))) return NULL;
    void *at = mmap(NULL, sizeof(null_device_table), PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
    return at == MAP_FAILED ? NULL : (null_device_table *)at;
}
