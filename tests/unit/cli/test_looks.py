"""``--looks`` without trials: which rounds follow which verdicts, and what is said at the end."""

from types import SimpleNamespace

import pytest
from records import claim, record, trial

from ffprof.experiments.audit import looks
from ffprof.experiments.campaign import Outcome
from ffprof.experiments.request import Request


def test_further_rounds_follow_an_undecided_look(tmp_path, monkeypatch):
    """Whatever the machine's noise: a look that is said to be undecided is followed by another."""
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

    monkeypatch.setattr(looks, "run_audit", audit)
    start = record([trial("a", 0), trial("b", 0)], rounds=5, claims=[claim("a", "b", "throughput")])
    request = Request(
        record=start, workloads=(), device="cpu", path=tmp_path / "x.json",
        context=SimpleNamespace(),
    )  # fmt: skip
    for at, rounds in ((5, [5]), (9, [5, 9]), (0, [5, 9, 15])):
        asked.clear()
        decided[:] = [at]
        outcome = looks.run_looks(request, lambda: None, looks=True)
        assert asked == rounds
        assert len(outcome.record.notes) == len(rounds) - 1
        ends = (
            "every claim on throughput is decided" if at else "a claim on throughput is undecided"
        )
        assert looks.why_no_more(outcome.record).startswith(f"stopped after {rounds[-1]} rounds")
        assert looks.why_no_more(outcome.record).endswith(ends)
    asked.clear()
    looks.run_looks(request, lambda: None, looks=False)
    assert asked == [5]


@pytest.mark.parametrize(
    ("claims", "marks", "told"),
    [
        ([], {}, "no claim on throughput here"),
        ([claim("a", "b", "memory")], {}, "no claim on throughput here"),
        (
            [claim("a", "b", "throughput")],
            {"outcome": "crashed"},
            "further rounds would decide no claim on throughput",
        ),
    ],
)
def test_why_it_stopped(claims, marks, told):
    trials = [trial("a", r, **marks) for r in range(5)] + [trial("b", r) for r in range(5)]
    made = record(trials, rounds=5, claims=claims)
    assert looks.why_no_more(made) == f"stopped after 5 rounds: {told}"
