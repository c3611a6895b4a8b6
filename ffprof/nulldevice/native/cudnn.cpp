// cuDNN's older interface: descriptors keep what they are given, recurrent networks and dropout
// tell their sizes. Convolutions go through the graph interface (cudnn_graph.cpp).
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "device.h"
using namespace null_device;

API cudnnStatus_t cudnnCreate(cudnnHandle_t *h) {
    use_library("cudnn");
    *h = (cudnnHandle_t)calloc(1, sizeof(cudaStream_t));
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnDestroy(cudnnHandle_t h) { free(h); return CUDNN_STATUS_SUCCESS; }
API cudnnStatus_t cudnnSetStream(cudnnHandle_t h, cudaStream_t s) { *(cudaStream_t *)h = s; return CUDNN_STATUS_SUCCESS; }
API cudnnStatus_t cudnnGetStream(cudnnHandle_t h, cudaStream_t *s) { *s = *(cudaStream_t *)h; return CUDNN_STATUS_SUCCESS; }
API size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
API size_t cudnnGetCudartVersion(void) { return CUDART_VERSION; }
API const char *cudnnGetErrorString(cudnnStatus_t e) {
    return e == CUDNN_STATUS_SUCCESS ? "CUDNN_STATUS_SUCCESS" : e == CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED" : "an error of ffprof's null device";
}
API void cudnnGetLastErrorString(char *out, size_t n) { if (n) *out = 0; }
API cudnnStatus_t cudnnGetProperty(libraryPropertyType which, int *out) {
    *out = which == MAJOR_VERSION ? CUDNN_MAJOR : which == MINOR_VERSION ? CUDNN_MINOR : CUDNN_PATCHLEVEL;
    return CUDNN_STATUS_SUCCESS;
}

// ---- descriptors
struct Shape { int n, type, dims[CUDNN_DIM_MAX], strides[CUDNN_DIM_MAX]; };
struct Recurrence { int cell, bias, both_ways, layers, input, hidden, type; };
struct Sequences { int longest, batch, vector; };
#define DESCRIPTOR(kind, type)                                                                                 \
    API cudnnStatus_t cudnnCreate##kind##Descriptor(cudnn##kind##Descriptor_t *d) {                            \
        *d = (cudnn##kind##Descriptor_t) new type();                                                           \
        return CUDNN_STATUS_SUCCESS;                                                                           \
    }                                                                                                          \
    API cudnnStatus_t cudnnDestroy##kind##Descriptor(cudnn##kind##Descriptor_t d) {                            \
        delete (type *)d;                                                                                      \
        return CUDNN_STATUS_SUCCESS;                                                                           \
    }
DESCRIPTOR(Tensor, Shape)
DESCRIPTOR(Filter, Shape)
DESCRIPTOR(RNN, Recurrence)
DESCRIPTOR(RNNData, Sequences)

static size_t width(int type) {
    switch (type) {
        case CUDNN_DATA_DOUBLE: case CUDNN_DATA_INT64: return 8;
        case CUDNN_DATA_HALF: case CUDNN_DATA_BFLOAT16: return 2;
        case CUDNN_DATA_INT8: case CUDNN_DATA_UINT8: case CUDNN_DATA_BOOLEAN: return 1;
        default: return 4;
    }
}
static size_t elements(const void *descriptor) {
    const Shape *s = (const Shape *)descriptor;
    size_t n = 1;
    for (int i = 0; i < s->n; i++) n *= s->dims[i];
    return n;
}
static void set_shape(void *descriptor, int type, int n, const int *dims, const int *strides) {
    Shape *s = (Shape *)descriptor;
    s->n = std::min(n, CUDNN_DIM_MAX), s->type = type;
    for (int i = 0; i < s->n; i++) s->dims[i] = dims[i], s->strides[i] = strides ? strides[i] : 0;
}
API cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t d, cudnnDataType_t type, int n, const int *dims, const int *strides) {
    set_shape(d, type, n, dims, strides);
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnGetTensorNdDescriptor(const cudnnTensorDescriptor_t d, int asked, cudnnDataType_t *type, int *n, int *dims, int *strides) {
    const Shape *s = (const Shape *)d;
    *type = (cudnnDataType_t)s->type, *n = s->n;
    for (int i = 0; i < std::min(s->n, asked); i++) dims[i] = s->dims[i], strides[i] = s->strides[i];
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t d, cudnnDataType_t type, cudnnTensorFormat_t, int n, const int *dims) {
    set_shape(d, type, n, dims, nullptr);
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnGetFilterNdDescriptor(const cudnnFilterDescriptor_t d, int asked, cudnnDataType_t *type, cudnnTensorFormat_t *format, int *n, int *dims) {
    const Shape *s = (const Shape *)d;
    *type = (cudnnDataType_t)s->type, *format = CUDNN_TENSOR_NCHW, *n = s->n;
    for (int i = 0; i < std::min(s->n, asked); i++) dims[i] = s->dims[i];
    return CUDNN_STATUS_SUCCESS;
}

// ---- sizes that nobody publishes, each an assumption
// Dropout keeps a state of 48 bytes (curandStateXORWOW_t) for every thread of the device.
API cudnnStatus_t cudnnDropoutGetStatesSize(cudnnHandle_t, size_t *n) {
    COUNT(ASSUMED, "cudnnDropoutGetStatesSize");
    *n = (size_t)description().multiprocessors * description().threads_per_multiprocessor * 48;
    return CUDNN_STATUS_SUCCESS;
}
// Batch normalisation takes a workspace on one path alone, by NVIDIA's reference of the function
// (cudnnBatchNormalizationForwardTrainingEx): persistent mode, channels last, half precision. None
// is assumed there, and a mask of one bit an element where the activation is included.
#define COUNT_NORM(name, mode, x)                                                                               \
    do {                                                                                                       \
        if (mode == CUDNN_BATCHNORM_SPATIAL_PERSISTENT && width(((const Shape *)x)->type) == 2) COUNT(ASSUMED, name); \
        else COUNT(LIBRARY, name);                                                                             \
    } while (0)
API cudnnStatus_t cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(cudnnHandle_t, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnActivationDescriptor_t, size_t *n) {
    COUNT_NORM("cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize", mode, x);
    *n = 0;
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnGetBatchNormalizationBackwardExWorkspaceSize(cudnnHandle_t, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnActivationDescriptor_t, size_t *n) {
    COUNT_NORM("cudnnGetBatchNormalizationBackwardExWorkspaceSize", mode, x);
    *n = 0;
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnGetBatchNormalizationTrainingExReserveSpaceSize(cudnnHandle_t, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t ops, const cudnnActivationDescriptor_t, const cudnnTensorDescriptor_t x, size_t *n) {
    COUNT_NORM("cudnnGetBatchNormalizationTrainingExReserveSpaceSize", mode, x);
    *n = ops == CUDNN_BATCHNORM_OPS_BN ? 0 : (elements(x) + 7) / 8;
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnGetCTCLossWorkspaceSize_v8(cudnnHandle_t, cudnnCTCLossAlgo_t, const cudnnCTCLossDescriptor_t, const cudnnTensorDescriptor_t probs, const cudnnTensorDescriptor_t, size_t *n) {
    COUNT(ASSUMED, "cudnnGetCTCLossWorkspaceSize_v8");
    *n = 2 * elements(probs) * 4;  // forward and backward variables
    return CUDNN_STATUS_SUCCESS;
}

// ---- recurrent networks
API cudnnStatus_t cudnnSetRNNDescriptor_v8(cudnnRNNDescriptor_t d, cudnnRNNAlgo_t, cudnnRNNMode_t cell, cudnnRNNBiasMode_t bias, cudnnDirectionMode_t ways, cudnnRNNInputMode_t, cudnnDataType_t type, cudnnDataType_t, cudnnMathType_t, int32_t input, int32_t hidden, int32_t, int32_t layers, cudnnDropoutDescriptor_t, uint32_t) {
    *(Recurrence *)d = {cell, bias != CUDNN_RNN_NO_BIAS, ways == CUDNN_BIDIRECTIONAL, layers, input, hidden, type};
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnSetRNNDataDescriptor(cudnnRNNDataDescriptor_t d, cudnnDataType_t, cudnnRNNDataLayout_t, int longest, int batch, int vector, const int *, void *) {
    *(Sequences *)d = {longest, batch, vector};
    return CUDNN_STATUS_SUCCESS;
}
static int gates(const Recurrence *r) { return r->cell == CUDNN_LSTM ? 4 : r->cell == CUDNN_GRU ? 3 : 1; }
// Where one matrix and its bias lie, in elements: all matrices one after the other, then all
// biases, without padding. Returns how many elements there are.
struct Place { size_t matrix = 0, bias = 0; int rows = 0, columns = 0; bool biased = false; };
static size_t place(const Recurrence *r, int layer, int id, Place *out) {
    size_t at = 0;
    int ways = r->both_ways ? 2 : 1, matrices = gates(r) * 2;
    for (int l = 0; l < r->layers * ways; l++)
        for (int m = 0; m < matrices; m++) {
            int columns = m >= gates(r) ? r->hidden : l < ways ? r->input : r->hidden * ways;
            if (out && l == layer && m == id) out->matrix = at, out->rows = r->hidden, out->columns = columns;
            at += (size_t)r->hidden * columns;
        }
    for (int l = 0; r->bias && l < r->layers * ways; l++)
        for (int m = 0; m < matrices; m++) {
            if (out && l == layer && m == id) out->bias = at, out->biased = true;
            at += r->hidden;
        }
    return at;
}
API cudnnStatus_t cudnnGetRNNWeightSpaceSize(cudnnHandle_t, cudnnRNNDescriptor_t d, size_t *n) {
    *n = place((Recurrence *)d, -1, -1, nullptr) * width(((Recurrence *)d)->type);
    return CUDNN_STATUS_SUCCESS;
}
API cudnnStatus_t cudnnGetRNNWeightParams(cudnnHandle_t, cudnnRNNDescriptor_t d, int32_t layer, size_t, const void *space, int32_t id, cudnnTensorDescriptor_t matrix, void **matrix_at, cudnnTensorDescriptor_t bias, void **bias_at) {
    const Recurrence *r = (const Recurrence *)d;
    Place p;
    place(r, layer, id, &p);
    int dims[3] = {1, p.rows, p.columns}, strides[3] = {p.rows * p.columns, p.columns, 1};
    int bias_dims[3] = {1, p.rows, 1}, bias_strides[3] = {p.rows, 1, 1};
    if (matrix_at) *matrix_at = p.rows ? (char *)space + p.matrix * width(r->type) : nullptr;
    if (matrix) set_shape(matrix, r->type, 3, dims, strides);
    if (bias_at) *bias_at = p.biased ? (char *)space + p.bias * width(r->type) : nullptr;
    if (bias && p.biased) set_shape(bias, r->type, 3, bias_dims, bias_strides);
    return CUDNN_STATUS_SUCCESS;
}
// For backward, every layer keeps its gates, its output and, of an LSTM, its cell's state for
// every step; while it runs, one layer's gates are worked on.
API cudnnStatus_t cudnnGetRNNTempSpaceSizes(cudnnHandle_t, cudnnRNNDescriptor_t d, cudnnForwardMode_t mode, cudnnRNNDataDescriptor_t x, size_t *work, size_t *kept) {
    COUNT(ASSUMED, "cudnnGetRNNTempSpaceSizes");
    const Recurrence *r = (const Recurrence *)d;
    const Sequences *s = (const Sequences *)x;
    size_t state = (size_t)s->longest * s->batch * r->hidden * (r->both_ways ? 2 : 1) * width(r->type);
    if (work) *work = state * gates(r);
    if (kept) *kept = mode == CUDNN_FWD_MODE_TRAINING ? state * r->layers * (gates(r) + (r->cell == CUDNN_LSTM ? 2 : 1)) : 0;
    return CUDNN_STATUS_SUCCESS;
}
