// cuBLAS, cublasLt and cuFFT, as far as an answer needs more than a status: handles, versions
// and plans. Their computations, and all of cuSPARSE, cuSOLVER and cuRAND, are generated (answers.py).
#include "headers.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "device.h"
using namespace null_device;

// ---- cuBLAS
API cublasStatus_t cublasCreate_v2(cublasHandle_t *h) {
    use_library("cublas");
    *h = (cublasHandle_t)calloc(1, 64);
    return CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasDestroy_v2(cublasHandle_t h) { free(h); return CUBLAS_STATUS_SUCCESS; }
struct Modes { cublasMath_t math; cublasPointerMode_t pointer; cudaStream_t stream; };  // of a handle
static_assert(sizeof(Modes) <= 64, "a handle holds its modes");
API cublasStatus_t cublasSetMathMode(cublasHandle_t h, cublasMath_t m) { ((Modes *)h)->math = m; return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasGetMathMode(cublasHandle_t h, cublasMath_t *m) { *m = ((Modes *)h)->math; return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t h, cublasPointerMode_t m) { ((Modes *)h)->pointer = m; return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t h, cublasPointerMode_t *m) { *m = ((Modes *)h)->pointer; return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasSetStream_v2(cublasHandle_t h, cudaStream_t s) { ((Modes *)h)->stream = s; return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasGetStream_v2(cublasHandle_t h, cudaStream_t *s) { *s = ((Modes *)h)->stream; return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int *v) { *v = CUBLAS_VERSION; return CUBLAS_STATUS_SUCCESS; }
API size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }

// ---- cublasLt: one algorithm for every product. What workspace it would need changes nothing:
// PyTorch takes one of its own choice before it asks, and offers that.
#define LT_MAKES(type) (type) calloc(1, 256)
API cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t, cudaDataType_t) { *d = LT_MAKES(cublasLtMatmulDesc_t); return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { free(d); return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *d) { *d = LT_MAKES(cublasLtMatmulPreference_t); return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t d) { free(d); return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *d, cudaDataType, uint64_t, uint64_t, int64_t) { *d = LT_MAKES(cublasLtMatrixLayout_t); return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t d) { free(d); return CUBLAS_STATUS_SUCCESS; }
API cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int asked, cublasLtMatmulHeuristicResult_t *out, int *found) {
    COUNT(LIBRARY, "cublasLtMatmulAlgoGetHeuristic");
    *found = asked > 0;
    if (*found) memset(out, 0, sizeof *out), out->state = CUBLAS_STATUS_SUCCESS;
    return CUBLAS_STATUS_SUCCESS;
}

// ---- cuFFT: plans are numbers; what work area they need is not known, and taken as none
static std::atomic<int> plans{0};
API cufftResult cufftCreate(cufftHandle *plan) {
    use_library("cufft");
    *plan = ++plans;
    return CUFFT_SUCCESS;
}
API cufftResult cufftXtMakePlanMany(cufftHandle, int, long long *, long long *, long long, long long, cudaDataType, long long *, long long, long long, cudaDataType, long long, size_t *bytes, cudaDataType) {
    COUNT(ASSUMED, "cufftXtMakePlanMany");
    *bytes = 0;
    return CUFFT_SUCCESS;
}
API cufftResult cufftGetSize(cufftHandle, size_t *bytes) {
    COUNT(ASSUMED, "cufftGetSize");
    *bytes = 0;
    return CUFFT_SUCCESS;
}
