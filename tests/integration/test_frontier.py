"""``ffprof frontier`` through the real command line: estimated, and measured on this processor."""

import json
import signal
import time

import pytest
from command import ffprof, reported, started

from ffprof.records.store import load_frontier

SMOKE = ["frontier", "--preset", "smoke", "--threads", "1"]
MEASURED = [*SMOKE, "--device", "cpu", "--steps", "2", "--workloads", "bp,bp-accum"]


def only_frontier(folder):
    (path,) = folder.glob("frontier-*.json")
    return load_frontier(path)


@pytest.fixture(scope="module")
def estimated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimated")
    done = ffprof(
        *SMOKE, "--workloads", "bp,bp-accum", "--micro-batches", "8,32", "--precisions",
        "fp32,bf16", "--out", folder, "--plot", folder / "plot.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    done = ffprof(*MEASURED, "--rounds", 2, "--out", folder)
    assert done.returncode == 0, done.stderr
    return done, only_frontier(folder)


def test_without_a_gpu_the_frontier_is_estimated_and_says_how_to_measure(estimated):
    done, folder = estimated
    record = only_frontier(folder)
    assert record.evidence == "estimated"
    assert {p.id for p in record.points} == {
        f"{name}/{precision}"
        for name in ("bp@32", "bp-accum@8", "bp-accum@32")
        for precision in ("fp32", "bf16")
    }
    assert not any(p.trials for p in record.points)
    assert all(p.guess.fit == "fits" for p in record.points)
    assert sum(p.best for p in record.points) == 1
    assert record.budget.total_bytes
    assert "unless --device cpu" in done.stdout
    assert "Frontier: preset smoke, estimated" in done.stdout
    assert not list(folder.glob("audit-*"))
    assert not list(folder.glob(".*"))
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_micro_batch_of_the_whole_batch_is_the_full_batch(estimated):
    _, folder = estimated
    points = {p.id: p for p in only_frontier(folder).points}
    whole, cut = points["bp@32/fp32"], points["bp-accum@32/fp32"]
    assert (whole.guess, whole.on_frontier) == (cut.guess, True)
    assert (cut.standing, cut.because) == ("dominated", "bp@32/fp32")


def test_the_file_can_be_reported_again_in_every_form(estimated):
    done, folder = estimated
    assert reported(folder) == done.stdout
    text = ffprof("report", folder, "-f", "markdown").stdout
    assert text.startswith("# Frontier: preset smoke, estimated\n")
    found = json.loads(ffprof("report", folder, "-f", "json").stdout)
    assert found["kind"] == "frontier"


def test_a_measured_frontier_measures_what_matters(measured):
    done, record = measured
    points = {p.id: p for p in record.points}
    assert len(points) == 6
    assert record.evidence == "measured (cpu)"
    best = [p for p in record.points if p.best]
    assert len(best) == 1
    assert len(best[0].trials) == 2
    assert len({t.id for p in record.points for t in p.trials}) > 3
    assert 0 < record.spent_seconds < record.all_seconds
    # Either of the two that do the same work is left out because of the other, unless what a busy
    # machine made of their speeds left it open; that it is, is tested on figures that are given.
    twins = points["bp@32"], points["bp-accum@32"]
    assert any(p.trials for p in twins)
    assert all(p.trials or p.standing == "dominated" for p in twins)
    assert "measured" in done.stdout


def test_memory_that_was_forecast_is_what_trials_measure_to_the_byte(measured):
    _, record = measured
    known = [p for p in record.points if p.trials]
    assert len(known) >= 3
    for point in known:
        assert {t.memory.live_tensor_peak_bytes for t in point.trials} == {point.guess.memory_bytes}


def test_all_points_are_measured_in_all_rounds_if_asked(tmp_path):
    done = ffprof(
        *MEASURED, "--micro-batches", "8,16", "--rounds", 2, "--all-points", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    record = only_frontier(tmp_path)
    assert [len(p.trials) for p in record.points] == [2, 2, 2]
    assert record.spent_seconds == pytest.approx(record.all_seconds, rel=0.5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--micro-batches", "5"], "5 does not divide the batch of 32; divisors are 1, 2, 4"),
        (["--micro-batches", "4,x"], "'x' is not a size"),
        (["--micro-batches", ","], "names no size"),
        (["--micro-batches", "0"], "'0' is not a size"),
        (["--precisions", "fp8"], "'fp8' is not known; known are: fp32, bf16, fp16"),
        (["--memory-formats", ""], "nothing is named"),
        (["--workloads", "nothing"], "unknown workload"),
        (["--card", "RTX 4060", "--gpu-mem", "8GB"], "both name a budget"),
        (["--batch", "0"], "--batch"),
    ],
)
def test_bad_words_are_one_line_and_nothing_is_written(tmp_path, words, said):
    done = ffprof(*SMOKE, *words, "--out", tmp_path / "out")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ffprof: error: ")
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_batch_that_the_micro_batch_does_not_divide_has_sizes_of_its_own(tmp_path):
    done = ffprof(
        *SMOKE, "--batch", 6, "--device", "estimate", "--workloads", "bp-accum", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [p.micro_batch for p in only_frontier(tmp_path).points] == [1, 2, 6]


def test_no_time_means_no_figure_and_no_file(tmp_path):
    done = ffprof(*MEASURED, "--run-limit", 0.1, "--out", tmp_path)
    assert done.returncode == 3
    assert "stopped early: the run's time limit is over" in done.stderr
    assert not list(tmp_path.glob("*.json"))


def test_interrupted_it_keeps_what_it_has(tmp_path):
    running = started(*MEASURED, "--all-points", "--rounds", 50, "--out", tmp_path)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("frontier-*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=200)
    assert running.returncode == 130
    record = only_frontier(tmp_path)
    assert record.stopped == "interrupted"
    assert any(p.trials for p in record.points)
    assert "stopped early: interrupted" in out
    assert "Traceback" not in err


def test_a_file_of_ones_own_takes_part(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch.nn.functional as F\nfrom torch import nn\n"
        "from ffprof import register_workload\n\n\n"
        '@register_workload(summary="linear", accumulates=True)\n'
        "class Linear(nn.Module):\n"
        "    def __init__(self, recipe, backbone_state):\n"
        "        super().__init__()\n"
        "        pixels = recipe.channels * recipe.image_size**2\n"
        "        self.net = nn.Sequential(nn.Flatten(), nn.Linear(pixels, recipe.classes))\n\n"
        "    def accumulate(self, images, labels, weight, backward):\n"
        "        loss = F.cross_entropy(self.net(images), labels)\n"
        "        backward(loss)\n"
        "        return loss.detach()\n"
    )
    done = ffprof(
        *SMOKE, "--device", "cpu", "--steps", 2, "--rounds", 1, "--workload-file", file,
        "--workloads", "linear", "--micro-batches", "8,32", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_frontier(tmp_path / "out")
    assert {p.id for p in record.points} == {"linear@8", "linear@32"}
    assert all(p.guess.memory_bytes for p in record.points)
    assert any(p.best for p in record.points)
