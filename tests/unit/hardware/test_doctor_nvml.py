"""The real NVML binding against a stub of the driver's library."""

import json
import subprocess
import sys

import pytest
from stub_nvml import BUSY, HEALTHY, MISMATCH, THROTTLED, UUID, build_stub, with_stub

CODE = """
import json
from dataclasses import asdict
from ffprof.hardware.doctor.readers.nvml import read_nvml
print(json.dumps(asdict(read_nvml())))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    return build_stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture
def read(stub, tmp_path):
    def run(**tables):
        env = with_stub(stub, tmp_path / "table", **tables)
        done = subprocess.run(
            [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    return run


def test_a_healthy_gpu(read):
    facts = read(healthy=HEALTHY)
    assert (facts["problem"], facts["driver"], facts["driver_cuda"]) == ("", "580.65.06", [13, 0])
    (gpu,) = facts["gpus"]
    assert (gpu["uuid"], gpu["name"]) == (UUID, "NVIDIA GeForce RTX 4060")
    assert (gpu["total_bytes"], gpu["used_bytes"]) == (8585740288, 104857600)
    assert (gpu["power_limit"], gpu["temperature"], gpu["throttle"]) == (115.0, 41, 1)
    assert (gpu["persistence"], gpu["display"], gpu["processes"]) == (True, False, [])


def test_what_this_gpu_cannot_do_keeps_its_reason_and_nothing_else(read):
    (gpu,) = read(healthy=HEALTHY)["gpus"]
    silent = {"mig", "ecc", "set_clock", "default_clock", "driver_model"}
    assert {name for name, value in gpu.items() if value is None} == silent
    assert set(gpu["unread"]) == silent
    assert gpu["unread"].pop("driver_model") in ("Not Supported", "Function Not Found")
    assert set(gpu["unread"].values()) == {"Not Supported"}


def test_foreign_processes_have_names_and_sizes_where_told(read):
    (gpu,) = read(healthy=HEALTHY, busy=BUSY)["gpus"]
    told, untold = gpu["processes"]
    assert (told["pid"], told["name"]) == (4242, "/usr/bin/python3")
    assert told["used_bytes"] == 3145728000
    assert (untold["pid"], untold["name"], untold["used_bytes"]) == (17, "unknown", None)


def test_a_process_in_both_lists_is_counted_once_as_computing(read):
    both = {
        "0 nvmlDeviceGetGraphicsRunningProcesses_v3": "5:100 6:100",
        "0 nvmlDeviceGetComputeRunningProcesses_v3": "5:100",
    }
    (gpu,) = read(healthy=HEALTHY, both=both)["gpus"]
    assert {p["pid"]: p["graphics"] for p in gpu["processes"]} == {5: False, 6: True}


def test_an_older_driver_is_asked_by_the_older_name(read):
    (gpu,) = read(healthy=HEALTHY, throttled=THROTTLED)["gpus"]
    assert (gpu["throttle"], gpu["set_clock"], gpu["power_limit"]) == (0x24, 1500, 80.0)
    assert "throttle" not in gpu["unread"]


def test_a_mismatch_of_library_and_driver(read):
    facts = read(healthy=HEALTHY, mismatch=MISMATCH)
    assert (facts["mismatch"], facts["gpus"]) == (True, [])
    assert "mismatch" in facts["problem"]


def test_a_lost_gpu_does_not_raise(read):
    facts = read(healthy=HEALTHY, lost={"0 nvmlDeviceGetUUID": "!15"})
    assert (facts["gpus"], facts["driver"]) == ([], "580.65.06")
    assert facts["problem"]


def test_slices_and_error_correction(read):
    facts = read(
        healthy=HEALTHY, more={"0 nvmlDeviceGetMigMode": "1", "0 nvmlDeviceGetEccMode": "1"}
    )
    assert (facts["gpus"][0]["mig"], facts["gpus"][0]["ecc"]) == (True, True)
