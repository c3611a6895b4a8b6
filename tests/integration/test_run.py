"""The audit as a user runs it: real command, real processes, real images."""

import json
import re

import jsonschema
import pytest
from command import TINY, by_workload, ffprof, only_record, outcomes, reported, started

from ffprof.analysis.verdicts import judge
from ffprof.units import format_bytes
from ffprof.workload import workload_names

CORE = {
    "bp",
    "bp-accum",
    "bp-ckpt",
    "bp-ckpt-accum",
    "bp-deepsup",
    "dtg-ff",
    "dtg-ff-streamed",
    "dtg-ff-streamed-accum",
}
REFERENCES = {"bp", "bp-deepsup", "dtg-ff"}  # rows that are their method's own full batch

# The preset as it is, but for threads: tests take turns on the processors.
ONE_THREAD = ["--preset", "smoke", "--device", "cpu", "--threads", "1"]

# In parts of two images, rounding alone makes the smallest gradients of a local method differ.
LARGER = ["--batch", "32", "--micro-batch", "8"]

# One of each: a full batch, a cut one, recomputation, a local method. The schedules are proved on
# every backbone by unit tests.
FOUR = ["--workloads", "bp,bp-ckpt-accum,dtg-ff,dtg-ff-streamed-accum"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    done = ffprof("run", *ONE_THREAD, "--out", folder)
    assert done.returncode == 0, done.stderr
    return done, only_record(folder), folder


def test_smoke_writes_one_valid_record_with_every_workload_ok(smoke, pytestconfig):
    done, record, folder = smoke
    assert len(list(folder.iterdir())) == 1
    assert set(record.plan.workloads) == CORE
    assert len(record.trials) == 24
    assert {t.outcome for t in record.trials} == {"ok"}
    assert record.missing() == []
    assert record.evidence == "measured (cpu)"
    schema = json.loads((pytestconfig.rootpath / "docs" / "record.schema.json").read_text())
    jsonschema.validate(json.loads(record.model_dump_json()), schema)
    assert "Traceback" not in done.stderr


def test_the_table_is_right_when_read_against_the_json(smoke):
    done, record, _ = smoke
    row = re.compile(
        r"(?P<name>\S+) +ok +(?P<memory>[\d.,]+ [KM]iB) +(?P<more>[\d.]+)x +(?P<rate>[\d.,]+) +"
        r"(?P<faster>[\d.]+)x +[\d.]+ -> (?P<loss>[\d.]+)"
    )
    found = {line["name"]: line for text in done.stdout.splitlines() if (line := row.match(text))}
    assert found.keys() == CORE
    peaks, rates = {}, {}
    for name, line in found.items():
        trials = [t for t in record.trials if t.workload == name]
        (peaks[name],) = {t.memory.live_tensor_peak_bytes for t in trials}
        assert line["memory"] == format_bytes(peaks[name])
        rates[name] = [t.throughput.images_per_second for t in trials]
        middle = sorted(rates[name])[1]
        assert float(line["rate"].replace(",", "")) == pytest.approx(middle, rel=0.006)
        losses = sorted(t.loss.last for t in trials)
        assert float(line["loss"]) == pytest.approx(losses[1], abs=0.006)
    (smallest,) = [name for name, line in found.items() if line["more"] == "1.00"][:1]
    assert f"ratios: to {smallest}, the smallest row of family bp here" in " ".join(
        done.stdout.split()
    )
    for name, line in found.items():
        assert float(line["more"]) == pytest.approx(peaks[name] / peaks[smallest], abs=0.006)
        pairs = sorted(a / b for a, b in zip(rates[name], rates[smallest], strict=True))
        assert float(line["faster"]) == pytest.approx(pairs[1], abs=0.006)


def test_verdicts_follow_from_the_trials(smoke):
    done, record, folder = smoke
    assert record.verdicts == judge(record)
    assert len(record.verdicts) == 6
    assert "Verdicts" not in done.stdout
    flowed = " ".join(ffprof("report", folder, "--full").stdout.split())
    for verdict in record.verdicts:
        assert verdict.sentence in flowed


def test_step_times_make_the_rate(smoke):
    _, record, _ = smoke
    for trial in record.trials:
        steps = trial.throughput.step_seconds
        assert trial.throughput.images_per_second == pytest.approx(
            record.recipe.batch * len(steps) / sum(steps)
        )
        assert record.recipe.min_steps <= len(steps) <= record.recipe.steps
        assert 0 <= trial.throughput.data_wait_seconds < sum(steps)


def test_memory_repeats_to_the_byte_between_rounds_and_orders_as_it_must(smoke):
    _, record, _ = smoke
    peaks = by_workload(record, lambda trial: trial.memory.live_tensor_peak_bytes)
    assert all(len(found) == 1 for found in peaks.values())
    (bp,), (cut,) = peaks["bp"], peaks["bp-accum"]
    (whole,), (streamed,) = peaks["dtg-ff"], peaks["dtg-ff-streamed"]
    (checkpointed,) = peaks["bp-ckpt"]
    assert cut < bp
    assert checkpointed < bp
    assert streamed < whole


def test_equal_schedules_see_equal_losses(smoke):
    """Streamed and monolithic are the same training, so their losses are the same numbers."""
    _, record, _ = smoke
    first = by_workload(record, lambda trial: trial.loss.first)
    assert all(len(found) == 1 for found in first.values())
    assert first["dtg-ff"] == first["dtg-ff-streamed"]
    assert first["bp"] == first["bp-ckpt"]
    assert all(t.loss.fell for t in record.trials)


def test_the_ledger_holds_facts_and_proofs(smoke):
    _, record, _ = smoke
    assert record.ledger.keys() == CORE
    # As the environment of the tests says.
    assert {row.facts["waiting_threads"] for row in record.ledger.values()} == {"sleep"}
    digests = {row.facts["backbone_digest"] for row in record.ledger.values()}
    assert len(digests) == 1
    proofs = {name: row.gradient for name, row in record.ledger.items() if row.gradient}
    assert proofs.keys() == CORE - REFERENCES
    assert proofs["dtg-ff-streamed"].equal
    assert proofs["dtg-ff-streamed"].max_relative_difference == 0.0
    assert proofs["bp-ckpt"].max_relative_difference == 0.0
    assert proofs["bp-accum"].equal is False  # batch statistics of micro-batches
    assert proofs["bp-accum"].relative_difference > 1e-3


def test_rounds_are_shuffled_and_interleaved(smoke):
    _, record, _ = smoke
    orders = [[t.workload for t in record.trials if t.round == r] for r in range(3)]
    assert all(set(order) == CORE for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert [t.round for t in record.trials] == sorted(t.round for t in record.trials)


def test_quiet_when_not_a_terminal(smoke):
    done, _, folder = smoke
    assert re.fullmatch(r"written to (\S+\.json)\ndetails: ffprof report \1 --full\n", done.stderr)
    assert str(folder) in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_the_report_can_be_made_again_from_the_file_alone(smoke):
    done, record, folder = smoke
    assert reported(folder) == done.stdout
    markdown = ffprof("report", folder, "--format", "markdown")
    assert markdown.stdout.startswith("# Systems audit: preset smoke, measured (cpu)")
    data = ffprof("report", folder, "-f", "json")
    again = type(record).model_validate_json(data.stdout)
    assert again.digest  # it is the file's
    assert again.model_copy(update={"digest": record.digest}) == record


@pytest.mark.parametrize("width", [40, 60])
def test_narrow_terminals_get_whole_figures(smoke, width):
    import os

    done, _, folder = smoke
    narrow = ffprof("report", folder, env={**os.environ, "COLUMNS": str(width)})
    (row,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["bp-accum"]]
    # But for the columns that are not shown there.
    figures = row.partition(" -> ")[0].rsplit(maxsplit=1)[0]
    assert " ".join(figures.split()) in " ".join(narrow.stdout.split())


def test_two_audits_in_one_folder_keep_both_records(tmp_path):
    words = ["run", "--preset", "smoke", "--device", "cpu", "--workloads", "bp", "--rounds", "1"]
    both = [started(*words, "--out", tmp_path) for _ in range(2)]
    assert [process.wait(timeout=200) for process in both] == [0, 0]
    assert len(list(tmp_path.glob("audit-*.json"))) == 2


@pytest.mark.parametrize("words", [["workloads"], ["report", "-f", "json"], ["report"]])
def test_a_reader_that_stops_reading_is_no_failure(smoke, words):
    import subprocess
    import sys

    _, _, folder = smoke
    where = f" {folder}" if words[0] == "report" else ""
    done = subprocess.run(
        f"{sys.executable} -m ffprof {' '.join(words)}{where} | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_a_full_disk_is_one_line(smoke):
    _, _, folder = smoke
    with open("/dev/full", "w") as full:  # noqa: PTH123
        import subprocess
        import sys

        done = subprocess.run(
            [sys.executable, "-m", "ffprof", "report", str(folder)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_pipe_is_no_error(smoke):
    import subprocess
    import sys

    _, _, folder = smoke
    done = subprocess.run(
        f"{sys.executable} -m ffprof report {folder} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("Systems audit")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        ["--norm", "group", "--backbone", "flat-2-4", "--image-size", "8", *LARGER],
        [
            "--backbone",
            "vgg11",
            "--width",
            "0.05",
            "--image-size",
            "32",
            "--precision",
            "bf16",
            *FOUR,
        ],
        [
            "--backbone",
            "vgg16",
            "--width",
            "0.02",
            "--image-size",
            "32",
            "--data",
            "synthetic",
            *FOUR,
        ],
        ["--backbone", "resnet18", "--width", "0.05", "--precision", "fp16", *FOUR],
    ],
)
def test_other_recipes(words, tmp_path):
    done = ffprof("run", *TINY, "--rounds", 1, *words, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path)
    assert set(outcomes(record).values()) == {"ok"}
    if "group" in words:
        proofs = {name: row.gradient for name, row in record.ledger.items() if row.gradient}
        assert proofs.keys() == CORE - REFERENCES
        assert all(proof.equal for proof in proofs.values())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_workload_is_ok_in_every_precision(precision, tmp_path):
    words = ["--workloads", "all", "--precision", precision, "--rounds", 1]
    words += ["--width", 0.05, "--batch", 4, "--micro-batch", 2]
    done = ffprof("run", *TINY, *words, "--out", tmp_path, timeout=280)
    record = only_record(tmp_path)
    found = outcomes(record)
    assert len(found) == len(workload_names())
    refused = {n for n, outcome in found.items() if outcome != "ok"}
    assert refused == ({"bp-fused-step"} if precision == "fp16" else set()), done.stdout
    proofs = {name: row.gradient for name, row in record.ledger.items() if row.gradient}
    assert {n for n, p in proofs.items() if p.equal is not True} == {
        n for n in proofs if n.endswith("-accum")
    }


def test_two_runs_with_one_seed_do_the_same_training(smoke, tmp_path):
    ffprof("run", *ONE_THREAD, "--workloads", "bp,dtg-ff", "--rounds", 1, "--out", tmp_path)
    _, first, _ = smoke
    second = only_record(tmp_path)
    assert first.recipe_hash == second.recipe_hash
    for figure in (lambda t: t.loss.first, lambda t: t.memory.live_tensor_peak_bytes):
        before, after = by_workload(first, figure), by_workload(second, figure)
        assert after == {name: before[name] for name in ("bp", "dtg-ff")}


def test_workloads_lists_what_can_be_run():
    done = ffprof("workloads")
    assert done.returncode == 0
    for name in (*CORE, "smoke", "small", "cifar", "imagenet100", "CUDA"):
        assert name in done.stdout


def test_help_and_version():
    assert "run" in ffprof("--help").stdout
    assert "--gpu-mem" in ffprof("run", "--help").stdout
    assert re.fullmatch(r"ffprof \d+\.\d+\.\d+\n", ffprof("--version").stdout)
