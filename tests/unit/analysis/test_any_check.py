"""Any two valid records can be checked and told of, or are refused in one line."""

import json
from io import StringIO

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import record, trial
from rich.console import Console

from ffprof.analysis.gates.check import CheckOptions, check
from ffprof.analysis.gates.result import BaselineCheck
from ffprof.analysis.gates.thresholds import Thresholds
from ffprof.errors import FfprofError
from ffprof.records.audit import (
    Budget,
    Debit,
    LedgerRow,
    Loss,
    Memory,
    Record,
    Throughput,
    Uncapped,
)
from ffprof.report.check import checked_document
from ffprof.report.exporters.check import (
    checks_json,
    checks_markdown,
    code_of,
    github_lines,
    github_summary,
)
from ffprof.report.exporters.terminal import print_document

BYTES = st.integers(0, 2**63 - 1) | st.sampled_from([0, 1, 2**20, 2**63 - 1])
MAYBE = st.none() | BYTES
NAMES = ("one", "two", "\x1b[1m::error::|", "@x ##[y] <b>")
FACTS = (
    st.none() | st.booleans() | st.integers(-5, 10**40) | st.floats(-1e9, 1e9) | st.text(max_size=5)
)


@st.composite
def memories(draw, estimated):
    parts = {
        name: draw(MAYBE)
        for name in (
            "allocated_peak_bytes", "reserved_peak_bytes", "cold_reserved_peak_bytes",
            "process_peak_bytes", "live_tensor_peak_bytes",
        )
    }  # fmt: skip
    parts["capped"] = draw(st.none() | st.booleans())
    if estimated:
        parts["fit"] = draw(st.sampled_from([None, "fits", "too close to call", "does not fit"]))
        parts["process_range_bytes"] = draw(st.none() | st.tuples(BYTES, BYTES))
    return Memory(**parts)


@st.composite
def records(draw, evidence):
    device = "cpu" if "cpu" in evidence else "cuda"
    rounds = draw(st.integers(1, 6))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    trials = []
    for number in range(rounds):
        for name in names:
            if draw(st.integers(0, 9)) == 0:
                continue
            kind = st.sampled_from(["ok"] * 6 + ["oom", "timeout", "crashed", "refused"])
            outcome = draw(kind)
            speed = draw(st.floats(1e-9, 1e15) | st.just(100.0))
            bare = trial(name, number, outcome=outcome, device=device, evidence=evidence)
            changed = {"memory": draw(memories(evidence == "estimated"))}
            changed["message"] = draw(st.sampled_from(["", "it %0A\nbroke"]))
            if outcome == "ok":
                changed["throughput"] = Throughput(
                    images_per_second=speed, step_seconds=(1.0,), data_wait_seconds=None
                )
                changed["loss"] = draw(
                    st.none()
                    | st.builds(
                        Loss,
                        first=st.none() | st.just(2.0),
                        last=st.none() | st.just(1.0) | st.just(3.0),
                        finite=st.booleans(),
                        steps=st.just(3),
                    )
                )
            if draw(st.booleans()):
                changed["debit"] = Debit(
                    context_bytes=draw(BYTES), step_bytes=draw(MAYBE), source="NVML, this process"
                )
            trials.append(bare.model_copy(update=changed))
    made = record(trials, workloads=names, rounds=rounds, judged=False, evidence=evidence)
    ledger = {
        name: LedgerRow(
            facts={"useful_flops": draw(FACTS), "recomputed_flops": draw(FACTS)},
            operators=draw(st.dictionaries(st.text(min_size=1, max_size=3), BYTES, max_size=3)),
            uncapped=draw(
                st.none()
                | st.builds(
                    Uncapped,
                    memory=st.none() | st.builds(Memory, reserved_peak_bytes=MAYBE),
                    message=st.sampled_from(["", "no room"]),
                )
            ),
        )
        for name in names
        if draw(st.booleans())
    }
    budget = Budget(total_bytes=draw(st.sampled_from([None, 2**33])), debit_bytes=draw(MAYBE))
    return made.model_copy(update={"ledger": ledger, "budget": budget})


@st.composite
def checks(draw):
    evidence = draw(st.sampled_from(["measured (cpu)", "measured", "emulated", "estimated"]))
    rules = {"budget": {"memory": "1GiB"}} if draw(st.booleans()) else {}
    if draw(st.integers(0, 4)) == 0:
        rules["throughput"] = {"gate": draw(st.booleans())}
    options = CheckOptions(
        throughput=draw(st.sampled_from([None, "gate", "advice", "off"])),
        machines=draw(st.sampled_from([(), ("cpu is X and was Y",)])),
    )
    return (
        draw(records(evidence)), draw(records(evidence)), Thresholds.model_validate(rules), options
    )  # fmt: skip


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(checks())
def test_any_pair_is_checked_and_told_in_every_format(asked):
    before, after, rules, options = asked
    for one in (before, after):
        assert Record.model_validate_json(one.model_dump_json())
    try:
        result = check(before, after, rules, options)
    except FfprofError as error:
        assert str(error).isprintable()
        return
    found = [
        BaselineCheck(
            baseline_file="b.json",
            current_file="n.json",
            baseline=before,
            current=after,
            result=result,
        )
    ]
    code = code_of(found)
    document = json.loads(checks_json(found))
    assert document["exit_code"] == code
    if after.missing():
        assert code != 0
    if code == 0:
        assert any(
            gate.status in ("passed", "improved")
            and (gate.metric, gate.status) != ("outcome", "passed")
            for gate in result.gates
        )
    assert len(document["gates"]) == len(result.gates)
    texts = [checks_markdown(found, everything=True), github_summary(found), checks_json(found)]
    for width in (40, 160):
        console = Console(file=StringIO(), width=width)
        print_document(checked_document(found[0], everything=True), console)
        texts.append(console.file.getvalue())
    lines = github_lines(found)
    assert all(line.startswith("::") and line.isprintable() for line in lines)
    for text in texts:
        assert "\x1b" not in text
        assert "##[" not in text
        assert not any(line.lstrip().startswith("::") for line in text.splitlines())
    # A workload without any figure of now never counts as passed.
    for name in before.plan.workloads:
        ok = [t for t in after.trials if t.workload == name and (t.outcome == "ok" or t.memory.fit)]
        if not ok:
            statuses = {gate.status for gate in result.gates if gate.workload == name}
            assert "passed" not in statuses
            assert "improved" not in statuses
