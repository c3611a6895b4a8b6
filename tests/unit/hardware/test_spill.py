import sys

import pytest

from ffprof.hardware.memory_limit import TCC, is_wsl, spills, why_spilling


@pytest.mark.parametrize(
    ("path", "text", "wsl"),
    [
        ("proc/version", "Linux version 5.15.90.1-microsoft-standard-WSL2 (gcc)", True),
        ("proc/sys/kernel/osrelease", "4.4.0-19041-Microsoft", True),
        ("proc/version", "Linux version 6.8.0-45-generic (buildd@lcy02-amd64)", False),
        ("usr/lib/wsl/lib", None, True),
    ],
)
def test_wsl_is_seen_by_its_kernel(tmp_path, path, text, wsl):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.mkdir() if text is None else file.write_text(text)
    assert is_wsl(tmp_path) is wsl
    assert ("WSL" in spills(tmp_path)) is wsl
    if not wsl and sys.platform == "linux":
        assert spills(tmp_path) == ""


def test_nothing_to_read_says_nothing(tmp_path):
    assert not is_wsl(tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/version").write_bytes(b"\xff\xfe Linux")
    assert not is_wsl(tmp_path)


def test_windows_spills_unless_the_gpu_is_a_compute_device():
    assert "Windows" in why_spilling("win32", wsl=False)
    assert "Windows" in why_spilling("win32", wsl=False, driver_model=0)
    assert why_spilling("win32", wsl=False, driver_model=TCC) == ""
    assert why_spilling("linux", wsl=False, driver_model=None) == ""
    assert "WSL" in why_spilling("linux", wsl=True)
