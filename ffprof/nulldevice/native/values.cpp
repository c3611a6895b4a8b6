// The few kernels whose results are computed, told by their names: PyTorch's fills of contiguous
// tensors of at most MOST bytes. Every other kernel leaves memory as it is: zeros where nothing
// was copied or set.
#include <cstring>
#include <mutex>
#include <unordered_map>
#include "device.h"

namespace null_device {

constexpr size_t MOST = 4u << 20;

// The width of the type that a fill's name ends in: FillFunctor<T>, as compilers mangle it.
static size_t filled_width(const char *name) {
    const char *at = strstr(name, "11FillFunctorI");
    if (!at) return 0;
    at += strlen("11FillFunctorI");
    struct { const char *code; size_t bytes; } types[] = {
        {"fE", 4}, {"dE", 8}, {"iE", 4}, {"lE", 8}, {"sE", 2}, {"aE", 1}, {"hE", 1}, {"bE", 1},
        {"tE", 2}, {"jE", 4}, {"mE", 8},
        {"N3c104HalfEE", 2}, {"N3c108BFloat16EE", 2},
        {"N3c107complexIfEEE", 8}, {"N3c107complexIdEEE", 16},
    };
    for (auto &type : types)
        if (!strncmp(at, type.code, strlen(type.code))) return type.bytes;
    return 0;
}

// vectorized_elementwise_kernel<N, FillFunctor<T>, array<char *, 1>>(int n, FillFunctor<T>, array)
// and unrolled_elementwise_kernel<FillFunctor<T>, array<char *, 1>, ...>(int n, FillFunctor<T>, array, ...).
static size_t fill_of(const char *name) {
    if (!strstr(name, "vectorized_elementwise_kernelI") && !strstr(name, "unrolled_elementwise_kernelI")) return 0;
    return filled_width(name);
}

bool compute(const char *name, void **arguments) {
    static std::mutex &lock = *new std::mutex;
    static auto &known = *new std::unordered_map<const char *, size_t>;
    size_t width;
    {
        std::lock_guard<std::mutex> hold(lock);
        auto found = known.find(name);
        if (found == known.end()) found = known.emplace(name, fill_of(name)).first;
        width = found->second;
    }
    if (!width) return false;
    int n = *(int *)arguments[0];
    void *to = *(void **)arguments[2];
    if (n <= 0 || n * width > MOST || device_of(to) < 0) return false;
    fill(to, arguments[1], width, n);
    return true;
}

}  // namespace null_device
