"""The facts that are judged. Plain data, so that tests can describe any machine.

None means that the system does not say; sizes are bytes, times seconds, clocks MHz, powers watts,
temperatures degrees Celsius.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SoftwareFacts:
    """Python and the installed distributions, without importing any of them."""

    python: tuple[int, int, int]
    ffprof: str
    gil: bool = True
    installed: Mapping[str, str | None] = field(default_factory=dict)
    required: Mapping[str, str] = field(default_factory=dict)  # the oldest version that will do
    torchvision_wants: str = ""  # torchvision's own requirement on torch, such as ==2.11.0
    pynvml_distribution: str | None = None
    pynvml_shadowed: bool = False  # the module pynvml is not the one of nvidia-ml-py


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """What torch says, from inside a child."""

    version: str
    cuda_build: str | None = None
    threads: int = 1
    torchvision_problem: str = ""
    cuda: bool = False
    reason: str = ""  # why CUDA cannot be used, in torch's words
    libcuda_problem: str = ""
    kernel_problem: str = ""  # what a first small kernel failed with
    gpu: str | None = None
    gpu_uuid: str | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class ChildFacts:
    """Whether children can be started as trials are, how long it takes, and what torch said."""

    torch: TorchFacts | None = None
    problem: str = ""  # why there is no answer
    server_seconds: float | None = None
    trial_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class NullDeviceFacts:
    """The null device: whether it could be built, and what a step on it took.

    ``problem`` says what failed, and ``fix`` what to do about it. ``folder``: where it is kept,
    empty if it could not be built; ``build_seconds`` is None where it was there already.
    """

    problem: str = ""
    fix: str = ""
    folder: str = ""
    build_seconds: float | None = None
    step_seconds: float | None = None
    unknown: tuple[str, ...] = ()  # calls that it did not know


@dataclass(frozen=True, kw_only=True)
class GpuProcess:
    """A process on the GPU."""

    pid: int
    name: str
    used_bytes: int | None = None
    graphics: bool = False


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """One GPU as NVML sees it; ``unread`` holds the reason of every None."""

    index: int
    uuid: str
    name: str
    total_bytes: int | None = None
    used_bytes: int | None = None
    processes: tuple[GpuProcess, ...] | None = None
    persistence: bool | None = None
    mig: bool | None = None
    ecc: bool | None = None
    compute_mode: int | None = None
    display: bool | None = None
    clock: int | None = None
    max_clock: int | None = None
    set_clock: int | None = None
    default_clock: int | None = None
    throttle: int | None = None
    temperature: int | None = None
    slowdown_temperature: int | None = None
    power_limit: float | None = None
    default_power_limit: float | None = None
    driver_model: int | None = None  # of Windows: 0 WDDM, 1 TCC
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NvmlFacts:
    """The driver's management library."""

    problem: str = ""
    mismatch: bool = False  # library and driver of different versions
    driver: str | None = None
    driver_cuda: tuple[int, int] | None = None
    gpus: tuple[GpuFacts, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """The host: its memory, its processors, and the traces of an NVIDIA GPU."""

    platform: str = "linux"
    wsl: bool = False
    nvidia_module: bool = False
    nouveau: bool = False
    nvidia_devices: tuple[str, ...] = ()
    nvidia_on_pci: int = 0
    ram_bytes: int | None = None
    ram_available_bytes: int | None = None
    swap_bytes: int | None = None
    swap_used_bytes: int | None = None
    shm_bytes: int | None = None
    shm_free_bytes: int | None = None
    memory_limit_bytes: int | None = None  # of the cgroup; None without one
    memory_used_bytes: int | None = None
    cpu_quota: float | None = None  # CPUs that the cgroup may use; None without a limit
    cpus: int | None = None
    allowed_cpus: int | None = None
    physical_cpus: int | None = None
    usable_cpus: int = 1
    governors: tuple[str, ...] = ()
    frequency_driver: str = ""
    energy_preference: str = ""
    frequency_cap: float | None = None  # share of the processor's own maximum
    turbo: bool | None = None
    hypervisor: bool | None = None
    on_battery: bool | None = None
    clocksource: str = ""
    timer_resolution_seconds: float | None = None
    timer_cost_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that ran next to ours, and how many processors it kept busy."""

    name: str
    pid: int
    cores: float


@dataclass(frozen=True, kw_only=True)
class ActivityFacts:
    """What else the processors did while the child ran."""

    busy: tuple[Program, ...] | None = None  # the busiest first
    load: float | None = None  # the load average of the last minute, from before our own start
    steal: float | None = None  # share of processor time that the hypervisor gave to others


@dataclass(frozen=True, kw_only=True)
class OutputFacts:
    """The folder that results go to."""

    folder: str
    free_bytes: int | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that is judged. ``asked`` is ``--device``, ``overridden`` what ffprof sets."""

    asked: str = "auto"
    software: SoftwareFacts
    child: ChildFacts
    null_device: NullDeviceFacts | None = None  # None: not looked at
    nvml: NvmlFacts
    host: HostFacts
    activity: ActivityFacts
    output: OutputFacts
    environment: Mapping[str, str] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()
