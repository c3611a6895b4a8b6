"""Rules about environment variables: which are set, and which of them change figures.

What ffprof sets or removes for its trials cannot change their figures; everything else is handed
on to them. Variables that only CUDA reads change nothing where there is no GPU.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from ffprof.hardware.doctor.facts import Facts
from ffprof.hardware.doctor.finding import Judgement, note, ok, warn
from ffprof.hardware.doctor.rules.driver import gpu_expected

# Names with their effect; "" says that the number of threads is all they change.
_THREADS = {
    "OMP_NUM_THREADS": "",
    "MKL_NUM_THREADS": "",
    "OPENBLAS_NUM_THREADS": "",
    "NUMEXPR_NUM_THREADS": "",
    "VECLIB_MAXIMUM_THREADS": "",
    "OMP_THREAD_LIMIT": "caps the threads of every trial",
    "OMP_DYNAMIC": "lets the runtime choose fewer threads",
    "MKL_DYNAMIC": "lets MKL choose fewer threads",
    "OMP_PROC_BIND": "pins threads",
    "OMP_PLACES": "pins threads",
    "OMP_SCHEDULE": "distributes loops differently",
    "OMP_WAIT_POLICY": "changes what waiting threads do",
    "KMP_AFFINITY": "pins threads",
    "KMP_BLOCKTIME": "changes what waiting threads do",
    "GOMP_CPU_AFFINITY": "pins threads",
    "GOMP_SPINCOUNT": "changes what waiting threads do",
    "MKL_CBWR": "chooses slower, repeatable kernels",
    "MKL_ENABLE_INSTRUCTIONS": "limits the instructions of MKL",
    "ONEDNN_MAX_CPU_ISA": "limits the instructions of convolutions",
    "DNNL_MAX_CPU_ISA": "limits the instructions of convolutions",
    "ATEN_CPU_CAPABILITY": "limits the instructions of PyTorch's kernels",
}
_ALLOCATOR = {
    "PYTORCH_CUDA_ALLOC_CONF": "sets PyTorch's allocator",
    "PYTORCH_ALLOC_CONF": "sets PyTorch's allocator",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "switches the caching allocator off: peaks and speed differ",
}
_CUDA = {
    "CUDA_LAUNCH_BLOCKING": "waits after every kernel",
    "CUDA_MODULE_LOADING": "changes how much memory kernels take",
    "CUDA_DEVICE_MAX_CONNECTIONS": "changes the order of kernels",
    "CUDA_INJECTION64_PATH": "loads a profiler into every trial",
    "CUDA_FORCE_PTX_JIT": "compiles kernels at run time",
    "CUBLAS_WORKSPACE_CONFIG": "sets the workspace of matrix products, and their kernels",
    "CUBLASLT_WORKSPACE_SIZE": "sets the workspace of matrix products",
    "NVIDIA_TF32_OVERRIDE": "switches TF32 against the recipe",
}
_HARMLESS_TORCH = (
    "TORCH_HOME",
    "TORCH_EXTENSIONS_DIR",
    "TORCH_CUDA_ARCH_LIST",
    "TORCH_NCCL_",
    "TORCH_SHOW_CPP_STACKTRACES",
    "TORCHINDUCTOR_",
    "TORCHDYNAMO_",
)
_MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": "sets the C library's allocator",
    "MALLOC_MMAP_THRESHOLD_": "sets the C library's allocator",
    "MALLOC_ARENA_MAX": "sets the C library's allocator",
    "MALLOC_TOP_PAD_": "sets the C library's allocator",
    "MALLOC_PERTURB_": "fills memory that is freed",
    "MALLOC_CHECK_": "checks memory that is freed",
    "GLIBC_TUNABLES": "tunes the C library",
    "LD_PRELOAD": "loads a library into every trial, perhaps another allocator",
    "PYTHONMALLOC": "changes Python's allocator",
}


def thread_variables(facts: Facts) -> Judgement:
    """Threads: their number, places and instructions."""
    return _judge(facts, _THREADS, overridden="ffprof sets the threads itself (--threads)")


def allocator_variables(facts: Facts) -> Judgement:
    """PyTorch's CUDA allocator."""
    own = "ffprof removes them for trials and sets the recipe's; your own training keeps them"
    return _judge(facts, _ALLOCATOR, overridden=own, cuda=True)


def cuda_variables(facts: Facts) -> Judgement:
    """CUDA and its libraries; which GPU is visible is the business of the rule about CUDA."""
    effects = dict.fromkeys(_named(facts, "CUDNN_"), "changes what cuDNN does")
    return _judge(facts, {**_CUDA, **effects}, overridden="ffprof sets it", cuda=True)


def torch_variables(facts: Facts) -> Judgement:
    """Everything else that PyTorch reads."""
    names = [n for n in _named(facts, "TORCH", "PYTORCH_") if n not in _ALLOCATOR]
    effects = {
        name: "" if name.startswith(_HARMLESS_TORCH) else "may change PyTorch's kernels or checks"
        for name in names
    }
    return _judge(facts, effects, overridden="it does not change a trial")


def malloc_variables(facts: Facts) -> Judgement:
    """The host's allocator."""
    return _judge(facts, _MALLOC, overridden="ffprof sets its own for trials")


def _judge(
    facts: Facts, effects: Mapping[str, str], *, overridden: str, cuda: bool = False
) -> Judgement:
    """Warn of variables that reach the trials and change them, note the others."""
    # PyTorch asks whether a variable is there; for all others an empty one is none.
    there = facts.environment
    present = [n for n in effects if n in there and (there[n] or n.startswith("PYTORCH_"))]
    if not present:
        return ok("none set")
    loud = [n for n in present if effects[n] and n not in facts.overridden]
    seen = ", ".join(f"{name}={_shown(facts.environment[name])}" for name in present)
    torch = facts.child.torch
    if loud and cuda and not (torch and torch.cuda) and not gpu_expected(facts):
        return note(seen, "only CUDA reads them; without a GPU they change nothing")
    if not loud:
        return note(seen, overridden)
    reasons = dict.fromkeys(effects[name] for name in loud)
    return warn(
        seen,
        "; ".join(f"{', '.join(n for n in loud if effects[n] == r)} {r}" for r in reasons),
        f"unset {'it' if len(loud) == 1 else 'them'}, or quote with your figures",
        *(f"unset {name}" for name in loud),
    )


def _named(facts: Facts, *prefixes: str) -> list[str]:
    """Other names than a shell's are left out: they would be something else in a script."""
    return sorted(
        name
        for name in facts.environment
        if name.startswith(prefixes) and name.isascii() and name.isidentifier()
    )


def _shown(value: str) -> str:
    return shlex.quote(value if len(value) <= 60 else f"{value[:57]}...")


RULES: dict[str, Callable[[Facts], Judgement]] = {
    "thread-variables": thread_variables,
    "allocator-variables": allocator_variables,
    "cuda-variables": cuda_variables,
    "torch-variables": torch_variables,
    "malloc-variables": malloc_variables,
}
