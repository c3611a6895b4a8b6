// The few kernels whose results are computed, told by their names: PyTorch's fills of contiguous
// tensors of at most MOST bytes, and the counts behind nonzero() and masks. Every other kernel
// leaves memory as it is: zeros in a tensor that is new, and old values in one that is changed in
// place.
#include <dlfcn.h>
#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include "device.h"

namespace null_device {

constexpr size_t MOST = 4u << 20;

enum Work { NOTHING, FILL, COUNT_ALL, COUNT_PARTS, SUM_PARTS };
struct Recipe { Work work = NOTHING; size_t width = 0; };

// Bytes of the type whose mangled code is at `code`; 0 where it is none of PyTorch's.
static size_t width_of(const char *code) {
    static const struct { const char *code; size_t bytes; } types[] = {
        {"fE", 4}, {"dE", 8}, {"iE", 4}, {"lE", 8}, {"sE", 2}, {"aE", 1}, {"hE", 1}, {"bE", 1},
        {"tE", 2}, {"jE", 4}, {"mE", 8}, {"N3c104HalfEE", 2}, {"N3c108BFloat16EE", 2},
        {"N3c107complexIfEEE", 8}, {"N3c107complexIdEEE", 16},
    };
    for (auto &type : types)
        if (!strncmp(code, type.code, strlen(type.code))) return type.bytes;
    return 0;
}
static size_t width_after(const char *name, const char *word) {
    const char *at = strstr(name, word);
    return at ? width_of(at + strlen(word)) : 0;
}
static Recipe recipe_of(const char *name) {
    auto has = [&](const char *word) { return strstr(name, word) != nullptr; };
    // vectorized_elementwise_kernel<N, FillFunctor<T>, ...>(int n, FillFunctor<T>, array<char *, 1>)
    if (has("vectorized_elementwise_kernelI") || has("unrolled_elementwise_kernelI"))
        if (size_t width = width_after(name, "11FillFunctorI")) return {FILL, width};
    // DeviceReduce*Kernel<..., transform_iterator<NonZeroOp<T>, ...>, int *, ...>(iterator, int *, n, ...)
    size_t width = width_after(name, "9NonZeroOpI");
    if (has("28DeviceReduceSingleTileKernelI")) return {width ? COUNT_ALL : SUM_PARTS, width};
    if (has("18DeviceReduceKernelI") && width) return {COUNT_PARTS, width};
    return {};
}

static bool fill_from(void **arguments, size_t width) {
    int n = *(int *)arguments[0];
    void *to = *(void **)arguments[2];
    if (n <= 0 || n * width > MOST || device_of(to) < 0) return false;
    fill(to, arguments[1], width, n);
    return true;
}

// Whether the values that are counted next, on this thread, are known to be right, zeros among them.
static thread_local bool counts_are_known;

// How many elements are not zero. Where all are zeros, no kernel may have written what they
// should be, and the described share of them is taken, unless they are known to be zeros.
static uint64_t count(const char *from, size_t width, uint64_t n) {
    uint64_t found = 0;
    static const char zeros[16] = {};
    if (is_written(from, width * n))
        for (uint64_t i = 0; i < n; i++) found += memcmp(from + i * width, zeros, width) != 0;
    if (found || counts_are_known) return found;
    COUNT(ASSUMED, "how many elements are not zero");
    return (uint64_t)((double)n * description().nonzero_share);
}
static thread_local uint64_t parts;  // counted by a kernel whose partial sums are added next
static thread_local bool has_parts;

static bool count_from(Work work, void **arguments, size_t width) {
    void *to = *(void **)arguments[1];
    if (work == SUM_PARTS) {
        if (!has_parts || device_of(to) < 0) return false;
        has_parts = false;
    } else {
        // An iterator has a pointer behind what it applies to each value, which CUDA 13 leaves out.
        const char *from = ((const char **)arguments[0])[0];
        if (device_of(from) < 0) from = ((const char **)arguments[0])[1];
        uint32_t n = *(uint32_t *)arguments[2];  // 32 or 64 bits, and little-endian
        if (device_of(from) < 0 || device_of(to) < 0) return false;
        parts = count(from, width, n);
        if (work == COUNT_PARTS) return has_parts = true;
    }
    int result = (int)parts;
    copy(to, &result, sizeof result);
    return true;
}

bool compute(const char *name, void **arguments) {
    static std::mutex &lock = *new std::mutex;
    static auto &known = *new std::unordered_map<const char *, Recipe>;
    Recipe recipe;
    {
        std::lock_guard<std::mutex> hold(lock);
        auto found = known.find(name);
        if (found == known.end()) found = known.emplace(name, recipe_of(name)).first;
        recipe = found->second;
    }
    if (recipe.work == NOTHING) return false;
    if (recipe.work == FILL) return fill_from(arguments, recipe.width);
    return count_from(recipe.work, arguments, recipe.width);
}

}  // namespace null_device

// Of values that the host computes (ffprof/nulldevice/script/values.py).
API void ffprof_null_counts_are_known(int known) { null_device::counts_are_known = known; }
API void ffprof_null_wrote(void *at, size_t bytes) { null_device::wrote(at, bytes); }

// PyTorch tells its profiler of every block that its allocator hands out and takes back. A block
// that is taken back becomes zeros, so that none that is used again holds values of another tensor.
struct TorchDevice { int8_t type, index; };
API void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void *at, int64_t bytes, size_t allocated, size_t reserved, TorchDevice device) {
    typedef void (*Report)(void *, int64_t, size_t, size_t, TorchDevice);
    static Report next = [] {
        void *torch = dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
        return torch ? (Report)dlsym(torch, "_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE") : nullptr;
    }();
    if (bytes < 0 && null_device::device_of(at) >= 0) null_device::forget(at, (size_t)-bytes);
    if (next) next(at, bytes, allocated, reserved, device);
}
