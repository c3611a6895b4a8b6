"""On a real GPU: the gate against a baseline of the same GPU, a calibration, operator counts."""

import json

import pytest
from command import ffprof, only_record
from null_words import HOST_LOSS, ON_NULL, words

pytestmark = pytest.mark.gpu

ROWS = words("bp,bp-accum,dtg-ff", "bp-accum,host-loss")
FILES = words([], HOST_LOSS)
PRESET = words("small", "smoke")
SMALL = ["--preset", PRESET, "--device", "cuda", "--steps", words(10, 3)]
ROUNDS = words(5, 1)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baseline")
    done = ffprof(
        "run", *SMALL, *FILES, "--workloads", ROWS, "--rounds", ROUNDS, "--out", folder, timeout=280
    )
    assert done.returncode == 0, done.stderr
    only_record(folder)
    return next(folder.glob("audit-*.json"))


def test_what_has_not_changed_does_not_regress(baseline):
    done = ffprof("check", "--baseline", baseline, *FILES, "--format", "json", timeout=280)
    assert done.returncode in (0, 4), done.stdout + done.stderr
    gates = json.loads(done.stdout)["gates"]
    by_metric = {}
    for gate in gates:
        by_metric.setdefault(gate["metric"], set()).add(gate["status"])
    for metric in ("outcome", "allocated", "useful_flops", "operators"):
        assert by_metric[metric] == {"passed"}, by_metric
    # One GPU, known by its UUID: images a second are judged here, given rounds enough.
    judged = words({"passed", "inconclusive", "improved"}, set())
    assert by_metric.get("absolute_throughput", set()) <= judged
    assert by_metric.get("throughput", set()) <= judged
    assert ON_NULL or {"throughput", "absolute_throughput"} <= set(by_metric)


def test_operators_of_a_step_are_those_of_its_estimate(baseline, tmp_path):
    """The estimate's trace dispatches as CUDA does, so the counts are the same."""
    done = ffprof(
        "run", "--preset", PRESET, "--device", "estimate", *FILES, "--workloads", ROWS,
        "--out", tmp_path, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    from ffprof import load

    ours, theirs = load(baseline).ledger, only_record(tmp_path).ledger
    for name in ROWS.split(","):
        if name == "host-loss":
            continue  # its loss is no tensor
        assert ours[name].operators == theirs[name].operators, name


def test_a_calibration_on_a_gpu(tmp_path):
    done = ffprof(
        "calibrate", *SMALL, "--workloads", words("bp,dtg-ff", "bp"), "--rounds", 6,
        "--out", tmp_path,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("calibration-*.json")
    found = json.loads(path.read_text())
    assert found["machine"]["gpu_uuid"]
    assert ffprof("report", path).returncode == 0
