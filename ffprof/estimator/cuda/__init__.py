"""What CUDA does that a CPU does not: other operators, and memory of cuBLAS and cuDNN."""
