"""NVML's answers for the doctor: one that a driver does not give leaves the others alone."""

from __future__ import annotations

from ffprof.hardware.doctor.facts import GpuFacts, GpuProcess, NvmlFacts
from ffprof.instruments.nvml.device import NvmlGpu, open_all, read_system
from ffprof.instruments.nvml.library import DriverMismatchError, Library, NvmlError
from ffprof.instruments.nvml.sample import SystemFacts

# The doctor's word for a field of the instrument, where it is another.
_FIELDS = {
    "nvml_total_bytes": "memory",
    "device_used_bytes": "memory",
    "sm_clock_mhz": "clock",
    "wddm": "driver_model",
    "temperature_celsius": "temperature",
}


def read_nvml() -> NvmlFacts:
    """Ask the driver; never raises NVML's errors."""
    try:
        library = Library()
    except NvmlError as error:
        return NvmlFacts(problem=error.reason, mismatch=isinstance(error, DriverMismatchError))
    with library:
        system = SystemFacts()
        try:
            system = read_system(library)
            gpus = tuple(_gpu(index, gpu) for index, gpu in enumerate(open_all(library)))
        except NvmlError as error:
            return NvmlFacts(problem=error.reason, driver=system.driver, driver_cuda=system.cuda)
        return NvmlFacts(driver=system.driver, driver_cuda=system.cuda, gpus=gpus)


def _gpu(index: int, gpu: NvmlGpu) -> GpuFacts:
    facts, now = gpu.facts(), gpu.sample()
    processes = now.processes
    unread = {_FIELDS.get(name, name): text for name, text in (facts.unread | now.unread).items()}
    return GpuFacts(
        index=index,
        uuid=facts.uuid,
        name=facts.name,
        total_bytes=facts.nvml_total_bytes,
        used_bytes=now.device_used_bytes,
        processes=None
        if processes is None
        else tuple(
            GpuProcess(pid=p.pid, name=p.name, used_bytes=p.used_bytes, graphics=p.graphics)
            for p in processes
        ),
        persistence=facts.persistence,
        mig=facts.mig,
        ecc=facts.ecc,
        compute_mode=facts.compute_mode,
        display=facts.display,
        clock=None if now.sm_clock_mhz is None else int(now.sm_clock_mhz),
        max_clock=facts.max_clock,
        set_clock=facts.set_clock,
        default_clock=facts.default_clock,
        throttle=now.throttle,
        temperature=None if now.temperature_celsius is None else int(now.temperature_celsius),
        slowdown_temperature=facts.slowdown_temperature,
        power_limit=facts.power_limit,
        default_power_limit=facts.default_power_limit,
        driver_model=None if facts.wddm is None else int(not facts.wddm),  # 0 is WDDM
        unread={name: text for name, text in unread.items() if name in _TOLD},
    )


_TOLD = {"memory", *GpuFacts.__dataclass_fields__}
