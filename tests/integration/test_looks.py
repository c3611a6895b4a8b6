"""``ffprof run --looks``: further rounds only while they may decide something."""

import pytest
from command import TINY, ffprof, only_record

from ffprof.compare.looks import LOOKS


def test_rounds_are_taken_until_a_claim_is_decided_or_looks_end(tmp_path):
    words = ["--workloads", "bp-accum,dtg-ff", "--looks", "--out", tmp_path]
    done = ffprof("run", *TINY, *words)
    assert done.returncode == 0, done.stderr
    found = only_record(tmp_path)
    assert found.plan.rounds in LOOKS
    assert not found.missing()
    (speed,) = [v for v in found.verdicts if v.metric == "throughput"]
    assert speed.rounds == found.plan.rounds
    if speed.finding == "inconclusive":
        assert found.plan.rounds == LOOKS[-1]
    raised = [note for note in found.notes if "was undecided after" in note]
    assert len(raised) == LOOKS.index(found.plan.rounds)


def test_further_rounds_follow_an_undecided_look(tmp_path, monkeypatch):
    """Whatever the machine's noise: a look that is said to be undecided is followed by another."""
    from types import SimpleNamespace

    from records import claim, record, trial

    from ffprof.audit.request import Outcome, Request
    from ffprof.cli import running

    asked, decided = [], []

    def audit(request, progress):
        asked.append(request.record.plan.rounds)
        speeds = [100 + 40 * (-1) ** r for r in range(asked[-1])]
        if asked[-1] in decided:
            speeds = [200.0] * asked[-1]
        trials = [trial("a", r, speed=s) for r, s in enumerate(speeds)]
        trials += [trial("b", r) for r in range(asked[-1])]
        made = record(trials, claims=[claim("a", "b", "throughput")])
        return Outcome(record=made.model_copy(update={"notes": request.record.notes}))

    monkeypatch.setattr(running, "run_audit", audit)
    start = record([trial("a", 0), trial("b", 0)], rounds=5, claims=[claim("a", "b", "throughput")])
    request = Request(
        record=start, workloads=(), device="cpu", path=tmp_path / "x.json",
        context=SimpleNamespace(), judge=lambda record: (),
    )  # fmt: skip
    for at, rounds in ((5, [5]), (9, [5, 9]), (0, [5, 9, 15])):
        asked.clear()
        decided[:] = [at]
        outcome = running._run(request, looks=True)
        assert asked == rounds
        assert len(outcome.record.notes) == len(rounds) - 1
    asked.clear()
    running._run(request, looks=False)
    assert asked == [5]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rounds", "9"], "--looks and --rounds both say"),
        (["--resume", "x"], "raise --rounds to the next look"),
        (["--max-batch"], "--looks is for audits"),
    ],
)
def test_what_cannot_be_meant(words, told):
    done = ffprof("run", "--looks", *words)
    assert done.returncode == 2
    assert told in done.stderr
