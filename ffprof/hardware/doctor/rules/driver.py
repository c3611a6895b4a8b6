"""Rules about reaching the GPU: CUDA, the driver, NVML, and which GPU is which."""

from __future__ import annotations

from ffprof.hardware.doctor.facts import Facts, GpuFacts, TorchFacts
from ffprof.hardware.doctor.finding import Judgement, Unknown, bad, note, ok, unknown, warn
from ffprof.hardware.memory_limit import why_spilling

_CPU_THEN = "audits run on the CPU; its figures say nothing about memory or speed on a GPU"
_DEVICE_FILES = ("nvidiactl", "nvidia-uvm")
_DRIVER_PAGE = "https://www.nvidia.com/drivers"


def gpu_expected(facts: Facts) -> bool:
    """Whether anything says that this machine has an NVIDIA GPU."""
    host = facts.host
    return bool(
        facts.nvml.gpus
        or facts.nvml.mismatch
        or host.nvidia_module
        or host.nvidia_devices
        or host.nvidia_on_pci
    )


def without_gpu(facts: Facts) -> Unknown:
    """Why NVML has nothing to say about a GPU."""
    if facts.asked == "cpu":
        return unknown("--device cpu")
    return unknown("NVML shows no GPU" if gpu_expected(facts) else "no NVIDIA GPU")


def card_of(facts: Facts) -> GpuFacts | Unknown:
    """The GPU that trials run on, as NVML sees it."""
    if facts.asked == "cpu" or not facts.nvml.gpus:
        return without_gpu(facts)
    torch = facts.child.torch
    if torch is None or not torch.cuda:
        return facts.nvml.gpus[0]
    matched = next((g for g in facts.nvml.gpus if g.uuid == torch.gpu_uuid), None)
    return matched or unknown("CUDA's GPU is not among NVML's")


def cuda(facts: Facts) -> Judgement | Unknown:
    """PyTorch can use a GPU, or why not."""
    torch = facts.child.torch
    if facts.asked == "cpu":
        return without_gpu(facts)
    if torch is None:
        return unknown("torch does not start")
    if not torch.cuda:
        seen, do, *commands = _why_no_cuda(facts, torch)
        judge = bad if facts.asked == "cuda" else warn if gpu_expected(facts) else note
        why = "--device cuda cannot be measured" if facts.asked == "cuda" else _CPU_THEN
        return judge(seen, why, do, *commands)
    if torch.kernel_problem:
        return bad(
            f"the first kernel on {torch.gpu} failed: {torch.kernel_problem}",
            "no trial can run on this GPU",
            "install a build of PyTorch that knows this GPU, or free it if it is taken",
            "nvidia-smi",
            "pip install --upgrade --force-reinstall torch torchvision",
        )
    return ok(f"{torch.gpu}, {torch.gpu_uuid}")


def _why_no_cuda(facts: Facts, torch: TorchFacts) -> tuple[str, ...]:
    """What was seen, what to do, then commands; the first cause that explains it."""
    host, nvml = facts.host, facts.nvml
    if not gpu_expected(facts):
        return "no NVIDIA GPU on this machine", "for figures of a GPU, use a machine with one"
    if torch.cuda_build is None:
        return (
            f"torch {torch.version} is built without CUDA",
            "install the CUDA build; on Linux it is PyPI's default",
            "pip install --force-reinstall torch torchvision",
        )
    if (hidden := _hidden(facts)) is not None:
        return hidden, "unset the variable, or name a GPU that exists", "unset CUDA_VISIBLE_DEVICES"
    if nvml.mismatch:
        return (
            "the driver was updated under a running kernel: library and driver differ",
            "restart the machine",
            "sudo reboot",
        )
    if not (nvml.driver or host.nvidia_module or host.wsl):
        other = ", and the kernel uses nouveau" if host.nouveau else ""
        return (
            f"a GPU is on the PCI bus, but NVIDIA's driver is not loaded{other}",
            "install your distribution's NVIDIA driver package, or load it",
            "sudo modprobe nvidia",
            f"# otherwise install the driver: {_DRIVER_PAGE}",
        )
    build = int(torch.cuda_build.split(".")[0])
    if nvml.driver_cuda and nvml.driver_cuda[0] < build:
        return (
            f"driver {nvml.driver} knows CUDA up to {_version(nvml.driver_cuda)}, "
            f"torch is built for {torch.cuda_build}",
            "update the driver, or install a build of torch for the older CUDA",
            f"# update the driver: {_DRIVER_PAGE}",
            f"# or: pip install torch torchvision --index-url "
            f"https://download.pytorch.org/whl/cu{nvml.driver_cuda[0]}{nvml.driver_cuda[1]}",
        )
    missing = [name for name in _DEVICE_FILES if name not in host.nvidia_devices]
    if missing and host.platform == "linux" and not host.wsl:
        return (
            f"device files are missing: {', '.join(f'/dev/{name}' for name in missing)}",
            "create them; in a container, start it with --gpus all",
            "sudo nvidia-modprobe -c 0 -u",
        )
    if torch.libcuda_problem:
        return (
            f"the driver's CUDA library cannot be loaded: {torch.libcuda_problem}",
            "install the driver's compute libraries; start a container with --gpus all",
            "ldconfig -p | grep libcuda",
        )
    return torch.reason or "torch finds no CUDA device", "see what the driver says", "nvidia-smi"


def _hidden(facts: Facts) -> str | None:
    """How CUDA_VISIBLE_DEVICES hides all GPUs; None if it does not."""
    value = facts.environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    first = value.split(",")[0].strip()
    if first in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={value!r} hides every GPU"
    uuids = [gpu.uuid for gpu in facts.nvml.gpus]
    known = (first.isdigit() and int(first) < len(uuids)) or any(u.startswith(first) for u in uuids)
    if uuids and not known and not first.startswith("MIG-"):
        return f"CUDA_VISIBLE_DEVICES={value!r} names a GPU that does not exist"
    return None


def driver(facts: Facts) -> Judgement | Unknown:
    """The driver's version, and whether it spills to host memory instead of failing."""
    version, newest = facts.nvml.driver, facts.nvml.driver_cuda
    if facts.asked == "cpu" or version is None:
        return without_gpu(facts)
    seen = f"{version}, CUDA up to {_version(newest)}" if newest else version
    card = card_of(facts)
    model = card.driver_model if isinstance(card, GpuFacts) else None
    why = why_spilling(facts.host.platform, facts.host.wsl, model)
    if why:
        return warn(
            f"{seen}, under {why}",
            "a full GPU spills into host memory: trials slow down instead of running out of memory",
            "NVIDIA Control Panel, Manage 3D settings, CUDA - Sysmem Fallback Policy: "
            "Prefer No Sysmem Fallback",
        )
    return ok(seen)


def nvml(facts: Facts) -> Judgement | Unknown:
    """NVML answers."""
    if facts.asked == "cpu":
        return without_gpu(facts)
    if not facts.nvml.problem and facts.nvml.gpus:
        count = len(facts.nvml.gpus)
        return ok("answers; 1 GPU" if count == 1 else f"answers; {count} GPUs")
    torch = facts.child.torch
    if not gpu_expected(facts) and not (torch and torch.cuda):
        return without_gpu(facts)
    mismatch = facts.nvml.mismatch
    return warn(
        facts.nvml.problem or "NVML shows no GPU",
        "peaks of process and device are left empty, and a busy or throttled GPU goes unnoticed",
        "restart the machine: the driver was updated under a running kernel"
        if mismatch
        else "install the driver's own libraries; start a container with the utility capability",
        "sudo reboot" if mismatch else "ldconfig -p | grep libnvidia-ml",
    )


def gpu_match(facts: Facts) -> Judgement | Unknown:
    """CUDA's GPU is found in NVML, by its UUID."""
    torch = facts.child.torch
    if facts.asked == "cpu" or not facts.nvml.gpus:
        return without_gpu(facts)
    if torch is None or not torch.cuda:
        return unknown("torch has no CUDA here")
    card = card_of(facts)
    if isinstance(card, GpuFacts):
        return ok(f"CUDA's first device is NVML's GPU {card.index}")
    return warn(
        f"{torch.gpu_uuid} is not among NVML's: {', '.join(g.uuid for g in facts.nvml.gpus)}",
        "peaks of process and device are left empty (MIG slices have identities of their own)",
        "choose a whole GPU, by the name that nvidia-smi -L gives",
        f"export CUDA_VISIBLE_DEVICES={facts.nvml.gpus[0].uuid}",
    )


def mig(facts: Facts) -> Judgement | Unknown:
    """A GPU is cut into slices."""
    if facts.asked == "cpu" or not facts.nvml.gpus:
        return without_gpu(facts)
    for gpu in facts.nvml.gpus:
        if gpu.mig:
            return warn(
                f"on: GPU {gpu.index} is cut into slices",
                "a slice has a part of the memory, the caches and the processors: another card",
                "measure on a whole GPU; switching MIG off needs the GPU to be empty",
                f"sudo nvidia-smi -i {gpu.uuid} -mig 0",
            )
    return ok("off" if any(gpu.mig is not None for gpu in facts.nvml.gpus) else "not on this GPU")


def _version(pair: tuple[int, int]) -> str:
    return f"{pair[0]}.{pair[1]}"


RULES = {
    "cuda": cuda,
    "driver": driver,
    "nvml": nvml,
    "gpu-match": gpu_match,
    "mig": mig,
}
