"""``ffprof run --looks``: further rounds only while they may decide something."""

import pytest
from command import TINY, ffprof, only_record

from ffprof.analysis.statistics.looks import LOOKS


def test_rounds_are_taken_until_a_claim_is_decided_or_looks_end(tmp_path):
    words = ["--workloads", "bp-accum,dtg-ff", "--looks", "--out", tmp_path]
    words += ["--batch", 32, "--micro-batch", 8]  # whose loss falls in two steps
    done = ffprof("run", *TINY, *words)
    assert done.returncode == 0, done.stderr
    found = only_record(tmp_path)
    assert found.plan.rounds in LOOKS
    assert not found.missing()
    (speed,) = [v for v in found.verdicts if v.metric == "throughput"]
    assert speed.rounds == found.plan.rounds
    stopped = f"stopped after {found.plan.rounds} rounds"
    if speed.finding == "inconclusive":
        assert found.plan.rounds == LOOKS[-1]
        assert f"{stopped}, the last look: a claim on throughput is undecided" in done.stderr
    else:
        assert f"{stopped}: every claim on throughput is decided" in done.stderr
    raised = [note for note in found.notes if "was undecided after" in note]
    assert len(raised) == LOOKS.index(found.plan.rounds)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rounds", "9"], "--looks and --rounds both say"),
        (["--resume", "x"], "raise --rounds to the next look"),
        (["--max-batch"], "--looks is for audits"),
        (["--device", "estimate"], "--device estimate measures none"),
    ],
)
def test_what_cannot_be_meant(words, told):
    done = ffprof("run", "--looks", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_claim_on_throughput_it_says_why_it_stopped(tmp_path):
    words = ["--workloads", "bp", "--looks", "--out", tmp_path]
    dry = ffprof("run", *TINY, *words, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    said = " ".join(dry.stdout.split())
    assert "1 workload, 5 rounds" in said
    assert "--looks: the plan is of the first 5 rounds" in said
    assert "up to 15 may be taken" in said
    assert list(tmp_path.iterdir()) == []
    done = ffprof("run", *TINY, *words)
    assert done.returncode == 0, done.stderr
    assert only_record(tmp_path).plan.rounds == 5
    assert "stopped after 5 rounds: no claim on throughput here" in done.stderr.splitlines()
