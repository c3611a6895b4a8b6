"""Why the tracer and PyTorch's CUDA code differ in some steps, and by how much.

``LESS`` is tracer less CUDA in bytes: allocated and reserved of the first step, and of the second.
"""

CAUSES: dict[str, str] = {}
LESS: dict[str, tuple[int, int, int, int]] = {}
