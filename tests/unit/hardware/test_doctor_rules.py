"""Every rule of the doctor, on machines that are described rather than looked for."""

import shlex
from dataclasses import replace

import pytest
from machines import HEALTHY, NO_GPU, UUID, machine

from ffprof.hardware.doctor.diagnosis import diagnose, topics
from ffprof.hardware.doctor.facts import GpuProcess, Program
from ffprof.units import GIB, MIB

PYTHON = GpuProcess(pid=4242, name="/usr/bin/python3", used_bytes=3 * GIB)
DESKTOP = GpuProcess(pid=900, name="Xorg", used_bytes=60 * MIB, graphics=True)
UNTOLD = GpuProcess(pid=17, name="unknown")
INSTALLED = HEALTHY.software.installed
NO_CUDA = {
    "cuda": False,
    "reason": "No CUDA GPUs are available",
    "free_bytes": None,
    "total_bytes": None,
}
NO_DEVICE = {"problem": "there is no C++ compiler", "fix": "install g++", "step_seconds": None}
H100 = {"name": "NVIDIA H100", "total_bytes": 81559 * MIB}
WHOLE = {"total_bytes": 8 * GIB}  # as under Windows, where the driver keeps nothing visible

# topic, state, a word of what is said, and what is different from the healthy machine
CASES = [
    ("python", "bad", "3.10.0", {"software": {"python": (3, 10, 0)}}),
    ("python", "note", "without the global", {"software": {"gil": False}}),
    (
        "packages",
        "bad",
        "missing: torch",
        {"software": {"installed": {**INSTALLED, "torch": None}}},
    ),
    (
        "packages",
        "warn",
        "torchvision 0.25.9 (needs 0.26)",
        {"software": {"installed": {**INSTALLED, "torchvision": "0.25.9"}}},
    ),
    (
        "pynvml",
        "warn",
        "pynvml 11.5.3",
        {"software": {"pynvml_distribution": "11.5.3", "pynvml_shadowed": True}},
    ),
    ("pynvml", "note", "in addition to", {"software": {"pynvml_distribution": "13.0.1"}}),
    ("torch", "bad", "ImportError", {"torch": None, "child": {"problem": "ImportError: x"}}),
    ("torchvision", "warn", "nms", {"torch": {"torchvision_problem": "operator nms missing"}}),
    ("torchvision", "warn", "wants torch==2.13.0", {"software": {"torchvision_wants": "==2.13.0"}}),
    ("trial-start", "bad", "Resource", {"child": {"trial_seconds": None, "problem": "Resource"}}),
    ("trial-start", "note", "45.0 s", {"child": {"server_seconds": 45.0}}),
    ("null-device", "note", "no C++ compiler", {"null_device": {**NO_DEVICE, "folder": ""}}),
    ("null-device", "warn", "failed: x", {"null_device": {**NO_DEVICE, "problem": "failed: x"}}),
    ("null-device", "warn", "not know cuWhat", {"null_device": {"unknown": ("cuWhat",)}}),
    ("cuda", "note", "no NVIDIA GPU", NO_GPU),
    ("cuda", "bad", "no NVIDIA GPU", {**NO_GPU, "asked": "cuda"}),
    ("cuda", "bad", "no kernel image", {"torch": {"kernel_problem": "no kernel image"}}),
    ("cuda", "warn", "built without CUDA", {"torch": {**NO_CUDA, "cuda_build": None}}),
    (
        "cuda",
        "warn",
        "hides every GPU",
        {"torch": NO_CUDA, "environment": {"CUDA_VISIBLE_DEVICES": ""}},
    ),
    (
        "cuda",
        "warn",
        "does not exist",
        {"torch": NO_CUDA, "environment": {"CUDA_VISIBLE_DEVICES": "1"}},
    ),
    ("cuda", "warn", "differ", {"torch": NO_CUDA, "nvml": {"mismatch": True, "gpus": ()}}),
    (
        "cuda",
        "warn",
        "nouveau",
        {
            "torch": NO_CUDA,
            "nvml": {"driver": None, "gpus": ()},
            "host": {"nvidia_module": False, "nvidia_devices": (), "nouveau": True},
        },
    ),
    ("cuda", "warn", "CUDA up to 12.4", {"torch": NO_CUDA, "nvml": {"driver_cuda": (12, 4)}}),
    (
        "cuda",
        "warn",
        "/dev/nvidia-uvm",
        {"torch": NO_CUDA, "host": {"nvidia_devices": ("nvidia0", "nvidiactl")}},
    ),
    ("cuda", "warn", "libcuda.so.1", {"torch": {**NO_CUDA, "libcuda_problem": "libcuda.so.1: no"}}),
    ("cuda", "warn", "No CUDA GPUs", {"torch": NO_CUDA}),
    ("driver", "warn", "WSL", {"host": {"wsl": True}}),
    ("driver", "warn", "Windows", {"host": {"platform": "win32"}}),
    ("nvml", "warn", "mismatch", {"nvml": {"problem": "mismatch", "mismatch": True, "gpus": ()}}),
    ("nvml", "warn", "Not Found", {"nvml": {"problem": "Library Not Found", "gpus": ()}}),
    ("gpu-match", "warn", UUID, {"torch": {"gpu_uuid": "GPU-other"}}),
    ("mig", "warn", "slices", {"gpu": {"mig": True}}),
    ("card", "note", "NVIDIA H100 of 79.6 GiB: no profile", {"gpu": H100}),
    ("card", "note", "CUDA offers 8.00 GiB, its profile says 7.63", {"torch": WHOLE}),
    ("gpu-memory", "warn", "5.00 GiB of", {"torch": {"free_bytes": 5 * GIB}}),
    ("gpu-memory", "note", "less than", {"torch": {"free_bytes": 4 * GIB, "total_bytes": 4 * GIB}}),
    (
        "gpu-memory",
        "warn",
        "2.00 GiB of 80.0 GiB",
        {"torch": {"free_bytes": 2 * GIB, "total_bytes": 80 * GIB}},
    ),
    ("gpu-memory", "warn", "4.00 GiB of", {"torch": NO_CUDA, "gpu": {"used_bytes": 4 * GIB}}),
    ("gpu-processes", "warn", "python3 (4242) 3.00 GiB", {"gpu": {"processes": (PYTHON, DESKTOP)}}),
    ("gpu-processes", "warn", "and 1 more", {"gpu": {"processes": (PYTHON,) * 5}}),
    ("gpu-processes", "note", "desktop", {"gpu": {"processes": (DESKTOP,)}}),
    ("gpu-process-memory", "note", "without their memory", {"gpu": {"processes": (UNTOLD,)}}),
    (
        "gpu-process-memory",
        "note",
        "Not Supported",
        {"gpu": {"processes": None, "unread": {"processes": "Not Supported"}}},
    ),
    ("display", "note", "driven", {"gpu": {"display": True}}),
    ("gpu-clocks", "warn", "1500 MHz", {"gpu": {"set_clock": 1500}}),
    ("gpu-throttling", "warn", "power cap, too hot", {"gpu": {"throttle": 0x24}}),
    ("gpu-temperature", "warn", "88 °C", {"gpu": {"temperature": 88}}),
    (
        "gpu-temperature",
        "warn",
        "80 °C",
        {"gpu": {"temperature": 80, "slowdown_temperature": None}},
    ),
    ("gpu-power", "warn", "80 W", {"gpu": {"power_limit": 80.0}}),
    ("persistence", "note", "off", {"gpu": {"persistence": False}}),
    ("ecc", "note", "on", {"gpu": {"ecc": True}}),
    ("compute-mode", "warn", "prohibited", {"gpu": {"compute_mode": 2}}),
    ("compute-mode", "bad", "prohibited", {"gpu": {"compute_mode": 2}, "asked": "cuda"}),
    ("compute-mode", "note", "exclusive", {"gpu": {"compute_mode": 3}}),
    ("ram", "warn", "1.00 GiB of", {"host": {"ram_available_bytes": GIB}}),
    ("swap", "note", "1.00 GiB", {"host": {"swap_used_bytes": GIB}}),
    ("shared-memory", "warn", "64.0 MiB", {"host": {"shm_free_bytes": 64 * MIB}}),
    ("shared-memory", "note", "512 MiB", {"host": {"shm_free_bytes": 512 * MIB}}),
    (
        "memory-limit",
        "warn",
        "4.00 GiB",
        {"host": {"memory_limit_bytes": 4 * GIB, "memory_used_bytes": 3 * GIB}},
    ),
    ("memory-limit", "note", "4.00 GiB", {"host": {"memory_limit_bytes": 4 * GIB}}),
    ("disk", "bad", "cannot be written", {"output": {"problem": "/x cannot be written to"}}),
    ("disk", "warn", "50.0 MiB", {"output": {"free_bytes": 50 * MIB}}),
    (
        "programs",
        "warn",
        "0.97 CPUs taken by node (5) 0.97",
        {"activity": {"busy": (Program(name="node", pid=5, cores=0.97),)}},
    ),
    ("programs", "note", "load 6.00 on 8", {"activity": {"load": 6.0}}),
    (
        "governor",
        "warn",
        "powersave",
        {"host": {"governors": ("powersave",), "frequency_driver": "acpi-cpufreq"}},
    ),
    ("governor", "warn", "preference: power", {"host": {"energy_preference": "power"}}),
    ("governor", "warn", "limited to 50%", {"host": {"frequency_cap": 0.5}}),
    # In intel_pstate's active mode, powersave is the governor that follows the load.
    ("governor", "note", "powersave", {"host": {"governors": ("powersave",)}}),
    ("turbo", "note", "on", {"host": {"turbo": True}}),
    ("virtual-machine", "note", "virtual", {"host": {"hypervisor": True}}),
    ("virtual-machine", "warn", "5.0%", {"activity": {"steal": 0.05}}),
    ("battery", "warn", "battery", {"host": {"on_battery": True}}),
    ("cores", "warn", "may use 1.5", {"host": {"cpu_quota": 1.5}}),
    ("cores", "note", "may use 2", {"host": {"allowed_cpus": 2}}),
    ("threads", "note", "takes 1 by itself, ffprof sets 4", {"torch": {"threads": 1}}),
    ("timer", "note", "hpet", {"host": {"clocksource": "hpet"}}),
    ("timer", "note", "2000 ns", {"host": {"timer_cost_seconds": 2e-6}}),
    ("thread-variables", "note", "OMP_NUM_THREADS=2", {"environment": {"OMP_NUM_THREADS": "2"}}),
    ("thread-variables", "warn", "OMP_PROC_BIND", {"environment": {"OMP_PROC_BIND": "true"}}),
    ("allocator-variables", "note", "ALLOC", {"environment": {"PYTORCH_ALLOC_CONF": "a:b"}}),
    (
        "allocator-variables",
        "warn",
        "CACHING",
        {"environment": {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}},
    ),
    ("cuda-variables", "warn", "TF32", {"environment": {"NVIDIA_TF32_OVERRIDE": "0"}}),
    ("cuda-variables", "warn", "CUDNN", {"environment": {"CUDNN_LOGLEVEL_DBG": "3"}}),
    ("cuda-variables", "note", "TF32", {**NO_GPU, "environment": {"NVIDIA_TF32_OVERRIDE": "0"}}),
    ("torch-variables", "warn", "CUBLASLT", {"environment": {"TORCH_BLAS_PREFER_CUBLASLT": "1"}}),
    ("torch-variables", "note", "HOME", {"environment": {"TORCH_HOME": "/data"}}),
    ("malloc-variables", "warn", "LD_PRELOAD", {"environment": {"LD_PRELOAD": "jemalloc.so"}}),
    (
        "malloc-variables",
        "note",
        "TRIM",
        {
            "environment": {"MALLOC_TRIM_THRESHOLD_": "1"},
            "overridden": frozenset({"MALLOC_TRIM_THRESHOLD_"}),
        },
    ),
]


def finding(topic, facts):
    return next(f for f in diagnose(facts).findings if f.topic == topic)


def reason(topic, facts):
    return next(n.reason for n in diagnose(facts).not_checked if n.topic == topic)


def test_a_healthy_machine_has_nothing_to_do():
    diagnosis = diagnose(HEALTHY)
    assert {f.topic: f.seen for f in diagnosis.findings if f.state != "ok"} == {}
    assert [f.topic for f in diagnosis.findings] == topics()
    assert diagnosis.not_checked == ()


@pytest.mark.parametrize(
    ("topic", "state", "word", "changes"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_rule_sees_what_is_wrong_and_says_why(topic, state, word, changes):
    found = finding(topic, machine(**changes))
    assert found.state == state, found
    assert word in found.seen
    assert found.why
    if state in ("bad", "warn"):
        assert found.do


def test_every_topic_can_fail():
    assert {topic for topic, *_ in CASES} == set(topics())
    assert len(topics()) == len(set(topics()))


def test_a_change_of_one_thing_is_found_once():
    """A rule that fails on another rule's facts would be counted twice."""
    related = {"gpu-memory", "gpu-processes"}
    for topic, _, _, changes in CASES:
        if set(changes) != {"gpu"} and set(changes) != {"activity"}:
            continue
        wrong = {f.topic for f in diagnose(machine(**changes)).findings if f.state != "ok"}
        assert wrong <= {topic} | related | {"gpu-process-memory"}, topic


@pytest.mark.parametrize("topic", [t for t in topics() if t.startswith("gpu-")])
def test_without_a_gpu_its_state_is_not_checked(topic):
    assert reason(topic, machine(**NO_GPU)) == "no NVIDIA GPU"
    assert reason(topic, machine(asked="cpu")) == "--device cpu"


@pytest.mark.parametrize(
    ("topic", "field"),
    [
        ("display", "display"),
        ("gpu-throttling", "throttle"),
        ("gpu-temperature", "temperature"),
        ("gpu-power", "power_limit"),
        ("gpu-power", "default_power_limit"),
        ("persistence", "persistence"),
        ("compute-mode", "compute_mode"),
        ("gpu-processes", "processes"),
    ],
)
def test_what_a_driver_does_not_tell_is_not_checked_for_its_reason(topic, field):
    facts = machine(gpu={field: None, "unread": {field: "Not Supported"}})
    assert reason(topic, facts) == "Not Supported"


def test_geforce_cards_have_no_applications_clocks():
    found = finding("gpu-clocks", machine(gpu={"set_clock": None, "default_clock": None}))
    assert (found.state, "210 MHz" in found.seen) == ("ok", True)


def test_of_several_gpus_cudas_own_is_judged():
    other = replace(HEALTHY.nvml.gpus[0], index=1, uuid="GPU-other", temperature=99)
    both = (other, HEALTHY.nvml.gpus[0])
    assert finding("gpu-temperature", machine(nvml={"gpus": both})).state == "ok"
    swapped = machine(nvml={"gpus": both}, torch={"gpu_uuid": "GPU-other"})
    assert finding("gpu-temperature", swapped).state == "warn"


def test_what_is_seen_cannot_break_out_of_a_line():
    """Values and names come from elsewhere, and end in a terminal or in a shell comment."""
    hostile = {
        "TORCH_X": "a\nrm -rf /\x1b[2J",
        "TORCH_$(reboot)": "1",
        "OMP_PLACES": "'; reboot; '",
    }
    process = GpuProcess(pid=1, name="x\n reboot", used_bytes=1)
    facts = machine(environment=hostile, gpu={"processes": (process,)})
    for one in diagnose(facts).findings:
        for text in (one.seen, one.why, one.do, *one.commands):
            assert text.isprintable()
        for command in one.commands:
            assert "reboot" not in command
            assert shlex.split(command, comments=True)


def test_an_empty_variable_is_none_except_where_torch_asks_for_its_presence():
    assert finding("malloc-variables", machine(environment={"LD_PRELOAD": ""})).state == "ok"
    empty = machine(environment={"PYTORCH_NO_CUDA_MEMORY_CACHING": ""})
    assert finding("allocator-variables", empty).state == "warn"


def test_a_null_device_that_was_compiled_now_says_so():
    assert "kept in /cache/nulldevice" in finding("null-device", HEALTHY).seen
    built = finding("null-device", machine(null_device={"build_seconds": 9.2}))
    assert (built.state, "compiled in 9 s, once" in built.seen) == ("ok", True)
    assert reason("null-device", machine(asked="cpu")) == "--device cpu"
    assert reason("null-device", machine(null_device=None)) == "this runs on a null device"


def test_a_card_is_told_by_its_totals():
    assert "GeForce RTX 4060; CUDA offers 7.63 GiB" in finding("card", HEALTHY).seen
    ti = {"name": "NVIDIA GeForce RTX 4060 Ti", "total_bytes": 16380 * MIB}
    found = finding("card", machine(gpu=ti, torch={"total_bytes": 15944 * MIB}))
    assert (found.state, "RTX 4060 Ti 16 GB; CUDA offers 15.6" in found.seen) == ("ok", True)
    ti["total_bytes"] = 12282 * MIB
    found = finding("card", machine(gpu=ti, torch={"total_bytes": 12 * GIB}))
    assert (found.state, "no profile" in found.seen) == ("note", True)
    assert found.commands == ("ffprof cards --template > my_card.toml",)
    silent = finding("card", machine(torch=NO_CUDA))
    assert (silent.state, "not known" in silent.seen) == ("ok", True)
    assert reason("card", machine(**NO_GPU)) == "no NVIDIA GPU"


def test_a_compute_device_under_windows_does_not_spill():
    windows = {"host": {"platform": "win32"}}
    assert finding("driver", machine(**windows, gpu={"driver_model": 0})).state == "warn"
    assert finding("driver", machine(**windows, gpu={"driver_model": 1})).state == "ok"


def test_a_virtual_machines_own_clock_is_fast():
    assert finding("timer", machine(host={"clocksource": "kvm-clock"})).state == "ok"


def test_a_quota_of_whole_cores_is_no_finding():
    assert finding("cores", machine(host={"cpu_quota": 4.0})).state == "ok"
