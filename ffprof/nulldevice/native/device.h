// What the parts of the null device share: its description, its memory, and the tally of calls.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#define API extern "C" __attribute__((visibility("default")))

namespace null_device {

constexpr int MAX_DEVICES = 16;
constexpr uint64_t PAGE = 2ull << 20;  // cudaMalloc hands out multiples of this

// ---- the description (description.cpp), read from the file that FFPROF_NULL_DEVICE names
struct Description {
    char name[128];
    char driver[32];
    uint64_t total_bytes;    // what cudaMemGetInfo calls the total
    uint64_t nvml_bytes;     // what NVML calls the total
    uint64_t context_bytes;  // taken by a process once it uses the device
    uint64_t library_bytes;  // taken at the first use of cuBLAS, and again at that of cuDNN
    int major, minor, multiprocessors, threads_per_multiprocessor, count;
    double nonzero_share;  // of elements that are true where a kernel would count them
    char folder[1024];     // shared state and tallies
};
const Description &description();
void uuid_of(int device, unsigned char out[16]);

// ---- the tally (tally.cpp): counters in a file that outlives a killed process
enum Kind : uint32_t {
    UNKNOWN = 1,   // a call that this device has no answer for
    ASSUMED = 2,   // a call answered by an assumption that nothing was held against
    LIBRARY = 3,   // a call of a library, whose computation is left out
    KERNEL = 4,    // a kernel that did nothing
    COMPUTED = 5,  // a kernel whose result was computed
    MODELLED = 6,  // a size by a model whose error is known (ffprof/estimator/cuda/workspaces.py)
};
std::atomic<uint64_t> &tally(Kind kind, const char *name);
#define COUNT(kind, name)                                                       \
    do {                                                                        \
        static std::atomic<uint64_t> &n_ = null_device::tally(null_device::kind, name); \
        n_++;                                                                   \
    } while (0)
void note_peak(int device, uint64_t bytes);
void note_out_of_memory();
void note_read(uint64_t bytes);
void note_write(uint64_t bytes);

// ---- memory (memory.cpp); a device counts what is taken, host pages stand behind it
int current_device();
void set_current_device(int device);
void use_device(int device);          // makes the context, once
bool has_context(int device);
void use_library(const char *name);   // its kernels are loaded at its first use
void *take(int device, uint64_t bytes);  // nullptr where the capacity is exceeded
bool give(void *at);                     // false where nothing was taken at that address
void *reserve(int device, uint64_t bytes);  // addresses alone, not counted
void unreserve(void *at);
bool charge(int device, uint64_t bytes);    // counted alone, no addresses
void discharge(int device, uint64_t bytes);
uint64_t held_bytes(int device);             // by this process, without its context
uint64_t used_bytes(int device);             // by all processes
int device_of(const void *at);               // -1 for host memory
void copy(void *to, const void *from, size_t bytes);
void fill(void *to, const void *pattern, size_t width, size_t count);
void wrote(void *at, size_t bytes);             // somebody else has written there
bool is_written(const void *at, size_t bytes);  // whether it may hold anything but zeros
void forget(void *at, size_t bytes);  // the contents become zeros

// ---- kernels
bool compute(const char *kernel, void **arguments);  // values.cpp; false where it is left out

}  // namespace null_device
