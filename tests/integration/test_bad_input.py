"""Whatever is wrong, it is one clear line, the right exit code, and nothing half-written."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command import TINY, ffprof, only_record, without_gpu
from hostile_records import Damage

RECORDED = Path(__file__).resolve().parents[2] / "results" / "audit-cifar-cpu.json"


def refused(done, code, *said):
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ffprof: error: ")
    for words in said:
        assert words in lines[0], lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workloads", "nonsense"], ["unknown workload 'nonsense'", "bp-accum"]),
        (["--workloads", "bp,,nope"], ["unknown workload 'nope'"]),
        (["--workloads", ","], ["no workload", "core"]),
        (["--preset", "huge"], ["unknown preset 'huge'", "imagenet100"]),
        (["--gpu-mem", "8XB"], ["'8XB' is not a memory size", "8GB"]),
        (["--gpu-mem", "-1GB"], ["'-1GB' is not a memory size", "8GB"]),
        (["--gpu-mem", "0"], ["'0' is not a memory size", "8GB"]),
        (["--gpu-mem", "0GB"], ["not a positive memory size", "8GB"]),
        (["--micro-batch", "7"], ["--micro-batch 7 does not divide --batch", "use one of"]),
        (["--micro-batch", "0"], ["--micro-batch 0"]),
        (["--batch", "-4"], ["--batch -4"]),
        (["--batch", "8"], ["--micro-batch 16 does not divide --batch 8"]),
        (["--backbone", "alexnet"], ["unknown backbone 'alexnet'", "vgg8"]),
        (["--image-size", "20"], ["multiple of 16"]),
        (["--width", "0"], ["--width"]),
        (["--width", "nan"], ["--width"]),
        (["--norm", "layer"], ["--norm", "'layer'"]),
        (["--precision", "fp8"], ["--precision"]),
        (["--data", "cifar"], ["--data"]),
        (["--seed", "-1"], ["--seed"]),
        (["--threads", "0"], ["--threads"]),
        (["--threads", "9999"], ["--threads 9999 is more than", "use at most"]),
        (["--gpu-mem", ""], ["'' is not a memory size"]),
    ],
)
def test_a_bad_option_is_one_line_before_anything_is_written(words, said, tmp_path):
    out = tmp_path / "out"
    done = ffprof("run", "--device", "cpu", *words, "--out", out)
    refused(done, 2, *said)
    assert not out.exists()


@pytest.mark.parametrize(
    "words", [["--rounds", "0"], ["--rounds", "x"], ["--nonsense"], ["--device", "tpu"]]
)
def test_typers_own_refusals_have_the_same_code(words, tmp_path):
    done = ffprof("run", *words, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert words[0] in done.stderr


def test_cuda_where_there_is_none(tmp_path):
    done = ffprof("run", "--device", "cuda", "--out", tmp_path, env=without_gpu())
    refused(done, 3, "--device cuda", "--device cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    done = ffprof("run", *TINY, "--out", tmp_path / "file" / "below")
    refused(done, 2, "cannot write", "--out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    refused(ffprof("run", *TINY, "--out", tmp_path), 2, "cannot write", "--out")


def test_a_folder_on_a_file_system_that_is_read_only():
    refused(ffprof("run", *TINY, "--out", "/proc/ffprof"), 2, "cannot write", "--out")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no result file"),
        (b"", "is empty"),
        (os.urandom(4096), "not JSON"),
        (b"{}", "not a record"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schema_version": 99}', "upgrade"),
        (b'{"schema_version": 1}', "not a valid record"),
    ],
)
def test_a_bad_record_is_one_line(content, said, tmp_path):
    path = tmp_path / "audit.json"
    if content is not None:
        path.write_bytes(content)
    for form in ("table", "markdown", "json"):
        done = ffprof("report", path, "-f", form)
        refused(done, 2, said)
        assert done.stdout == ""


def _loop(path):
    path.symlink_to(path)


def _bound(path):
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
        server.bind(path.name)  # the whole path may be too long for a socket


ODD = {
    "pipe": (os.mkfifo, "not a file"),
    "socket": (_bound, "not a file"),
    "zeros": (lambda path: path.symlink_to("/dev/zero"), "not a file"),
    "loop": (_loop, "symbolic links"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "no result file"),
    "memory": (lambda path: path.symlink_to("/proc/self/mem"), "cannot read"),
    "below a file": (lambda path: path.write_text("{}"), "cannot read"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_one_line_and_not_waited_for(kind, tmp_path):
    make, said = ODD[kind]
    path = tmp_path / "audit-odd.json"
    make(path)
    name = path / "audit.json" if kind == "below a file" else path
    refused(ffprof("report", name, timeout=60), 2, said)


@pytest.mark.parametrize("kind", ["pipe", "socket", "zeros", "loop", "dangling", "memory"])
def test_a_folder_of_what_is_no_file(kind, tmp_path):
    ODD[kind][0](tmp_path / "audit-odd.json")
    refused(ffprof("report", tmp_path, timeout=60), 2)


def test_a_folder_with_the_name_of_a_record(tmp_path):
    (tmp_path / "audit-odd.json").mkdir()
    refused(ffprof("report", tmp_path), 2, "not a file")


@pytest.mark.parametrize(
    "name", ["a\nb.json", "\x1b[2J\x1b]0;owned\x07", "\udcff\udcfe", "x" * 300]
)
def test_the_name_of_a_bad_record_is_harmless(name, tmp_path):
    path = tmp_path / name
    if len(name) < 256:
        path.write_text("[")
    done = ffprof("report", path)
    refused(done, 2, str(tmp_path))
    assert done.stderr.removesuffix("\n").isprintable()


@pytest.mark.parametrize("there", [True, False])
def test_a_record_that_may_not_be_read(there):
    """Root may read everything, so it becomes another user first.

    One who may not read the code, perhaps: what the command imports it has imported by then.
    """
    code = """if True:
        import os, sys
        from ffprof.cli.main import main

        def ends():
            try:
                main(sys.argv[1:])
            except SystemExit as end:
                return end.code

        if os.geteuid() == 0:
            told = os.dup(2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            ends()
            os.dup2(told, 2)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        sys.exit(ends())
        """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.json"
        path.write_text("{}")
        path.chmod(0)
        path.parent.chmod(0o711 if there else 0)
        words = [sys.executable, "-c", code, "report", path]
        refused(
            subprocess.run(words, capture_output=True, text=True, check=False),
            2, "cannot read", "Permission denied",
        )  # fmt: skip
        path.parent.chmod(0o700)


@pytest.mark.parametrize("kind", ["truncate", "noise", "nest", "version", "literals", "foreign"])
def test_damaged_records_through_the_command(kind, tmp_path):
    for seed in range(3):
        path = tmp_path / f"audit-{seed}.json"
        path.write_bytes(Damage(random.Random(seed)).make(kind))
        done = ffprof("report", path, "-f", ("table", "markdown", "json")[seed])
        if done.returncode == 0:
            assert "Traceback" not in done.stdout and done.stderr == ""
        else:
            refused(done, 2)
            assert done.stdout == ""


def test_a_folder_without_a_record(tmp_path):
    refused(ffprof("report", tmp_path), 2, "no result file", "ffprof run")


def test_a_record_cut_short(tmp_path):
    path, text = tmp_path / "audit.json", RECORDED.read_text()
    for part in (0.1, 0.5, 0.99):
        path.write_text(text[: int(len(text) * part)])
        refused(ffprof("report", path), 2, "not JSON")
    document = json.loads(text)
    document["trials"][0]["memory"]["live_tensor_peak_bytes"] = -1
    path.write_text(json.dumps(document))
    refused(ffprof("report", path), 2, "trials.0.memory.live_tensor_peak_bytes")


@pytest.mark.parametrize("first", [True, False])
def test_debug_shows_the_traceback_and_keeps_the_code(first, tmp_path):
    words = ["report", tmp_path / "none.json"]
    done = ffprof(*(["--debug", *words] if first else [*words, "--debug"]))
    assert "Traceback" in done.stderr
    assert done.returncode == 2


def test_a_record_with_terminal_codes_is_harmless(tmp_path):
    path, document = tmp_path / "audit.json", json.loads(RECORDED.read_text())
    document["machine"]["cpu"] = "\x1b]0;owned\x07\x1b[2J"
    document["notes"] = ["a\x1b[31mred", "\x9b31m\u202e"]
    path.write_text(json.dumps(document))
    for form in ("table", "markdown"):
        assert "\x1b" not in ffprof("report", path, "-f", form).stdout
    shown = ffprof("report", path, "-f", "json").stdout
    assert json.loads(shown)["notes"] == document["notes"]
    assert all(c.isprintable() or c == "\n" for c in shown)
    document["\x1b[31mred"] = 1
    path.write_text(json.dumps(document))
    done = ffprof("report", path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr


def test_gpu_mem_on_a_cpu_says_that_it_does_not_bind(tmp_path):
    done = ffprof(
        "run", *TINY, "--workloads", "bp", "--rounds", 1, "--gpu-mem", "8GB", "--out", tmp_path
    )
    assert done.returncode == 0
    record = only_record(tmp_path)
    assert record.budget.limit_bytes is None
    assert any("--gpu-mem 8GB" in note for note in record.notes)
    assert "limits CUDA memory only" in " ".join(done.stdout.split())
