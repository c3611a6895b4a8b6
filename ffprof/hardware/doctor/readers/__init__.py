"""Readers of facts: of the host, of its activity, of software, of PyTorch and of NVML."""
