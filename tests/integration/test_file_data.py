"""Audits over data from files, with the real command line."""

import os
import shutil
import signal
import time

import command
import pictures
import psutil
import pytest
from command import TINY, by_workload, ffprof, many_commands, only_record, outcomes

ONE_LINE = "ffprof: error: "


def one_line(done, code, *said):
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("ffprof: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in lines[0], lines[0]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return pictures.image_folder(tmp_path_factory.mktemp("images"), each=16)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "cifar"], ["no data 'cifar'", "imagefolder:DIR"]),
        (["--data", ""], ["no data ''"]),
        (["--data", "cifar10:"], ["names no folder", "cifar10:DIR"]),
        (["--data", "cifar10"], ["there is no cifar10 in", "cifar10:DIR", "--download"]),
        (["--data", "imagenet100"], ["there is no imagenet100 in", "image-net.org"]),
        (["--data", "imagenet100:IMAGES"], ["/train: No such file"]),
        (["--data", "imagenet100:IMAGES", "--download"], ["nothing to download for imagenet100"]),
        (["--data", "imagefolder: "], ["names no folder", "imagefolder:DIR"]),
        (["--data", "digits:/tmp"], ["digits takes no folder"]),
        (["--data", "imagefolder:/no/such/place"], ["/no/such/place", "No such file"]),
        (["--data", "cifar10:/no/such/place"], ["/no/such/place", "--download"]),
        (["--data", "digits", "--download"], ["nothing to download for digits"]),
        (["--download"], ["nothing to download"]),
        (["--data", "imagefolder:IMAGES", "--batch", "64"], ["48 training images", "--batch"]),
        (["--data", "imagefolder:IMAGES", "--data-workers", "-1"], ["--data-workers -1"]),
        (["--data", "imagefolder:IMAGES/class 1"], ["no class folders"]),
    ],
)
def test_what_can_be_seen_before_is_said_before(words, said, images, tmp_path):
    words = [word.replace("IMAGES", str(images)) for word in words]
    out = tmp_path / "out"
    started = time.monotonic()
    done = ffprof("run", "--preset", "smoke", "--device", "cpu", *words, "--out", out)
    one_line(done, 2, *said)
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()
    assert time.monotonic() - started < 60


def test_an_audit_of_an_image_folder(images, tmp_path):
    folder = tmp_path / "with: colon"
    shutil.copytree(images, folder)
    done = ffprof(
        "run", *TINY, "--data", f"imagefolder:{folder}", "--data-workers", 2, "--workloads",
        "bp,bp-accum", "--rounds", 2, "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path / "out")
    recipe = record.recipe
    assert outcomes(record) == {"bp": "ok", "bp-accum": "ok"}
    assert (recipe.data, recipe.data_root, recipe.classes) == ("imagefolder", str(folder), 3)
    assert (recipe.data_workers, len(recipe.data_fingerprint)) == (2, 64)
    peaks = by_workload(record, lambda t: t.memory.live_tensor_peak_bytes)
    assert all(len(found) == 1 for found in peaks.values())
    losses = by_workload(record, lambda t: t.loss.first)
    assert all(len(found) == 1 for found in losses.values())
    for trial in record.trials:
        speed = trial.throughput
        assert 0 < speed.data_wait_seconds < sum(speed.step_seconds)
    facts = record.ledger["bp"].facts
    assert facts["data"] == f"imagefolder {recipe.data_fingerprint[:16]}"
    assert (facts["images_per_epoch"], facts["data_workers"]) == (48, 2)
    assert record.ledger["bp-accum"].gradient.equal is not None
    text = " ".join(done.stdout.split())
    assert "data with: colon" in text
    assert "48 images an epoch, loader workers 2" in text


def test_an_image_that_breaks_is_named_by_every_row(images, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    for victim in folder.rglob("*.jpg"):  # whichever comes first
        victim.write_bytes(victim.read_bytes()[:-200])
    done = ffprof(
        "run", *TINY, "--data", f"imagefolder:{folder}", "--workloads", "bp,bp-accum", "--rounds",
        1, "--out", tmp_path / "out",
    )  # fmt: skip
    one_line(done, 3, "no trial gave a number")
    record = only_record(tmp_path / "out")
    assert outcomes(record) == {"bp": "crashed", "bp-accum": "crashed"}
    (message,) = {t.message for t in record.trials}
    assert message.startswith(str(folder))
    assert ".jpg cannot be decoded (" in message
    assert record.ledger["bp-accum"].gradient.message == f"not proved: {message}"


def cifar_run(folder, out, *words, env=None, kind="cifar10"):
    return ffprof(
        "run", *TINY, "--data", f"{kind}:{folder}", "--workloads", "bp", "--rounds", 1, "--out",
        out, *words, env=env,
    )  # fmt: skip


def test_cifar_with_a_wrong_checksum(tmp_path):
    pictures.cifar_archive("cifar10", tmp_path / "data")
    done = cifar_run(tmp_path / "data", tmp_path / "out")
    one_line(done, 2, "cifar-10-python.tar.gz has a wrong checksum", "--download")
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_cifar_is_downloaded_once(tmp_path):
    sums = pictures.cifar_archive("cifar100", tmp_path / "served", each=10)
    with pictures.Served(tmp_path / "served") as server:
        url = f"{server.url}/{pictures.ARCHIVE['cifar100']}"
        env = pictures.patched_environment(tmp_path / "site", "cifar100", sums, url)
        fetched = []
        with many_commands(env):
            for number in range(2):
                out = tmp_path / f"out{number}"
                done = cifar_run(tmp_path / "data", out, "--download", env=env, kind="cifar100")
                assert done.returncode == 0, done.stderr
                assert (f"downloading cifar100 from {url}" in done.stderr) == (number == 0)
                fetched.append(len(server.fetched))
    assert fetched[0] == fetched[1] > 0
    record = only_record(tmp_path / "out1")
    assert (record.recipe.classes, record.ledger["bp"].facts["images_per_epoch"]) == (100, 50)
    assert record.recipe_hash == only_record(tmp_path / "out0").recipe_hash


def loaders(server):
    """Processes two and more below the server: what trials have started."""
    found = []
    for process in psutil.Process(server).children(recursive=True):
        try:
            if len(process.parents()) >= len(psutil.Process(server).parents()) + 2:
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def started(images, out, *words):
    return command.started(
        "run", "--preset", "small", "--device", "cpu", "--threads", 1, "--steps", 100000,
        "--workloads", "bp", "--data-workers", 2, "--batch", 32,
        "--data", f"imagefolder:{images}", "--out", out, *words,
    )  # fmt: skip


def find_loaders(process):
    """Both, or none if the audit has ended before."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        found = loaders(process.server)
        if len(found) == 2:
            return found
        time.sleep(0.05)
    return []


def gone(processes, seconds=200):
    return not psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.mark.parametrize("ending", ["ctrl-c", "killed", "timeout"])
def test_no_worker_outlives_its_trial(ending, images, tmp_path):
    if ending == "timeout":
        # Long enough to start them, which takes longer where many programs compute.
        for limit in (2, 6, 18, 54):
            words = ["--rounds", "1", "--time-limit", str(limit)]
            process = started(images, tmp_path / f"out {limit}", *words)
            workers = find_loaders(process)
            if workers:
                break
            process.communicate(timeout=200)
    else:
        process = started(images, tmp_path / "out", "--rounds", "1")
        workers = find_loaders(process)
    assert workers, "no loader workers were seen"
    if ending == "ctrl-c":
        process.send_signal(signal.SIGINT)
    elif ending == "killed":
        process.kill()
    process.communicate(timeout=200)
    assert gone(workers)
    assert process.returncode == {"ctrl-c": 130, "killed": -9, "timeout": 3}[ending]


def test_a_worker_that_is_killed_is_one_line(images, tmp_path):
    process = started(images, tmp_path / "out", "--rounds", "1")
    workers = find_loaders(process)
    assert workers, "no loader workers were seen"
    time.sleep(1)  # the trial trains by now, or still builds: both must do
    os.kill(workers[0].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 3, errors
    assert gone(workers)
    (trial,) = only_record(tmp_path / "out").trials
    assert trial.outcome == "crashed"
    # Which of the two depends on whether it was handing over a batch just then.
    told = ("a data worker died: DataLoader worker (pid", "a data worker died while it handed over")
    assert trial.message.startswith(told)
    assert "Traceback" not in trial.message + errors
