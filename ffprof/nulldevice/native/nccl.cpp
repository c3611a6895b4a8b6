// NCCL: every rank is alone, and takes the others to have what it has itself. What it sends is what
// it receives, so that ranks that compare themselves agree; sums are not computed.
#include "headers.h"
#include <cstring>
#include "device.h"
using namespace null_device;

#ifdef NCCL_VERSION_CODE
struct ncclComm { int ranks, rank, device; };
API ncclResult_t ncclGetVersion(int *v) { *v = NCCL_VERSION_CODE; return ncclSuccess; }
API const char *ncclGetErrorString(ncclResult_t e) { return e ? "an error of ffprof's null device" : "no error"; }
API const char *ncclGetLastError(ncclComm_t) { return ""; }
API ncclResult_t ncclGetUniqueId(ncclUniqueId *id) { memset(id, 1, sizeof *id); return ncclSuccess; }
API ncclResult_t ncclCommInitRank(ncclComm_t *c, int ranks, ncclUniqueId, int rank) {
    use_library("nccl");
    COUNT(ASSUMED, "ncclCommInitRank");  // the memory of its channels is taken as library_bytes
    *c = new ncclComm{ranks, rank, current_device()};
    return ncclSuccess;
}
API ncclResult_t ncclCommInitRankConfig(ncclComm_t *c, int ranks, ncclUniqueId id, int rank, ncclConfig_t *) { return ncclCommInitRank(c, ranks, id, rank); }
API ncclResult_t ncclCommInitRankScalable(ncclComm_t *c, int ranks, int rank, int, ncclUniqueId *id, ncclConfig_t *) { return ncclCommInitRank(c, ranks, *id, rank); }
API ncclResult_t ncclCommInitAll(ncclComm_t *c, int n, const int *devices) {
    for (int i = 0; i < n; i++) c[i] = new ncclComm{n, i, devices ? devices[i] : i};
    return ncclSuccess;
}
API ncclResult_t ncclCommDestroy(ncclComm_t c) { delete c; return ncclSuccess; }
API ncclResult_t ncclCommAbort(ncclComm_t c) { delete c; return ncclSuccess; }
API ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }
API ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t *e) { *e = ncclSuccess; return ncclSuccess; }
API ncclResult_t ncclCommCount(const ncclComm_t c, int *n) { *n = c->ranks; return ncclSuccess; }
API ncclResult_t ncclCommUserRank(const ncclComm_t c, int *n) { *n = c->rank; return ncclSuccess; }
API ncclResult_t ncclCommCuDevice(const ncclComm_t c, int *n) { *n = c->device; return ncclSuccess; }

static size_t width(ncclDataType_t type) {
    switch (type) {
        case ncclInt8: case ncclUint8: return 1;
        case ncclFloat16: case ncclBfloat16: return 2;
        case ncclInt64: case ncclUint64: case ncclFloat64: return 8;
        case ncclInt32: case ncclUint32: case ncclFloat32: return 4;
        default: return 1;  // the eight-bit floats
    }
}
API ncclResult_t ncclAllReduce(const void *from, void *to, size_t n, ncclDataType_t type, ncclRedOp_t, ncclComm_t, cudaStream_t) {
    COUNT(ASSUMED, "ncclAllReduce");
    copy(to, from, n * width(type));
    return ncclSuccess;
}
API ncclResult_t ncclReduce(const void *from, void *to, size_t n, ncclDataType_t type, ncclRedOp_t op, int root, ncclComm_t c, cudaStream_t s) {
    return c->rank == root ? ncclAllReduce(from, to, n, type, op, c, s) : ncclSuccess;
}
API ncclResult_t ncclBroadcast(const void *from, void *to, size_t n, ncclDataType_t type, int root, ncclComm_t c, cudaStream_t) {
    COUNT(ASSUMED, "ncclBroadcast");
    if (c->rank == root) copy(to, from, n * width(type));
    return ncclSuccess;
}
API ncclResult_t ncclBcast(void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t) {
    COUNT(ASSUMED, "ncclBcast");
    return ncclSuccess;
}
API ncclResult_t ncclAllGather(const void *from, void *to, size_t n, ncclDataType_t type, ncclComm_t c, cudaStream_t) {
    COUNT(ASSUMED, "ncclAllGather");
    for (int i = 0; i < c->ranks; i++) copy((char *)to + i * n * width(type), from, n * width(type));
    return ncclSuccess;
}
API ncclResult_t ncclReduceScatter(const void *from, void *to, size_t n, ncclDataType_t type, ncclRedOp_t, ncclComm_t c, cudaStream_t) {
    COUNT(ASSUMED, "ncclReduceScatter");
    copy(to, (const char *)from + c->rank * n * width(type), n * width(type));
    return ncclSuccess;
}
#endif
