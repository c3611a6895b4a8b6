"""A profile to fill in, for cards that ffprof has none of."""

from __future__ import annotations

TEMPLATE = """\
# A card of your own, for ffprof run, frontier, estimate and cards: --card-file THIS_FILE
# Every figure below is that of a GeForce RTX 4060, as an example: put in those of your card, and
# say under [sources] where each was read. docs/cards.md describes the fields.

# As NVML and CUDA call it (nvidia-smi -L), so that it is recognised; any other name will do.
name = "My GPU"
# What it is sold with. GPU memory is sold in binary units: 8GB is 8 x 1024^3 bytes.
class = "8GB"
architecture = "Ada Lovelace"
chip = "AD107"
year = 2023
compute_capability = "8.9"  # nvidia-smi --query-gpu=compute_cap --format=csv
sm_count = 24  # torch.cuda.get_device_properties(0).multi_processor_count

# The driver's total: nvidia-smi --query-gpu=memory.total --format=csv tells MiB, times 1048576.
nvml_total_bytes = 8_585_740_288
# What CUDA offers: torch.cuda.mem_get_info()[1]. Budgets are made of this one.
cuda_total_bytes = 8_192_524_288

# Peaks, for estimates of speed: dense, a multiply-add as two operations, tensor cores with fp32
# accumulation. Leave out what the card has no units for.
memory_type = "GDDR6"
bandwidth_gb_s = 272.0
fp32_tflops = 15.11
tf32_tflops = 15.1
fp16_tensor_tflops = 30.2
bf16_tensor_tflops = 30.2
tdp_watts = 115
pcie = "PCIe 4.0 x8"

[confidence]
# high: read on the card itself in several public logs; medium: read once; low: inferred.
nvml_total_bytes = "low"
cuda_total_bytes = "low"

[sources]
# One for every figure above: a page, or how it was read.
architecture = "an example, of a GeForce RTX 4060: say where yours was read"
chip = "an example, of a GeForce RTX 4060: say where yours was read"
year = "an example, of a GeForce RTX 4060: say where yours was read"
compute_capability = "an example, of a GeForce RTX 4060: say where yours was read"
sm_count = "an example, of a GeForce RTX 4060: say where yours was read"
nvml_total_bytes = "an example, of a GeForce RTX 4060: say where yours was read"
cuda_total_bytes = "an example, of a GeForce RTX 4060: say where yours was read"
memory_type = "an example, of a GeForce RTX 4060: say where yours was read"
bandwidth_gb_s = "an example, of a GeForce RTX 4060: say where yours was read"
fp32_tflops = "an example, of a GeForce RTX 4060: say where yours was read"
tf32_tflops = "an example, of a GeForce RTX 4060: say where yours was read"
fp16_tensor_tflops = "an example, of a GeForce RTX 4060: say where yours was read"
bf16_tensor_tflops = "an example, of a GeForce RTX 4060: say where yours was read"
tdp_watts = "an example, of a GeForce RTX 4060: say where yours was read"
pcie = "an example, of a GeForce RTX 4060: say where yours was read"
"""
