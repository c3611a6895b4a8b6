// Device memory: a count of what is taken, and untouched host pages behind every address.
//
// Pages that nothing wrote to are zeros and cost nothing. Which ones were written is kept in a
// bitmap, so that copying or clearing what holds only zeros stays free: all writes to device
// memory go through this file, for kernels write nothing.
#include <pthread.h>
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>
#include "device.h"
#include "shared.h"

namespace null_device {

constexpr uint64_t SMALL = 4096;  // a host page

struct Pool {
    char *base = nullptr, *end = nullptr;
    std::map<char *, uint64_t> ranges;  // of addresses
    std::map<char *, uint64_t> counted;
    std::vector<bool> written;  // by host page from base on
    uint64_t held = 0, beside = 0;
    bool context = false;
};
// Never destroyed: libraries are still calling while the process exits.
static std::recursive_mutex &lock = *new std::recursive_mutex;
static Pool *const pools = new Pool[MAX_DEVICES];
typedef std::lock_guard<std::recursive_mutex> Hold;

static int table_file = -1;
static null_device_table *table() {
    static null_device_table *mapped = [] {
        null_device_table *t = null_device_map(description().folder, &table_file);
        if (t) return t;
        fprintf(stderr, "ffprof: the null device cannot share %s: other processes are not seen\n",
                description().folder);
        return (null_device_table *)calloc(1, sizeof(null_device_table));
    }();
    return mapped;
}
static uint64_t own_start() {
    static int pid = 0;
    static uint64_t started;
    if (pid != getpid()) started = null_device_started(pid = getpid());
    return started;
}
// A lock of the file is dropped with the process that held it.
struct Shared {
    null_device_table *t = table();
    Shared() { set(F_WRLCK); }
    ~Shared() { set(F_UNLCK); }
    static void set(short type) {
        struct flock l = {};
        l.l_type = type, l.l_whence = SEEK_SET;
        while (table_file >= 0 && fcntl(table_file, F_SETLKW, &l) && errno == EINTR) {}
    }
};

static uint64_t of_others(const Shared &s, int device) {
    uint64_t sum = 0;
    int me = getpid();
    for (null_device_slot &slot : s.t->slot) {
        if (!slot.pid || slot.device != device || slot.pid == me) continue;
        if (null_device_alive(&slot)) sum += slot.bytes;
        else slot.pid = 0;
    }
    return sum;
}
static void publish(const Shared &s, int device) {
    int me = getpid();
    null_device_slot *mine = nullptr;
    for (null_device_slot &slot : s.t->slot) {
        if (slot.pid == me && slot.device == device) mine = &slot;
        if (!slot.pid && !mine) mine = &slot;
    }
    uint64_t bytes = pools[device].held + pools[device].beside;
    if (mine) *mine = {me, device, own_start(), bytes};
    note_peak(device, bytes);
}
static bool add(int device, uint64_t bytes, uint64_t Pool::*where) {
    Shared s;
    Pool &pool = pools[device];
    uint64_t used = pool.held + pool.beside + of_others(s, device);
    if (where == &Pool::held && used + bytes > description().total_bytes) return false;
    pool.*where += bytes;
    publish(s, device);
    return true;
}

static thread_local int current = 0;
int current_device() { return current; }
void set_current_device(int device) { current = device; }

void use_device(int device) {
    Hold hold(lock);
    if (pools[device].context) return;
    pools[device].context = true;
    add(device, description().context_bytes, &Pool::beside);
}
bool has_context(int device) {
    Hold hold(lock);
    return pools[device].context;
}
void use_library(const char *name) {
    static auto &known = *new std::set<std::pair<int, std::string>>;
    Hold hold(lock);
    if (!known.insert({current, name}).second) return;
    use_device(current);
    add(current, description().library_bytes, &Pool::beside);
}

static void open_pool(Pool &pool) {
    uint64_t room = std::max<uint64_t>(description().total_bytes * 4, 64ull << 30) / PAGE * PAGE;
    char *at = (char *)mmap(nullptr, room + PAGE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        fprintf(stderr, "ffprof: the null device needs %llu GiB of address space (not memory): raise "
                        "ulimit -v, or allow overcommit\n", (unsigned long long)(room >> 30));
        return;
    }
    madvise(at, room + PAGE, MADV_NOHUGEPAGE);  // one byte would touch 2 MiB
    madvise(at, room + PAGE, MADV_DONTDUMP);
    pool.base = (char *)(((uint64_t)at + PAGE - 1) / PAGE * PAGE);
    pool.end = pool.base + room;
    pool.written.resize(room / SMALL);
}
void *reserve(int device, uint64_t bytes) {
    Hold hold(lock);
    Pool &pool = pools[device];
    if (!pool.base) open_pool(pool);
    if (!pool.base) return nullptr;
    bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    char *at = pool.base;
    for (auto &[start, size] : pool.ranges) {
        if ((uint64_t)(start - at) >= bytes) break;
        at = start + size;
    }
    if (bytes > (uint64_t)(pool.end - at)) return nullptr;
    pool.ranges[at] = bytes;
    return at;
}
static Pool *pool_of(const void *at) {
    for (int i = 0; i < description().count; i++)
        if (pools[i].base && (char *)at >= pools[i].base && (char *)at < pools[i].end) return &pools[i];
    return nullptr;
}
int device_of(const void *at) {
    Pool *pool = pool_of(at);
    return pool ? (int)(pool - pools) : -1;
}
void unreserve(void *at) {
    Hold hold(lock);
    Pool *pool = pool_of(at);
    auto found = pool ? pool->ranges.find((char *)at) : std::map<char *, uint64_t>::iterator();
    if (!pool || found == pool->ranges.end()) return;
    forget(at, found->second);
    pool->ranges.erase(found);
}

bool charge(int device, uint64_t bytes) {
    Hold hold(lock);
    use_device(device);
    if (add(device, bytes, &Pool::held)) return true;
    note_out_of_memory();
    return false;
}
void discharge(int device, uint64_t bytes) {
    Hold hold(lock);
    Shared s;
    pools[device].held -= std::min(bytes, pools[device].held);
    publish(s, device);
}
void *take(int device, uint64_t bytes) {
    Hold hold(lock);
    uint64_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    if (whole < bytes || !charge(device, whole)) return nullptr;
    void *at = reserve(device, whole);
    if (at) pools[device].counted[(char *)at] = whole;
    else discharge(device, whole);
    return at;
}
bool give(void *at) {
    Hold hold(lock);
    Pool *pool = pool_of(at);
    if (!pool) return false;
    auto found = pool->counted.find((char *)at);
    if (found == pool->counted.end()) return false;
    discharge((int)(pool - pools), found->second);
    pool->counted.erase(found);
    unreserve(at);
    return true;
}
uint64_t held_bytes(int device) {
    Hold hold(lock);
    return pools[device].held;
}
uint64_t used_bytes(int device) {
    Hold hold(lock);
    Shared s;
    return pools[device].held + pools[device].beside + of_others(s, device);
}

// ---- contents

static void mark(Pool &pool, const char *at, size_t bytes) {
    size_t first = (at - pool.base) / SMALL, last = (at - pool.base + bytes - 1) / SMALL;
    std::fill(pool.written.begin() + first, pool.written.begin() + last + 1, true);
}
static bool any_written(const Pool &pool, const char *at, size_t bytes) {
    size_t first = (at - pool.base) / SMALL, last = (at - pool.base + bytes - 1) / SMALL;
    auto stop = pool.written.begin() + last + 1;
    return std::find(pool.written.begin() + first, stop, true) != stop;
}
void wrote(void *at, size_t bytes) {
    Hold hold(lock);
    Pool *pool = pool_of(at);
    if (pool && bytes) mark(*pool, (char *)at, bytes);
}
bool is_written(const void *at, size_t bytes) {
    Hold hold(lock);
    Pool *pool = pool_of(at);
    return bytes && (!pool || any_written(*pool, (const char *)at, bytes));
}
void forget(void *to, size_t bytes) {
    if (!bytes) return;
    Hold hold(lock);
    Pool *pool = pool_of(to);
    if (!pool) {
        memset(to, 0, bytes);
        return;
    }
    char *at = (char *)to, *stop = at + bytes;
    if (!any_written(*pool, at, bytes)) return;
    char *first = (char *)(((uint64_t)at + SMALL - 1) / SMALL * SMALL);
    char *last = (char *)((uint64_t)stop / SMALL * SMALL);
    if (last <= first) {
        memset(at, 0, bytes);
        return;
    }
    memset(at, 0, first - at);
    memset(last, 0, stop - last);
    madvise(first, last - first, MADV_DONTNEED);
    std::fill(pool->written.begin() + (first - pool->base) / SMALL,
              pool->written.begin() + (last - pool->base) / SMALL, false);
}
void copy(void *to, const void *from, size_t bytes) {
    if (!bytes || to == from) return;
    Hold hold(lock);
    Pool *target = pool_of(to), *source = pool_of(from);
    // In pieces: those of the source that hold only zeros need not be copied.
    for (size_t at = 0; at < bytes; at += PAGE) {
        size_t n = std::min<size_t>(PAGE, bytes - at);
        char *piece = (char *)to + at;
        const char *given = (const char *)from + at;
        if (source && !any_written(*source, given, n)) {
            forget(piece, n);
        } else {
            memmove(piece, given, n);
            if (target) mark(*target, piece, n);
        }
    }
}
void fill(void *to, const void *pattern, size_t width, size_t count) {
    const char *p = (const char *)pattern;
    size_t bytes = width * count;
    if (!bytes) return;
    if (std::all_of(p, p + width, [](char c) { return c == 0; })) return forget(to, bytes);
    Hold hold(lock);
    if (std::all_of(p, p + width, [&](char c) { return c == *p; })) memset(to, *p, bytes);
    else
        for (size_t i = 0; i < count; i++) memcpy((char *)to + i * width, p, width);
    if (Pool *pool = pool_of(to)) mark(*pool, (char *)to, bytes);
}

// A process that was forked holds nothing of the device.
static void after_fork() {
    new (&lock) std::recursive_mutex;
    for (int i = 0; i < MAX_DEVICES; i++) pools[i].held = pools[i].beside = 0, pools[i].context = false;
}
__attribute__((constructor)) static void begin() {
    pthread_atfork(nullptr, nullptr, after_fork);
}

}  // namespace null_device
