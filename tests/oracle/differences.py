"""Why the tracer and PyTorch's CUDA code differ in some steps, and by how much.

``LESS`` is tracer less CUDA in bytes: allocated and reserved of the first step, and of the second.
"""

CAUSES: dict[str, str] = {
    "adversarial, gradient penalty": "the derivative of batch normalisation's derivative lets go "
    "of what it has read sooner on CUDA",
    "products of rows": "the derivative looks for zeros by value on CUDA, and works without "
    "looking on fake tensors",
    "linear algebra": "scratch of solvers (cuSOLVER, MAGMA) is not modelled",
    "swin": "not explained: a segment of 2 MiB",
    "gradients by sample": "not explained: alone it is equal, after other steps CUDA had 200 KiB "
    "of 51 MiB more in the second step",
}
LESS: dict[str, tuple[int, int, int, int]] = {
    "products of rows": (0, 0, 7_856_128, 0),
    "linear algebra": (-204_800, 0, -72_704, 0),
}
