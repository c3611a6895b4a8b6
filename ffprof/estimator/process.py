"""GPU memory outside PyTorch's allocator: the CUDA context, library kernels and a display.

What nvidia-smi shows of a process is what the allocator reserved plus this. It depends on the
GPU, the driver and the builds, and nobody publishes a table, so it is a range put together from
single public readings; ``ffprof.estimator.learned`` replaces it by what was measured here.
Workspaces of cuBLAS and cuDNN come from the allocator and are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ffprof.units import MIB

# CUDA 11.7 brought loading kernels when they are first used
# (docs.nvidia.com/cuda/cuda-programming-guide, 4.7.2); PyTorch asks for it since 1.13
# (github.com/pytorch/pytorch/pull/86509), CUDA does so itself since 12.2.
LAZY_SINCE = (11, 7)
# Where no card is named: the compute capability of most cards of the 8 GB class (Ampere), and,
# where torch was built for no CUDA, the version that torch 2.11's default wheel is built for.
ASSUMED_CAPABILITY = (8, 6)
ASSUMED_CUDA = (12, 8)


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """Bytes as (low, likely, high), and where they come from.

    ``measured`` is true for what ffprof measured with the same GPU, driver and builds.
    """

    low_bytes: int
    likely_bytes: int
    high_bytes: int
    measured: bool
    sources: tuple[str, ...]

    def __add__(self, other: Overhead) -> Overhead:
        return Overhead(
            low_bytes=self.low_bytes + other.low_bytes,
            likely_bytes=self.likely_bytes + other.likely_bytes,
            high_bytes=self.high_bytes + other.high_bytes,
            measured=self.measured and other.measured,
            sources=self.sources + other.sources,
        )


def _range(low: int, likely: int, high: int, *sources: str) -> Overhead:
    return Overhead(
        low_bytes=low * MIB,
        likely_bytes=likely * MIB,
        high_bytes=high * MIB,
        measured=False,
        sources=sources,
    )


_LAZY_CONTEXT = _range(
    256,
    320,
    430,
    "context, lazy: 256 MiB on an RTX 3090, torch 2.7.1+cu128, driver 610 "
    "(github.com/invoke-ai/InvokeAI/issues/9413)",
    "context, lazy: 274 MiB with one small tensor, torch 1.13 (github.com/pytorch/pytorch/pull/"
    "86509); around 300 and around 400 MB (pytorch issues 107667 and 109888)",
)
# Before: all kernels of all libraries were in the context as soon as it was made.
_EAGER_CONTEXT = _range(
    633,
    1105,
    1488,
    "context with all kernels: 636 MiB with one small tensor, torch 1.13 built for CUDA 11.7 "
    "(github.com/pytorch/pytorch/pull/86509)",
    "context with all kernels: 1105 MiB, torch 1.7.1+cu110 (github.com/pytorch/pytorch/issues/"
    "60150); 1006 MiB on a Titan V, torch 1.3 (issue 28394)",
    "context with all kernels: 1488 MiB on an RTX 3090, torch 1.7.1+cu110, which is 1644 less a "
    "tensor of 156 (github.com/pytorch/pytorch/issues/49877)",
)
# Kernels that a training step of a convolutional net loads from cuBLAS and cuDNN, by the first
# compute capability that the row holds for. Guessed: "several hundred MiB" is all that is known;
# newer architectures carry more and larger kernels.
_LIBRARIES = {
    (5, 0): _range(80, 200, 450, "cuBLAS and cuDNN kernels before tensor cores: guessed"),
    (7, 0): _range(100, 300, 600, "cuBLAS and cuDNN kernels: guessed, several hundred MiB"),
    (8, 0): _range(
        100,
        300,
        1300,
        "cuBLAS and cuDNN kernels: guessed, several hundred MiB; the high end from 1721 MiB in "
        "all, fitted to public figures of an A100 that autotuned (docs/estimator.md)",
    ),
    (8, 6): _range(
        100, 300, 800, "cuBLAS and cuDNN kernels: guessed, several hundred MiB, more if autotuned"
    ),
    (9, 0): _range(
        150,
        400,
        900,
        "cuBLAS and cuDNN kernels, Hopper and later: guessed; the high end from 1020 MiB in all "
        "on an RTX 5060 Ti (github.com/Luce-Org/lucebox/issues/407)",
    ),
}
# A GPU that also drives a desktop.
_DISPLAY = _range(
    127,
    300,
    500,
    "display: 127 MiB of a Wayland desktop, 300 to 500 less for CUDA than on a bare card "
    "(github.com/Anbeeld/beellama.cpp/issues/145)",
)


def process_overhead(
    capability: tuple[int, int],
    *,
    cuda: tuple[int, int],
    lazy: bool | None = None,
    display: bool = False,
) -> Overhead:
    """What a training process takes on a card of this compute capability, beside the allocator.

    ``cuda`` is the version that torch was built for, (major, minor). ``lazy`` says whether
    kernels are loaded when first used; None takes what that version does. With ``display``, what
    a desktop on the same card takes is added.
    """
    if lazy is None:
        lazy = cuda >= LAZY_SINCE
    library = max((since for since in _LIBRARIES if since <= capability), default=min(_LIBRARIES))
    # With eager loading the libraries' kernels are in the context already.
    made = _LAZY_CONTEXT + _LIBRARIES[library] if lazy else _EAGER_CONTEXT
    return made + _DISPLAY if display else made


def display_overhead() -> Overhead:
    """What a desktop takes of the card that it is drawn on."""
    return _DISPLAY


def cuda_version(text: str) -> tuple[int, int]:
    """(12, 8) of "12.8", as torch.version.cuda and a record's versions spell it.

    Raises:
        ValueError: not a version, such as "None" of a CPU build.
    """
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return int(major), int(minor or 0)
