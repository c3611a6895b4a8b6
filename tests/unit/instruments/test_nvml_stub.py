"""Scenarios over time, through the real binding and a stub of the driver's library."""

import collections
import json
import subprocess
import sys
from pathlib import Path

import pytest
from stub_nvml import (
    HEALTHY,
    MISMATCH,
    SLICE,
    SLICE_UUID,
    UUID,
    WORKING,
    build_stub,
    lost_after,
    over_time,
    with_stub,
)

SCRIPT = Path(__file__).resolve().parents[2] / "support" / "nvml_looks.py"
COMPUTE = "0 nvmlDeviceGetComputeRunningProcesses_v3"
GRAPHICS = "0 nvmlDeviceGetGraphicsRunningProcesses_v3"
MEMORY = "0 nvmlDeviceGetMemoryInfo"
COUNTER = "0 nvmlDeviceGetTotalEnergyConsumption"
GIB = 1 << 30
# Larger than any kernel's pid_max: processes that are not in our namespace, as in a container.
CHILD, HOSTS, OTHER = 5_000_001, 5_000_002, 5_000_003
INIT = 1  # exists everywhere, and is nobody's child


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    return build_stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture
def looks(stub, tmp_path):
    def run(count=12, uuid=UUID, **tables):
        env = with_stub(stub, tmp_path / "table", healthy=HEALTHY, working=WORKING, **tables)
        env["STUB_NVML_CALLS"] = str(tmp_path / "calls")
        command = [sys.executable, str(SCRIPT), uuid, str(CHILD), str(count)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def asked(tmp_path):
    return lambda: collections.Counter((tmp_path / "calls").read_text().splitlines())


def test_a_normal_trial(looks):
    memory = [f"8585740288 {used}" for used in (1, 1, GIB, 3 * GIB, 2 * GIB)]
    own = ["", "", "", f"{CHILD}:{2 * GIB}", f"{CHILD}:{GIB}"]
    counter = [str(5_000_000 + 10_000 * max(0, n - 2)) for n in range(20)]
    seen = looks(
        normal={
            MEMORY: over_time(*memory),
            COMPUTE: over_time(*own),
            COUNTER: over_time(*counter),
        }
    )
    assert seen["device"] == [3 * GIB, ""]
    assert seen["process"] == [2 * GIB, "NVML, this process", ""]
    conditions = seen["conditions"]
    assert (conditions["samples"], conditions["timed_samples"]) == (12, 12)
    assert (conditions["clock_mhz"], conditions["default_clock_mhz"]) == (1800, 1830)
    assert conditions["memory_clock_mhz"] == 8501
    assert (conditions["power_watts"], conditions["temperature_celsius"]) == (100, 41)
    assert (conditions["slowed_share"], conditions["power_capped_share"]) == (0, 1)
    assert (conditions["foreign"], conditions["foreign_peak_bytes"]) == ([], 0)
    assert conditions["unread"] == {}
    assert seen["disturbances"] == []  # a power cap is none
    energy = seen["energy"]
    assert energy["source"] == "counter"
    assert energy["joules"] == pytest.approx(110)  # 11 steps of 10 J
    assert energy["integrated_joules"] == pytest.approx(110)
    assert (energy["gap"], energy["idle_watts"]) == (pytest.approx(0, abs=1e-9), 20)
    assert seen["remark"] == ""


def test_facts(looks):
    facts = looks(count=1)["facts"]
    assert (facts["uuid"], facts["driver"], facts["slice"]) == (UUID, "580.65.06", False)
    assert facts["nvml_total_bytes"] == 8585740288
    assert (facts["max_clock"], facts["default_clock"], facts["power_limit"]) == (3105, 1830, 115)
    silent = {name for name, value in facts.items() if value is None}
    assert silent == set(facts["unread"]) == {"mig", "wddm", "ecc", "set_clock"}


def test_what_is_never_answered_is_asked_once(looks, asked):
    seen = looks(count=30, quiet={COUNTER: "!3", "0 nvmlDeviceGetPowerUsage": "!4"})
    assert all(one["energy_joules"] is None for one in seen["samples"])
    assert seen["samples"][-1]["unread"]["power_watts"] == "Insufficient Permissions"
    counts = asked()
    assert counts[COUNTER] == counts["0 nvmlDeviceGetPowerUsage"] == 1
    assert counts[MEMORY] == 32  # with the facts and the baseline
    assert counts["0 nvmlDeviceGetTemperature/0"] <= 5  # once a second
    assert seen["energy"] is None
    assert seen["remark"] == "Insufficient Permissions"


def test_a_passing_failure_is_asked_again(looks):
    watts = over_time("100000", "100000", "!10", "100000")
    seen = looks(flaky={"0 nvmlDeviceGetPowerUsage": watts})
    assert seen["samples"][0]["power_watts"] is None
    assert seen["samples"][1]["power_watts"] == 100
    assert "power_watts" not in seen["samples"][1]["unread"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (f"{CHILD}:?", "without its memory"),
        ("", "lists no process"),
        ("!3", "Not Supported"),
        ("!4", "Insufficient Permissions"),
    ],
    ids=["wddm", "hidden", "not supported", "no permission"],
)
def test_no_process_memory_is_none_with_its_reason(looks, answer, reason):
    seen = looks(hidden={COMPUTE: answer})
    peak, source, why = seen["process"]
    assert (peak, source) == (None, None)
    assert reason in why
    assert seen["device"][0] == 104857600
    if answer.startswith("!"):
        assert reason in seen["conditions"]["unread"]["foreign"]
        assert seen["samples"][0]["processes"] is None


def test_throttling_in_two_of_twelve_samples_disturbs(looks):
    bits = ["4", "4", "4", "36", "72", *["0"] * 9]
    seen = looks(hot={"0 nvmlDeviceGetCurrentClocksEventReasons": over_time(*bits)})
    conditions = seen["conditions"]
    assert conditions["slowdowns"] == [
        "hardware slowdown", "too hot (driver)", "too hot (hardware)",
    ]  # fmt: skip
    assert conditions["slowed_share"] == pytest.approx(2 / 12)
    assert conditions["power_capped_share"] == pytest.approx(2 / 12)
    (line,) = seen["disturbances"]
    assert "17 % of the timed samples" in line
    assert "too hot (driver)" in line


def test_a_low_clock_disturbs_where_the_default_is_told(looks):
    clock = {"0 nvmlDeviceGetClockInfo/1": "1200"}
    # Under its power limit, as in the other tests, a card runs as slowly as it must.
    assert looks(low=clock)["disturbances"] == []
    low = clock | {"0 nvmlDeviceGetCurrentClocksEventReasons": "0"}
    (line,) = looks(low=low)["disturbances"]
    assert "1200 MHz, less than 75 % of its 1830" in line
    seen = looks(low=low, untold={"0 nvmlDeviceGetDefaultApplicationsClock": "!3"})
    assert seen["disturbances"] == []
    assert seen["conditions"]["unread"]["default_clock_mhz"] == "Not Supported"


@pytest.mark.parametrize(
    ("code", "words"),
    [(15, "GPU is lost"), (16, "requires restart"), (999, "does not answer any more")],
)
def test_a_gpu_that_falls_off_the_bus_keeps_what_was_seen(looks, code, words):
    falls = lost_after(6, HEALTHY | WORKING | {COMPUTE: f"{CHILD}:{GIB}"}, code)
    seen = looks(falls=falls)
    assert words in seen["conditions"]["lost"]
    assert seen["conditions"]["samples"] == 4
    assert seen["process"][:2] == [GIB, "NVML, this process"]
    assert seen["disturbances"][0].startswith("the GPU was lost (NVML: ")
    assert seen["energy"] is None


def test_a_foreign_process_that_appears(looks):
    mine = f"{CHILD}:{GIB}"
    lists = over_time("", "", mine, f"{mine} {INIT}:{GIB // 2}", mine)
    seen = looks(foreign={COMPUTE: lists, f"- name-of-{INIT}": "/sbin/init\x1b[31m"})
    assert seen["process"][0] == GIB
    (told,) = seen["conditions"]["foreign"]
    assert told == "init?[31m (1) 512 MiB"
    assert seen["conditions"]["foreign_peak_bytes"] == GIB // 2
    assert told in seen["disturbances"][0]


def test_a_process_that_only_draws_is_noted_and_does_not_disturb(looks):
    seen = looks(draws={GRAPHICS: f"{INIT}:{GIB // 2}", COMPUTE: f"{CHILD}:{GIB}"})
    assert seen["conditions"]["foreign"] == []
    assert len(seen["conditions"]["foreign_graphics"]) == 1
    assert seen["disturbances"] == []


def test_in_a_container_the_only_process_on_an_empty_gpu_is_the_childs(looks):
    lists = over_time("", "", "", f"{HOSTS}:{GIB}", f"{HOSTS}:{2 * GIB}")
    seen = looks(container={COMPUTE: lists})
    assert seen["process"] == [2 * GIB, "NVML, the only process", ""]
    assert (seen["conditions"]["foreign"], seen["disturbances"]) == ([], [])
    assert seen["conditions"]["foreign_peak_bytes"] == 0


@pytest.mark.parametrize(
    "lists",
    [
        over_time("", "", f"{HOSTS}:{GIB} {OTHER}:{GIB}"),
        over_time("", "", f"{HOSTS}:{GIB}", f"{OTHER}:{GIB}"),
    ],
    ids=["at once", "one after the other"],
)
def test_in_a_container_two_processes_are_not_told_apart(looks, lists):
    seen = looks(container={COMPUTE: lists})
    assert seen["process"][0] is None
    assert "2 processes" in seen["process"][2]
    assert seen["conditions"]["foreign_peak_bytes"] is None
    assert "cannot be distinguished" in seen["disturbances"][0]


def test_in_a_container_a_gpu_that_was_not_empty_leaves_no_only_process(looks):
    before = f"{OTHER}:{GIB}"
    seen = looks(container={COMPUTE: over_time("", before, f"{before} {HOSTS}:{GIB}")})
    assert seen["process"][0] is None
    assert [str(OTHER) in one for one in seen["conditions"]["foreign"]] == [True]


def test_a_real_process_is_never_taken_for_a_containers_child(looks):
    seen = looks(foreign={COMPUTE: over_time("", "", f"{INIT}:{GIB}")})
    assert seen["process"][0] is None
    assert "(1)" in seen["conditions"]["foreign"][0]


def test_a_slice_answers_for_itself_and_leaves_power_out(looks, asked):
    bare = SLICE_UUID.removeprefix("MIG-")  # PyTorch's own spelling knows no MIG
    seen = looks(uuid=f"GPU-{bare}", slices=SLICE)
    facts = seen["facts"]
    assert (facts["uuid"], facts["slice"], facts["mig"]) == (SLICE_UUID, True, True)
    assert (facts["nvml_total_bytes"], facts["name"]) == (6241124352, "NVIDIA A30 MIG 1g.6gb")
    first = seen["samples"][0]
    assert first["processes"][0]["used_bytes"] == 3145728000
    assert (first["sm_clock_mhz"], first["temperature_celsius"]) == (1800, 41)
    assert (first["power_watts"], first["energy_joules"]) == (None, None)
    assert "MIG slice" in first["unread"]["power_watts"]
    assert (seen["energy"], "MIG slice" in seen["remark"]) == (None, True)
    assert asked()["0 nvmlDeviceGetPowerUsage"] == 0


def test_a_counter_that_wraps(looks):
    end = 2**32
    counter = [str((end - 45_000 + 10_000 * n) % end) for n in range(20)]
    seen = looks(wraps={COUNTER: over_time(*counter)})
    assert seen["energy"]["source"] == "counter"
    assert seen["energy"]["joules"] == pytest.approx(110)


def test_a_counter_that_is_reset_leaves_the_integral(looks):
    counter = [str(5_000_000 + 10_000 * n) for n in range(7)] + ["1000"]
    seen = looks(reset={COUNTER: over_time(*counter)})
    assert (seen["energy"]["source"], seen["energy"]["counter_joules"]) == ("power", None)
    assert seen["energy"]["joules"] == pytest.approx(110)
    assert "went back by" in seen["remark"]


def test_an_older_driver_lists_processes_by_its_second_version(looks):
    """A function that the library lacks is no NVMLError in the binding."""
    seen = looks(old={COMPUTE: "!13"})
    assert seen["samples"][0]["processes"] is None
    assert "no nvmlDeviceGetComputeRunningProcesses" in seen["process"][2]


@pytest.mark.parametrize(
    ("uuid", "tables", "error"),
    [
        ("GPU-00000000-0000-0000-0000-000000000000", {}, "GpuNotFoundError"),
        (UUID, {"off": MISMATCH}, "DriverMismatchError"),
        (UUID, {"off": {"- nvmlInitWithFlags": "!9"}}, "NvmlMissingError"),
        (UUID, {"off": {"0 nvmlDeviceGetUUID": "!15"}}, "GpuNotFoundError"),
        (UUID, {"off": {MEMORY: "!15"}}, "GpuLostError"),
    ],
)
def test_what_cannot_be_opened_is_a_typed_error(looks, uuid, tables, error):
    seen = looks(uuid=uuid, **tables)
    assert seen["error"] == error
    assert seen["reason"].startswith("NVML: ")
    assert "\n" not in seen["reason"]


def test_two_users_of_the_library_do_not_close_it_for_each_other(stub, tmp_path):
    code = f"""
from ffprof.instruments.nvml import open_gpu
one, two = open_gpu("{UUID}"), open_gpu("{UUID}")
one.close(); one.close()
assert two.sample().device_used_bytes == 104857600
two.close()
try:
    two.sample()
except Exception as error:
    raise SystemExit(f"closed: {{error}}")
print(two.sample().unread["device_used_bytes"])
"""
    env = with_stub(stub, tmp_path / "table", healthy=HEALTHY)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("Uninitialized", 0), done.stderr


def test_another_module_called_pynvml_is_a_reason_and_nothing_is_loaded_on_import(tmp_path):
    (tmp_path / "pynvml.py").write_text("raise SystemExit('imported')\n")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import ffprof.instruments.nvml as nvml
open({str(tmp_path / "pynvml.py")!r}, "w").write("nvmlInit = print")
try:
    nvml.open_gpu("GPU-1")
except nvml.NvmlMissingError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "NVML: the module pynvml is not the one of nvidia-ml-py"


def test_the_real_binding_without_this_gpu_is_a_typed_reason():
    from ffprof.instruments.nvml import GpuNotFoundError, NvmlMissingError, open_gpu

    with pytest.raises((NvmlMissingError, GpuNotFoundError), match=r"NVML: .+"):
        open_gpu("GPU-00000000-0000-0000-0000-000000000000")
