"""Builds the NVML stub and writes its tables; see stub_nvml.c."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UUID = "GPU-11111111-2222-3333-4444-555555555555"
HEALTHY = {
    "- nvmlSystemGetDriverVersion": "580.65.06",
    "- nvmlSystemGetCudaDriverVersion": "13000",
    "- nvmlDeviceGetCount_v2": "1",
    "0 nvmlDeviceGetUUID": UUID,
    "0 nvmlDeviceGetName": "NVIDIA GeForce RTX 4060",
    "0 nvmlDeviceGetMemoryInfo": "8585740288 104857600",
    "0 nvmlDeviceGetComputeRunningProcesses_v3": "",
    "0 nvmlDeviceGetGraphicsRunningProcesses_v3": "",
    "0 nvmlDeviceGetPersistenceMode": "1",
    "0 nvmlDeviceGetComputeMode": "0",
    "0 nvmlDeviceGetDisplayActive": "0",
    "0 nvmlDeviceGetEnforcedPowerLimit": "115000",
    "0 nvmlDeviceGetPowerManagementDefaultLimit": "115000",
    "0 nvmlDeviceGetCurrentClocksEventReasons": "1",
    "0 nvmlDeviceGetClockInfo": "210",
    "0 nvmlDeviceGetMaxClockInfo": "3105",
    "0 nvmlDeviceGetTemperature": "41",
    "0 nvmlDeviceGetTemperatureThreshold": "93",
}
BUSY = {
    "0 nvmlDeviceGetMemoryInfo": "8585740288 3221225472",
    "0 nvmlDeviceGetComputeRunningProcesses_v3": "4242:3145728000 17:?",
    "- name-of-4242": "/usr/bin/python3",
}
THROTTLED = {
    "0 nvmlDeviceGetCurrentClocksEventReasons": "!13",
    "0 nvmlDeviceGetCurrentClocksThrottleReasons": str(0x20 | 0x04),
    "0 nvmlDeviceGetTemperature": "88",
    "0 nvmlDeviceGetEnforcedPowerLimit": "80000",
    "0 nvmlDeviceGetApplicationsClock": "1500",
    "0 nvmlDeviceGetDefaultApplicationsClock": "1830",
}
# What an audit on a healthy GPU asks besides.
WORKING = {
    "0 nvmlDeviceGetPowerUsage": "100000",
    "0 nvmlDeviceGetTotalEnergyConsumption": "5000000",
    "0 nvmlDeviceGetCurrentClocksEventReasons": "4",
    "0 nvmlDeviceGetClockInfo/1": "1800",
    "0 nvmlDeviceGetClockInfo/2": "8501",
    "0 nvmlDeviceGetDefaultApplicationsClock": "1830",
}
SLICE_UUID = "MIG-99999999-2222-3333-4444-555555555555"
SLICE = {
    "0 nvmlDeviceGetMigMode": "1",
    "1 nvmlDeviceGetUUID": SLICE_UUID,
    "1 nvmlDeviceGetName": "NVIDIA A30 MIG 1g.6gb",
    "1 nvmlDeviceGetDeviceHandleFromMigDeviceHandle": "0",
    "1 nvmlDeviceGetMemoryInfo": "6241124352 104857600",
    "1 nvmlDeviceGetComputeRunningProcesses_v3": "4242:3145728000",
}
MISMATCH = {"- nvmlInitWithFlags": "!18"}


def over_time(*answers: str) -> str:
    """One answer for each look at the GPU, the last of which repeats."""
    return " | ".join(answers)


def lost_after(looks: int, table: dict[str, str], code: int = 15) -> dict[str, str]:
    """The GPU of a table falls off the bus after so many looks."""
    return {
        key: over_time(*[text] * looks, f"!{code}")
        for key, text in table.items()
        if key.startswith("0 ") and key != "0 nvmlDeviceGetUUID"
    }


def build_stub(folder: Path) -> Path:
    """The folder that holds the library; skips the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the NVML stub with")
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("stub_nvml.c")
    command = [compiler, "-shared", "-fPIC", "-Wall", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return folder


def with_stub(folder: Path, table: Path, **answers: dict[str, str]) -> dict[str, str]:
    """The environment under which NVML is the stub; later tables override earlier ones."""
    merged = {key: text for one in answers.values() for key, text in one.items()}
    table.write_text("".join(f"{key} {text}\n" for key, text in merged.items()))
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "STUB_NVML": str(table)}
