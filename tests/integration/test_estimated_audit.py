"""``ffprof run`` without a GPU: what was asked for is estimated, and a small recipe measured."""

import re

import pytest
from command import ffprof, only_record, outcomes

from ffprof import load

ESTIMATE = ["--preset", "smoke", "--device", "estimate"]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    done = ffprof(
        "run", "--preset", "smoke", "--workloads", "bp,bp-accum", "--rounds", 1, "--steps", 2,
        "--threads", 1, "--out", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [load(path) for path in sorted(folder.glob("audit-*.json"))]
    return done, {record.evidence: record for record in records}


def test_both_audits_are_written_and_printed_each_with_its_label(both):
    done, records = both
    assert set(records) == {"estimated", "measured (cpu)"}
    estimated, measured = records["estimated"], records["measured (cpu)"]
    assert (estimated.recipe.preset, measured.recipe.preset) == ("smoke", "small")
    assert estimated.plan.rounds == 1
    out = done.stdout
    first, second = (out.index(f"Systems audit: preset {t}") for t in (
        "smoke, estimated", "small, measured (cpu)"))  # fmt: skip
    assert first < second
    assert "nothing was run" in out
    assert done.stderr.count("written to") == 2


def test_the_last_screen_says_what_both_come_to(both):
    done, records = both
    ends = done.stdout.rstrip("\n").split("\n\n")[-2:]
    for end, evidence in zip(ends, ("estimated", "measured (cpu)"), strict=True):
        title, answer, details = end.split("\n")
        assert title == f"Systems audit: {records[evidence].subject}, {evidence}"
        assert re.fullmatch(r"smallest: bp-accum, .*", answer)  # no claim is about these two
        path = re.fullmatch(r"details: ffprof report (\S+) --full", details)[1]
        assert load(path).evidence == evidence


def test_an_estimated_trial_says_all_that_is_known(both):
    _, records = both
    record = records["estimated"]
    assert record.budget.card == "GeForce RTX 5050"
    assert 0 < record.budget.debit_bytes < record.budget.total_bytes
    assert record.budget.limit_bytes == record.budget.total_bytes - record.budget.debit_bytes
    for trial in record.trials:
        memory, speed = trial.memory, trial.throughput
        assert (trial.outcome, trial.evidence, memory.fit) == ("ok", "estimated", "fits")
        assert 0 < memory.allocated_peak_bytes < memory.reserved_peak_bytes
        low, high = memory.process_range_bytes
        assert memory.reserved_peak_bytes < low < high
        assert memory.expandable_reserved_peak_bytes > 0
        assert memory.host_peak_bytes is None
        assert memory.unread["host_peak_bytes"] == "nothing was run"
        held = memory.breakdown
        assert sum(held.values()) == memory.allocated_peak_bytes
        assert held["parameters_bytes"] > 0 < held["optimizer_state_bytes"]
        slow, fast = speed.images_per_second_range
        assert slow < speed.images_per_second < fast
        assert trial.loss is None
    assert record.verdicts == ()  # of the claims, no challenger is in it


def test_the_measured_audit_has_the_flops_too(both):
    _, records = both
    facts = records["measured (cpu)"].ledger["bp"].facts
    assert facts["useful_flops"] > 0 == facts["recomputed_flops"]


def test_estimates_are_the_same_every_time(both, tmp_path):
    done = ffprof("run", *ESTIMATE, "--workloads", "bp-accum", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (again,) = only_record(tmp_path).trials
    _, records = both
    before = next(t for t in records["estimated"].trials if t.workload == "bp-accum")
    assert again.memory == before.memory
    assert again.throughput == before.throughput


def test_what_does_not_fit_is_said_with_what_it_would_take(tmp_path):
    done = ffprof(
        "run", "--device", "estimate", "--workloads", "bp,bp-accum", "--gpu-mem", "5GB", "--out",
        tmp_path, "--full",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path)
    assert outcomes(record) == {"bp": "oom", "bp-accum": "ok"}
    trial = next(t for t in record.trials if t.workload == "bp")
    assert trial.memory.fit == "does not fit"
    assert trial.memory.allocated_peak_bytes > 4 * 2**30
    assert "estimated to run out of memory" in trial.message
    assert "does not fit" in done.stdout
    # No profiled card is sold with 5GB, so there is no speed.
    assert all(t.throughput is None for t in record.trials)
    assert "no speed is estimated" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--card", "rtx 4060", "--gpu-mem", "8GB"], "both name a budget"),
        (["--card", "rtx 4061"], "did you mean"),
        (["--gpu-mem", "lots"], "not a memory size"),
        (["--batch", "0"], "--batch"),
    ],
)
def test_bad_words_are_one_line(words, said, tmp_path):
    done = ffprof("run", *ESTIMATE, *words, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


OWN = """
import torch
from torch import nn
from ffprof import register_step


@register_step
def plain(device):
    model = nn.Linear(20, 10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        model(torch.randn(8, 20, device=device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


@register_step
def decides(device):
    model = nn.Linear(20, 10).to(device)

    def step():
        loss = model(torch.randn(8, 20, device=device)).mean()
        if loss > 0:
            loss.backward()

    return step
"""


def test_steps_of_ones_own_are_estimated_for_a_card_or_refused_with_their_line(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    done = ffprof(
        "run", *ESTIMATE, "--workload-file", "mine.py", "--workloads", "bp,plain,decides", "--out",
        "out", "--card", "rtx 4060",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path / "out")
    assert record.budget.card == "GeForce RTX 4060"
    assert outcomes(record) == {"bp": "ok", "plain": "ok", "decides": "refused"}
    line = OWN.splitlines().index("        if loss > 0:") + 1
    message = next(t.message for t in record.trials if t.workload == "decides")
    assert "the step branches on a tensor's value" in message
    assert f"mine.py:{line}" in message
    assert record.ledger["plain"].facts["parameters"] == 210


def test_an_estimate_is_made_again_rather_than_resumed(both, tmp_path):
    path = tmp_path / "audit-estimated.json"
    path.write_text(both[1]["estimated"].model_dump_json())
    done = ffprof("run", "--resume", path)
    assert done.returncode == 2
    assert "was estimated, not measured" in done.stderr


def test_a_report_of_an_estimate_needs_no_torch_and_says_what_it_is(both, tmp_path):
    _, records = both
    path = tmp_path / "estimated.json"
    path.write_text(records["estimated"].model_dump_json())
    done = ffprof("report", path, "--format", "markdown")
    assert done.returncode == 0, done.stderr
    assert "all figures estimated" in done.stdout
    assert "| workload | micro | fit | memory | memory ratio | reserved | retries |" in done.stdout


def test_a_dry_run_plans_what_is_measured(tmp_path):
    done = ffprof(
        "run", "--preset", "smoke", "--workloads", "bp", "--dry-run", "--out", tmp_path / "out"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "is estimated for GeForce RTX 5050 first" in done.stdout
    assert not (tmp_path / "out").exists()
