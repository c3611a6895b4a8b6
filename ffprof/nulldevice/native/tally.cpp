// How often what was called, in a file of the description's folder. It is mapped, so what was
// counted is there even after a kill. Layout: Header, entries, names; read by ffprof/nulldevice/report.py.
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include "device.h"

namespace null_device {

struct Header {
    char magic[8];
    uint32_t version, pid;
    std::atomic<uint32_t> entries, text_bytes;
    std::atomic<uint64_t> out_of_memory, reads, read_bytes, writes, written_bytes;
    std::atomic<uint64_t> peak_bytes[MAX_DEVICES];
};
struct Entry {
    uint32_t kind, offset;  // of the name, in the text
    std::atomic<uint64_t> count;
};
constexpr uint32_t ENTRIES = 16384, TEXT = 8u << 20;
struct File {
    Header header;
    Entry entry[ENTRIES];
    char text[TEXT];
};
static_assert(sizeof(Header) == 24 + 8 * (5 + MAX_DEVICES), "report.py reads this layout");
static_assert(sizeof(Entry) == 16, "report.py reads this layout");

static File *open_file() {
    void *at = MAP_FAILED;
    char path[1200];
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(path, sizeof path, "%s/tally.%d.%lld", description().folder, (int)getpid(),
             (long long)t.tv_sec * 1000000000 + t.tv_nsec);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file >= 0 && !ftruncate(file, sizeof(File)))
        at = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    if (at == MAP_FAILED) {  // counted all the same, for whoever asks in the process itself
        fprintf(stderr, "ffprof: the null device cannot write %s: no report of this process\n", path);
        at = calloc(1, sizeof(File));
        if (!at) abort();
    }
    File *made = (File *)at;
    made->header.version = 1;
    made->header.pid = (uint32_t)getpid();
    memcpy(made->header.magic, "ffnull\0", 8);
    return made;
}

static File &tallies() {
    static File *file = open_file();
    return *file;
}

// Never destroyed: libraries are still calling while the process exits.
static std::mutex &lock = *new std::mutex;

std::atomic<uint64_t> &tally(Kind kind, const char *name) {
    static auto &known = *new std::map<std::pair<uint32_t, std::string>, Entry *>;
    std::lock_guard<std::mutex> hold(lock);
    File &file = tallies();
    Entry *&entry = known[{kind, name}];
    if (entry) return entry->count;
    uint32_t n = file.header.entries, used = file.header.text_bytes;
    uint32_t length = (uint32_t)strlen(name) + 1;
    if (n + 1 >= ENTRIES || used + length > TEXT) {  // the last entry takes what has no room
        entry = &file.entry[ENTRIES - 1];
        entry->kind = kind;
        return entry->count;
    }
    memcpy(file.text + used, name, length);
    entry = &file.entry[n];
    entry->kind = kind;
    entry->offset = used;
    file.header.text_bytes = used + length;
    file.header.entries = n + 1;
    return entry->count;
}

void note_peak(int device, uint64_t bytes) {
    auto &peak = tallies().header.peak_bytes[device];
    uint64_t before = peak;
    while (bytes > before && !peak.compare_exchange_weak(before, bytes)) {}
}
void note_out_of_memory() { tallies().header.out_of_memory++; }
void note_read(uint64_t bytes) {
    tallies().header.reads++;
    tallies().header.read_bytes += bytes;
}
void note_write(uint64_t bytes) {
    tallies().header.writes++;
    tallies().header.written_bytes += bytes;
}

}  // namespace null_device

// For ctypes, inside the process.
API uint64_t ffprof_null_reads(void) { return null_device::tallies().header.reads; }
API uint64_t ffprof_null_read_bytes(void) { return null_device::tallies().header.read_bytes; }
API uint64_t ffprof_null_out_of_memory(void) { return null_device::tallies().header.out_of_memory; }
API uint64_t ffprof_null_used_bytes(int device) {
    bool known = device >= 0 && device < null_device::description().count;
    return known ? null_device::used_bytes(device) : 0;
}
API uint64_t ffprof_null_peak_bytes(int device) {
    bool known = device >= 0 && device < null_device::MAX_DEVICES;
    return known ? null_device::tallies().header.peak_bytes[device].load() : 0;
}
