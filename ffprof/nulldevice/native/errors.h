// The last error of a thread of the CUDA runtime.
#pragma once
#include <driver_types.h>
cudaError_t failed(cudaError_t error);
