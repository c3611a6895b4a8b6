"""One GPU, found by its UUID, because CUDA and NVML number devices differently."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ffprof.instruments.nvml.library import (
    ABSURD,
    INVALID_ARGUMENT,
    UNKNOWN,
    GpuLostError,
    GpuNotFoundError,
    Library,
    NvmlError,
    Questions,
)
from ffprof.instruments.nvml.processes import ProcessList
from ffprof.instruments.nvml.sample import DeviceFacts, Sample, SystemFacts

SLOW_SECONDS = 1.0  # between questions whose answers change slowly
_WDDM = 0  # NVML_DRIVER_WDDM
_APPLICATION_DEFAULT = 2  # NVML_CLOCK_ID_APP_CLOCK_DEFAULT
_OF_THE_WHOLE = "a MIG slice: the driver reports this for the whole GPU only"


def open_gpu(uuid: str, clock: Callable[[], float] = time.monotonic) -> NvmlGpu:
    """The GPU with this UUID: CUDA's ``GPU-...``, or else the MIG slice ``MIG-...``.

    PyTorch gives a slice's UUID without saying that it is one.

    Raises:
        NvmlMissingError: no driver, no library, or a module pynvml that is not nvidia-ml-py's.
        GpuNotFoundError: NVML has no such GPU.
        NvmlError: anything else that NVML says.
    """
    library = Library()
    try:
        bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
        for name in dict.fromkeys((uuid, f"GPU-{bare}", f"MIG-{bare}")):
            try:
                handle = library.ask("nvmlDeviceGetHandleByUUID", name)
            except NvmlError as error:
                if isinstance(error, GpuNotFoundError) or error.code == INVALID_ARGUMENT:
                    continue
                raise
            return NvmlGpu(library, handle, name, clock)
        raise GpuNotFoundError(f"no GPU has the UUID {uuid}")
    except NvmlError:
        library.close()
        raise


def open_all(library: Library) -> tuple[NvmlGpu, ...]:
    """Every GPU in NVML's order; they share ``library``, which the caller closes.

    Raises:
        NvmlError: the driver does not even tell which GPUs there are.
    """
    found = []
    for index in range(int(library.ask("nvmlDeviceGetCount"))):
        handle = library.ask("nvmlDeviceGetHandleByIndex", index)
        uuid = Questions(library, handle)
        name = uuid.text("uuid", ("nvmlDeviceGetUUID",))
        if name is None:
            raise NvmlError(uuid.unread["uuid"], uuid.last_code)
        found.append(NvmlGpu(library, handle, name))
    return tuple(found)


def open_first() -> NvmlGpu:
    """The first GPU in NVML's order.

    Raises:
        GpuNotFoundError: there is none.
        NvmlError: as for ``open_gpu``.
    """
    library = Library()
    try:
        gpus = open_all(library)
        if not gpus:
            raise GpuNotFoundError("the driver shows no GPU")
    except NvmlError:
        library.close()
        raise
    return gpus[0]


def read_system(library: Library) -> SystemFacts:
    """The driver; what it does not tell is None."""
    system = Questions(library)
    cuda = system.whole("cuda", ("nvmlSystemGetCudaDriverVersion",))
    return SystemFacts(
        driver=system.text("driver", ("nvmlSystemGetDriverVersion",)),
        cuda=(cuda // 1000, cuda % 1000 // 10) if cuda else None,  # 13010 means 13.1
    )


class NvmlGpu:
    """A GPU, or a MIG slice of one, of which clocks and temperature are the whole GPU's.

    Args:
        library: opened; closed by ``close``.
        handle: the binding's.
        uuid: of the GPU or of the slice.
        clock: seconds, the same for all processes of the host.
    """

    def __init__(
        self,
        library: Library,
        handle: Any,
        uuid: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.uuid, self.slice = uuid, uuid.startswith("MIG-")
        self._library, self._clock = library, clock
        self._device = Questions(library, handle)
        self._whole = self._device
        if self.slice:
            whole = self._device.ask("whole", ("nvmlDeviceGetDeviceHandleFromMigDeviceHandle",))
            self._whole = Questions(library, whole if whole is not None else handle)
            for field in ("power_watts", "energy_joules"):
                self._whole.refuse(field, _OF_THE_WHOLE)
        self._processes = ProcessList(library, self._device)
        self._looked = -SLOW_SECONDS
        self._slow: tuple[float | None, float | None] = (None, None)

    def facts(self) -> DeviceFacts:
        """What does not change while an audit runs.

        Raises:
            GpuLostError: the GPU is gone.
        """
        nvml, gpu, whole = self._library.binding, self._device, self._whole
        graphics = nvml.NVML_CLOCK_GRAPHICS
        memory = gpu.ask("nvml_total_bytes", ("nvmlDeviceGetMemoryInfo",))
        mig = whole.ask("mig", ("nvmlDeviceGetMigMode",))
        model = whole.whole("wddm", ("nvmlDeviceGetCurrentDriverModel",))
        facts = DeviceFacts(
            uuid=self.uuid,
            name=gpu.text("name", ("nvmlDeviceGetName",)) or "GPU",
            driver=read_system(self._library).driver,
            nvml_total_bytes=None if memory is None else int(memory.total),
            slice=self.slice,
            mig=None if mig is None else bool(mig[0]),
            display=whole.truth("display", ("nvmlDeviceGetDisplayActive",)),
            wddm=None if model is None else model == _WDDM,
            persistence=whole.truth("persistence", ("nvmlDeviceGetPersistenceMode",)),
            ecc=whole.truth("ecc", ("nvmlDeviceGetCurrentEccMode",)),
            compute_mode=whole.whole("compute_mode", ("nvmlDeviceGetComputeMode",)),
            max_clock=whole.whole("max_clock", ("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM)),
            set_clock=whole.whole("set_clock", ("nvmlDeviceGetApplicationsClock", graphics)),
            default_clock=whole.whole(
                "default_clock",
                ("nvmlDeviceGetDefaultApplicationsClock", graphics),
                ("nvmlDeviceGetClock", graphics, _APPLICATION_DEFAULT),
            ),
            slowdown_temperature=whole.whole(
                "slowdown_temperature",
                ("nvmlDeviceGetTemperatureThreshold", nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
            ),
            power_limit=whole.number(
                "power_limit", ("nvmlDeviceGetEnforcedPowerLimit",), unit=1e-3
            ),
            default_power_limit=whole.number(
                "default_power_limit", ("nvmlDeviceGetPowerManagementDefaultLimit",), unit=1e-3
            ),
        )
        unread = {**whole.unread, **gpu.unread}
        asked = {name: unread[name] for name in vars(facts) if name in unread}
        return DeviceFacts(**{**vars(facts), "unread": asked})

    def sample(self) -> Sample:
        """One look; what a driver said it never answers is not asked again.

        Raises:
            GpuLostError: the GPU is gone, or answers nothing any more.
        """
        nvml, gpu, whole = self._library.binding, self._device, self._whole
        before = gpu.answered + whole.answered
        memory = gpu.ask("device_used_bytes", ("nvmlDeviceGetMemoryInfo",))
        now = self._clock()  # that of the figures that are integrated over time
        energy = whole.number("energy_joules", ("nvmlDeviceGetTotalEnergyConsumption",), unit=1e-3)
        power = whole.number("power_watts", ("nvmlDeviceGetPowerUsage",), unit=1e-3)
        clock = whole.number("sm_clock_mhz", ("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM))
        # Drivers before 535 know the question by its older name only.
        throttle = whole.whole(
            "throttle",
            ("nvmlDeviceGetCurrentClocksEventReasons",),
            ("nvmlDeviceGetCurrentClocksThrottleReasons",),
        )
        slow = now - self._looked >= SLOW_SECONDS
        if slow:
            self._looked = now
            sensor = nvml.NVML_TEMPERATURE_GPU
            self._slow = (
                whole.number(
                    "temperature_celsius",
                    ("nvmlDeviceGetTemperature", sensor),
                    ("nvmlDeviceGetTemperatureV", sensor),
                ),
                whole.number("memory_clock_mhz", ("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM)),
            )
        processes = self._processes.look(graphics_too=slow)
        if gpu.answered + whole.answered == before and gpu.last_code == UNKNOWN:
            raise GpuLostError("the driver does not answer any more (Unknown Error)", UNKNOWN)
        unread = {**whole.unread, **gpu.unread}
        names = Sample.__dataclass_fields__
        return Sample(
            seconds=now,
            device_used_bytes=None if memory is None or memory.used >= ABSURD else int(memory.used),
            processes=processes,
            power_watts=power,
            energy_joules=energy,
            sm_clock_mhz=clock,
            memory_clock_mhz=self._slow[1],
            throttle=throttle,
            temperature_celsius=self._slow[0],
            unread={name: reason for name, reason in unread.items() if name in names},
        )

    def close(self) -> None:
        """Release the library; may be called again."""
        self._library.close()
