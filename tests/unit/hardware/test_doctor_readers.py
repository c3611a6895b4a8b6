"""How the doctor reads a machine: fake /proc and /sys trees, garbage, and the real one."""

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.hardware.doctor.readers.activity import Look, between, look, parse_cpu_ticks, parse_stat
from ffprof.hardware.doctor.readers.host import (
    Limits,
    has_cpu_flag,
    parse_cgroup,
    parse_cpu_list,
    parse_cpu_max,
    parse_int,
    parse_meminfo,
    read_host,
    read_limits,
    read_output,
    read_text,
)
from ffprof.hardware.doctor.readers.software import (
    parse_requirement,
    read_software,
    release,
    satisfies,
)
from ffprof.units import GIB, MIB

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def tree(root, **files):
    """Files by path; a double underscore stands for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


STAT = "{pid} ({name}) S {parent} 1 1 0 -1 4194560 9 0 0 0 {user} {system} 0 0 20 0 1 0 {started} 9"


def process(root, pid, name, parent=1, user=0, system=0, started=5):
    line = STAT.format(pid=pid, name=name, parent=parent, user=user, system=system, started=started)
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stat").write_text(line)


@given(st.text())
def test_no_parser_is_upset_by_garbage(text):
    parse_int(text)
    parse_meminfo(text)
    parse_cpu_list(text)
    has_cpu_flag(text, "hypervisor")
    parse_cpu_max(text)
    parse_cgroup(text)
    parse_stat(text)
    parse_cpu_ticks(text)
    parse_requirement(text)
    satisfies(text, f">={text}")


@given(st.frozensets(st.integers(0, 300), min_size=1))
def test_a_cpu_list_is_read_as_it_is_written(cpus):
    parts, left = [], sorted(cpus)
    while left:
        run = [left.pop(0)]
        while left and left[0] == run[-1] + 1:
            run.append(left.pop(0))
        parts.append(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}")
    assert parse_cpu_list(",".join(parts) + "\n") == cpus


@pytest.mark.parametrize("text", ["", "3-1", "a", "1,,2", "0-99999999", "-1", "٣"])
def test_what_is_no_cpu_list_is_none(text):
    assert parse_cpu_list(text) is None


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_quota_is_a_share_of_its_period(quota, period):
    assert parse_cpu_max(f"{quota} {period}\n") == quota / period
    assert parse_cpu_max(f"max {period}") is None


@given(
    st.dictionaries(st.from_regex(r"[A-Z][a-zA-Z_]{1,20}", fullmatch=True), st.integers(0, 1 << 40))
)
def test_meminfo_counts_in_kibibytes(values):
    text = "".join(f"{name}:   {value} kB\n" for name, value in values.items())
    parsed = parse_meminfo(text + "HugePages_Total:       7\n")
    assert parsed == {name: value * 1024 for name, value in values.items()}


def test_version_2_limits_of_all_ancestors_hold(tmp_path):
    tree(
        tmp_path,
        proc__self__cgroup="0::/box/job\n",
        sys__fs__cgroup__box__job__cpu="",
        **{
            "sys__fs__cgroup__box__job__memory.max": "max\n",
            "sys__fs__cgroup__box__job__cpu.max": "400000 100000\n",
            "sys__fs__cgroup__box__cpu.max": "150000 100000\n",
            "sys__fs__cgroup__box__memory.max": f"{4 * GIB}\n",
            "sys__fs__cgroup__box__memory.current": f"{GIB}\n",
        },
    )
    assert read_limits(tmp_path) == Limits(cpus=1.5, memory_bytes=4 * GIB, memory_used_bytes=GIB)


def test_version_1_limits_in_a_container_that_sees_the_hosts_path(tmp_path):
    tree(
        tmp_path,
        proc__self__cgroup="4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        **{
            "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "50000\n",
            "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n",
            "sys__fs__cgroup__memory__memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys__fs__cgroup__memory__memory.usage_in_bytes": f"{MIB}\n",
        },
    )
    assert read_limits(tmp_path) == Limits(cpus=0.5, memory_bytes=2 * GIB, memory_used_bytes=MIB)


def test_version_1_writes_no_limit_as_a_large_number(tmp_path):
    tree(
        tmp_path,
        proc__self__cgroup="3:cpu:/\n4:memory:/../..\n",
        **{
            "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1\n",
            "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n",
            "sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert read_limits(tmp_path) == Limits()


def test_an_empty_root_says_nothing(tmp_path):
    host = read_host(tmp_path)
    assert (host.ram_bytes, host.swap_used_bytes, host.shm_bytes) == (None, None, None)
    assert (host.governors, host.turbo, host.hypervisor, host.frequency_cap) == (
        (),
        None,
        None,
        None,
    )
    assert (host.nvidia_on_pci, host.nvidia_devices, host.wsl, host.clocksource) == (
        0,
        (),
        False,
        "",
    )
    assert look(tmp_path).load is None
    activity = between(look(tmp_path), look(tmp_path), 1)
    assert (activity.busy, activity.steal, activity.load) == (None, None, None)


def test_a_whole_root_is_read(tmp_path):
    cpu = "sys__devices__system__cpu__"
    tree(
        tmp_path,
        proc__meminfo="MemTotal: 1000 kB\nMemAvailable: 600 kB\n"
        "SwapTotal: 50 kB\nSwapFree: 20 kB\n",
        proc__version="Linux version 5.15 (Microsoft@Microsoft.com)",
        proc__cpuinfo="processor : 0\nflags\t\t: fpu vme hypervisor\n",
        proc__self__status="Name:\tx\nCpus_allowed_list:\t0-1\n",
        proc__driver__nvidia__version="NVRM",
        dev__nvidia0="",
        **{
            f"{cpu}present": "0-3\n",
            f"{cpu}cpu0__cpufreq__scaling_governor": "powersave\n",
            f"{cpu}cpu1__cpufreq__scaling_governor": "performance\n",
            f"{cpu}cpu0__cpufreq__scaling_driver": "intel_pstate\n",
            f"{cpu}cpu0__cpufreq__scaling_max_freq": "1500000\n",
            f"{cpu}cpu0__cpufreq__cpuinfo_max_freq": "3000000\n",
            f"{cpu}intel_pstate__no_turbo": "1\n",
            "sys__devices__system__clocksource__clocksource0__current_clocksource": "hpet\n",
            "sys__bus__pci__devices__0000:01:00.0__vendor": "0x10de\n",
            "sys__bus__pci__devices__0000:01:00.0__class": "0x030000\n",
            # The sound of the same card.
            "sys__bus__pci__devices__0000:01:00.1__vendor": "0x10de\n",
            "sys__bus__pci__devices__0000:01:00.1__class": "0x040300\n",
        },
    )
    host = read_host(tmp_path)
    assert (host.ram_bytes, host.ram_available_bytes) == (1000 * 1024, 600 * 1024)
    assert (host.swap_bytes, host.swap_used_bytes) == (50 * 1024, 30 * 1024)
    assert (host.wsl, host.hypervisor, host.turbo) == (True, True, False)
    assert (host.cpus, host.allowed_cpus) == (4, 2)
    assert host.governors == ("performance", "powersave")
    assert (host.frequency_driver, host.frequency_cap) == ("intel_pstate", 0.5)
    assert (host.nvidia_on_pci, host.nvidia_devices, host.nvidia_module) == (1, ("nvidia0",), True)
    assert host.clocksource == "hpet"


def test_unreadable_text_is_not_an_error(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe 3")
    assert read_text(tmp_path / "bytes")
    assert read_text(tmp_path) is None


def test_the_output_folder_need_not_exist(tmp_path):
    found = read_output(tmp_path / "a" / "b")
    assert found.free_bytes > 0
    assert not found.problem
    (tmp_path / "file").write_text("")
    assert "not a folder" in read_output(tmp_path / "file" / "b").problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be written to" in read_output(tmp_path / "b").problem
    tmp_path.chmod(0o700)


def test_others_are_counted_and_our_own_are_not(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "stat").write_text("cpu  100 0 0 900 0 0 0 0 0 0\n")
    (tmp_path / "proc" / "loadavg").write_text("1.50 1.2 1.0 2/300 4711\n")
    process(tmp_path, 10, "ours")
    process(tmp_path, 11, "our child", parent=10)
    process(tmp_path, 20, "a (b) c")
    process(tmp_path, 30, "idle")
    process(tmp_path, 40, "reused", user=900, started=5)
    first = look(tmp_path)
    (tmp_path / "proc" / "stat").write_text("cpu  150 0 0 920 0 0 0 30 0 0\n")
    process(tmp_path, 11, "our child", parent=10, user=200)
    process(tmp_path, 20, "a (b) c", user=100, system=60)
    process(tmp_path, 40, "reused", user=40, started=77)
    second = look(tmp_path)
    second = Look(**{**vars(second), "seconds": first.seconds + 2.0})
    found = between(first, second, 10, ticks_per_second=100)
    assert [(p.name, p.pid, p.cores) for p in found.busy] == [
        ("a (b) c", 20, 0.8),
        ("reused", 40, 0.2),
    ]
    assert (found.load, found.steal) == (1.5, 0.3)


@linux
def test_a_busy_program_is_seen_on_the_real_machine():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinner:
        try:
            first, until = look(), time.monotonic() + 60
            # Where many programs compute, it takes longer until it has had its share.
            while True:
                time.sleep(0.3)
                second = look()
                # Its parent is this process, so only another owner's view shows it.
                seen = {p.pid for p in between(first, second, -1).busy}
                if spinner.pid in seen or time.monotonic() > until:
                    break
                first = second
        finally:
            spinner.kill()
    assert spinner.pid in seen
    assert spinner.pid not in {p.pid for p in between(first, second, os.getpid()).busy}


@linux
def test_the_real_machine_is_read():
    host = read_host()
    assert host.ram_bytes > host.ram_available_bytes > 0
    assert 1 <= host.allowed_cpus <= host.cpus
    assert 0 < host.timer_cost_seconds < 1e-3


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("torch (==2.11.0)", ("torch", "==2.11.0")),
        ("torch>=2.11", ("torch", ">=2.11")),
        ("Pillow !=8.3.*, >=5.3.0", ("pillow", "!=8.3.*,>=5.3.0")),
        ("numpy", ("numpy", "")),
        ("x[extra]>=1", ("x", ">=1")),
        ("gdown>=4.7.3 ; extra == 'gdown'", None),
    ],
)
def test_requirements_are_read(text, parsed):
    assert parse_requirement(text) == parsed


@pytest.mark.parametrize(
    ("version", "specifier", "kept"),
    [
        ("2.14.1+cu130", "==2.14.1", True),
        ("2.14.1", "==2.13.0", False),
        ("2.14", "==2.14.0", True),
        ("2.9", ">=2.11", False),
        ("12.560", ">=12.560", True),
        ("2.14.1", ">=2.11,<3", True),
        ("unknown", ">=1", True),
        ("1.0", "==1.*", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version, specifier, kept):
    assert satisfies(version, specifier) is kept


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=5))
def test_releases_are_numbers(parts):
    assert release(".".join(map(str, parts)) + "rc1+cu130") == tuple(parts)


def test_a_folder_called_pynvml_is_not_nvidias(tmp_path):
    (tmp_path / "pynvml").mkdir()
    (tmp_path / "pynvml" / "__init__.py").write_text("")
    info = tmp_path / "pynvml-11.5.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pynvml\nVersion: 11.5.3\n")
    code = (
        "from ffprof.hardware.doctor.readers.software import read_software as r; "
        "from ffprof.hardware.doctor.readers.nvml import read_nvml; "
        "print(r().pynvml_shadowed, r().pynvml_distribution, read_nvml().problem)"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("True 11.5.3 the module pynvml is not the one of nvidia-ml-py")


def test_this_environment_is_what_ffprof_asks_for():
    software = read_software()
    assert not software.pynvml_shadowed
    assert all(software.installed.values())
    for name, oldest in software.required.items():
        assert satisfies(software.installed[name], f">={oldest}")
