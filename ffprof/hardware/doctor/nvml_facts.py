"""NVML's answers, each on its own: one that a driver does not give leaves the others alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from ffprof.hardware.doctor.facts import GpuFacts, GpuProcess, NvmlFacts


def read_nvml() -> NvmlFacts:
    """Ask the driver through the ``pynvml`` module of nvidia-ml-py; never raises NVML's errors."""
    try:
        import pynvml
    except ImportError as error:
        return NvmlFacts(problem=f"the module pynvml cannot be imported ({error})")
    if not all(hasattr(pynvml, name) for name in ("NVMLError", "nvmlInit", "nvmlShutdown")):
        return NvmlFacts(problem="the module pynvml is not the one of nvidia-ml-py")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return NvmlFacts(
            problem=str(error),
            mismatch=error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        )
    try:
        return _read(pynvml)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read(nvml: Any) -> NvmlFacts:
    system = _Asker(nvml)
    cuda = system.ask("driver_cuda", "nvmlSystemGetCudaDriverVersion")
    facts = NvmlFacts(
        driver=_text(system.ask("driver", "nvmlSystemGetDriverVersion")),
        # 13010 means 13.1.
        driver_cuda=(cuda // 1000, cuda % 1000 // 10) if cuda else None,
    )
    try:
        count = nvml.nvmlDeviceGetCount()
        gpus = tuple(_gpu(nvml, index) for index in range(count))
    except nvml.NVMLError as error:
        return NvmlFacts(problem=str(error), driver=facts.driver, driver_cuda=facts.driver_cuda)
    return NvmlFacts(driver=facts.driver, driver_cuda=facts.driver_cuda, gpus=gpus)


def _gpu(nvml: Any, index: int) -> GpuFacts:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    gpu = _Asker(nvml, handle)
    memory = gpu.ask("memory", "nvmlDeviceGetMemoryInfo")
    graphics = nvml.NVML_CLOCK_GRAPHICS
    limit = gpu.ask("power_limit", "nvmlDeviceGetEnforcedPowerLimit")
    default = gpu.ask("default_power_limit", "nvmlDeviceGetPowerManagementDefaultLimit")
    mig = gpu.ask("mig", "nvmlDeviceGetMigMode")
    return GpuFacts(
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)) or "",
        name=_text(gpu.ask("name", "nvmlDeviceGetName")) or "GPU",
        total_bytes=memory and int(memory.total),
        used_bytes=memory and int(memory.used),
        processes=_processes(gpu),
        persistence=_truth(gpu.ask("persistence", "nvmlDeviceGetPersistenceMode")),
        mig=bool(mig[0]) if mig else None,
        ecc=_truth(gpu.ask("ecc", "nvmlDeviceGetCurrentEccMode")),
        compute_mode=gpu.ask("compute_mode", "nvmlDeviceGetComputeMode"),
        display=_truth(gpu.ask("display", "nvmlDeviceGetDisplayActive")),
        clock=gpu.ask("clock", "nvmlDeviceGetClockInfo", graphics),
        max_clock=gpu.ask("max_clock", "nvmlDeviceGetMaxClockInfo", graphics),
        set_clock=gpu.ask("set_clock", "nvmlDeviceGetApplicationsClock", graphics),
        default_clock=gpu.ask("default_clock", "nvmlDeviceGetDefaultApplicationsClock", graphics),
        throttle=_throttle(gpu),
        temperature=gpu.ask("temperature", "nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        slowdown_temperature=gpu.ask(
            "slowdown_temperature",
            "nvmlDeviceGetTemperatureThreshold",
            nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN,
        ),
        power_limit=limit and limit / 1000,
        default_power_limit=default and default / 1000,
        driver_model=gpu.ask("driver_model", "nvmlDeviceGetCurrentDriverModel"),
        unread=gpu.unread,
    )


class _Asker:
    """Asks one question after the other and keeps the reasons of those that got no answer."""

    def __init__(self, nvml: Any, *handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self.unread: dict[str, str] = {}

    def ask(self, field: str, function: str, *arguments: Any) -> Any:
        call: Callable[..., Any] | None = getattr(self._nvml, function, None)
        if call is None:
            self.unread[field] = f"this pynvml has no {function}"
            return None
        try:
            answer = call(*self._handle, *arguments)
        except self._nvml.NVMLError as error:
            self.unread[field] = str(error)
            return None
        self.unread.pop(field, None)
        return answer

    def name_of(self, pid: int) -> str:
        try:
            return _text(self._nvml.nvmlSystemGetProcessName(pid)) or "unknown"
        except self._nvml.NVMLError:
            return "unknown"


def _processes(gpu: _Asker) -> tuple[GpuProcess, ...] | None:
    """Compute and graphics processes, each once; None where neither list is told."""
    found: dict[int, GpuProcess] = {}
    told = False
    for kind in ("Graphics", "Compute"):
        listed = gpu.ask("processes", f"nvmlDeviceGet{kind}RunningProcesses")
        told = told or listed is not None
        for one in listed or ():
            used = getattr(one, "usedGpuMemory", None)
            found[one.pid] = GpuProcess(
                pid=int(one.pid),
                name=gpu.name_of(one.pid),
                used_bytes=None if used is None else int(used),
                graphics=kind == "Graphics",
            )
    return tuple(found.values()) if told else None


def _throttle(gpu: _Asker) -> int | None:
    """Drivers before 535 know the question by its older name only."""
    answer: int | None = gpu.ask("throttle", "nvmlDeviceGetCurrentClocksEventReasons")
    if answer is None:
        answer = gpu.ask("throttle", "nvmlDeviceGetCurrentClocksThrottleReasons")
    return answer


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
