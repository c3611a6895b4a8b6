// The declarations of every library that is stood in for, as the installed wheels have them.
// Some of the headers are meant for CUDA's own compiler: what only it understands is left out.
#pragma once
#define __CUDA_RUNTIME_H__
#define __CUDA_FP16_H__
#define __CUDA_BF16_H__
#define __CUDA_FP8_H__
#define __CUDA_FP4_H__
#define __CUDA_FP6_H__
struct __half { unsigned short x; };
struct __nv_bfloat16 { unsigned short x; };
typedef __half half;
typedef __nv_bfloat16 nv_bfloat16;
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cudnn.h>
#if __has_include(<cufft.h>)
#include <cufft.h>
#include <cufftXt.h>
#endif
#if __has_include(<curand.h>)
#include <curand.h>
#endif
#if __has_include(<cusparse.h>)
#include <cusparse.h>
#endif
#if __has_include(<cusparseLt.h>)
#include <cusparseLt.h>
#endif
#if __has_include(<cusolverDn.h>)
#include <cusolverDn.h>
#endif
#if __has_include(<nccl.h>)
#include <nccl.h>
#endif
