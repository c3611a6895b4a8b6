import io
import re

import pytest
from records import MIB, claim, record, trial
from rich.console import Console

from ffprof import trials_frame
from ffprof.records.audit import GradientProof, LedgerRow, Record, Throughput
from ffprof.records.recipe import Reference
from ffprof.report.audit import make_document
from ffprof.report.exporters.markdown import render
from ffprof.report.exporters.terminal import print_document


def sample(**changes):
    trials = [trial("bp-accum", r, memory=100 * MIB, speed=100 + r) for r in range(3)]
    trials += [trial("dtg-ff-streamed-accum", r, memory=390 * MIB, speed=97 + r) for r in range(3)]
    trials += [trial("broken", 0, outcome="crashed", message="killed by SIGSEGV")]
    trials += [trial("flat", r, loss=(1.0, 1.5)) for r in range(3)]
    return record(
        trials,
        claims=[claim("dtg-ff-streamed-accum", "bp-accum", "memory")],
        ledger={"bp-accum": {"micro_batch": 4, "x": 1}, "flat": {"micro_batch": 8, "x": 1}},
        references=(
            Reference(
                label="Theirs", source="a paper", memory_text="4.18 GB", images_per_second=157
            ),
        ),
        **changes,
    )


def printed(made, width):
    stream = io.StringIO()
    print_document(make_document(made), Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def markdown(made):
    return render(make_document(made))


def test_the_table_says_what_the_record_says():
    table = make_document(sample()).blocks[0]
    names = [c.name for c in table.columns]
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in table.rows}
    assert list(rows) == ["bp-accum", "dtg-ff-streamed-accum", "broken", "flat"]
    assert rows["bp-accum"]["memory"] == "100 MiB"
    assert rows["bp-accum"]["img/s"] == "101"
    assert rows["bp-accum"]["img/s range"] == "100 to 102"
    assert rows["bp-accum"]["loss"] == "2.00 -> 1.00"
    assert rows["bp-accum"]["evidence"] == "measured (cpu)"
    assert rows["broken"]["outcome"] == "crashed"
    assert rows["broken"]["memory"] == rows["broken"]["img/s"] == "-"
    assert rows["broken"]["rounds"] == "1/3"
    assert rows["flat"]["outcome"] == "ok (!)"


def test_80_columns_are_enough_and_nothing_is_cut():
    text = printed(sample(), 80)
    assert max(map(len, text.splitlines())) <= 80
    for word in ("dtg-ff-streamed-accum", "measured (cpu)", "390 MiB", "broken", "crashed"):
        assert word in text
    assert "…" not in text
    flowed = " ".join(text.split())
    assert "takes 3.90x the memory of bp-accum at 0.97x its throughput" in flowed
    assert "broken: 1 of 3 crashed; killed by SIGSEGV" in flowed
    assert "flat: its loss did not fall; it cannot win a claim" in flowed
    assert "missing trials, 2: round 2 broken, round 3 broken" in flowed
    assert "micro workload batch bp-accum 4 flat 8" in flowed
    assert "Published elsewhere, not measured here" in flowed
    assert "Theirs: 4.18 GB, 157 img/s (a paper)" in flowed


def test_a_wide_terminal_shows_more():
    assert "img/s range" in printed(sample(), 160)
    assert "img/s range" not in printed(sample(), 80)


def test_no_trailing_spaces_in_prose():
    lines = printed(sample(), 80).splitlines()
    prose = [line for line in lines if re.match(r" - |   \S", line)]
    assert prose
    assert all(line == line.rstrip() for line in prose)


def test_memory_that_does_not_repeat_is_said():
    trials = [trial("a", 0, memory=100), trial("a", 1, memory=101)]
    assert "does not repeat to the byte" in printed(record(trials), 200)


def test_markdown_holds_the_same_and_escapes_what_it_must():
    made = sample()
    text = markdown(made)
    blocks = make_document(made).blocks
    tables = [block for block in blocks if block.rows]
    assert text.startswith("# Systems audit")
    assert len(tables) == 2
    assert text.count("|\n") == sum(len(table.rows) + 2 for table in tables)
    for block in blocks:
        assert block.heading in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {len(table.columns) + 1 for table in tables}
    hostile = trial("a", 0, outcome="crashed", message="a | b <script> `x` *y*\nnew | line")
    escaped = markdown(record([hostile]))
    assert "<script" not in escaped.replace("\\<script", "")
    assert "a \\| b" in escaped


def test_markup_in_messages_is_not_interpreted():
    text = printed(record([trial("a", 0, outcome="crashed", message="[bold]x[/nonsense]")]), 200)
    assert "[bold]x[/nonsense]" in text


def test_gradient_proofs_are_told():
    def proof(**changes):
        fields = {
            "reference": "bp",
            "relative_difference": 0.0,
            "max_relative_difference": 0.0,
            "batch": 8,
            "micro_batch": 4,
            "image_size": 16,
            "tolerance": 1e-12,
            "equal": True,
        }
        return LedgerRow(gradient=GradientProof(**(fields | changes)))

    ledger = {
        "bp": proof(),
        "exact": proof(),
        "near": proof(relative_difference=3e-16, max_relative_difference=3.2e-16),
        "far": proof(
            relative_difference=0.03, max_relative_difference=0.4, parameter="w", equal=False
        ),
        "none": proof(relative_difference=None, equal=None, message="not proved: it crashed"),
    }
    made = record([trial("bp", 0)]).model_copy(update={"ledger": ledger})
    text = markdown(made)
    assert "exact: equal to bp exactly" in text
    assert "near: equal to bp to 3e-16" in text
    assert "far: differs from bp by 3.00% of its norm, up to 40.00% in w" in text
    assert "none: not proved: it crashed" in text
    assert "- bp:" not in text


def test_an_empty_audit_can_be_reported():
    made = record([], workloads=("a",), rounds=1)
    assert "missing trials, 1" in printed(made, 80)


def test_the_frame_has_one_row_a_trial_with_units():
    made = sample()
    frame = trials_frame(made)
    assert len(frame) == len(made.trials)
    assert frame["memory.live_tensor_peak_bytes"].max() == 390 * MIB
    assert set(frame["evidence"]) == {"measured (cpu)"}
    assert frame.groupby("workload")["throughput.images_per_second"].median()["bp-accum"] == 101


def test_rows_that_wait_for_their_data_are_told_in_one_line():
    def waiting(name, seconds):
        speed = Throughput(
            images_per_second=8.0, step_seconds=(0.5, 0.5), data_wait_seconds=seconds
        )
        return trial(name, 0, throughput=speed)

    rows = [waiting("bp", 0.4), waiting("bp-accum", 0.09), waiting("dtg-ff", 0.11)]
    text = markdown(record(rows, data="imagefolder", data_root="/x"))
    (line,) = [line for line in text.splitlines() if "waiting for data" in line]
    assert "bp 40%, dtg-ff 11%" in line.replace("\\", "")
    assert "--data-workers" in line
    # Data in memory has no loader: short steps only look as if they waited.
    assert "waiting for data" not in markdown(record(rows))


def on_null_device(**more):
    claims = [claim("a", "b", metric) for metric in ("memory", "throughput")]
    bytes_of = {"a": 60 * MIB, "b": 100 * MIB}
    trials = [
        trial(
            name,
            0,
            device="cuda",
            evidence="emulated",
            memory_parts={"allocated_peak_bytes": size, "reserved_peak_bytes": 2 * size},
            throughput=None,
            loss=None,
        )
        for name, size in bytes_of.items()
    ]
    machine = {"null_device": True, "gpu": "NVIDIA GeForce RTX 4060"}
    return record(trials, claims=claims, evidence="emulated", machine=machine, **more)


def test_on_a_null_device_memory_is_judged_and_nothing_else_is_shown():
    made = on_null_device()
    memory, speed = made.verdicts
    assert (memory.supported, memory.finding) == (True, "lower")
    assert memory.sentence == (
        "a takes 0.60x the memory of b, 0.60x reserved: the memory claim is supported"
    )
    assert (speed.supported, speed.finding) == (None, "not comparable")
    assert speed.sentence.endswith("a null device has no speeds")
    text = printed(made, 80)
    assert "no GPU: CUDA code of torch 2.14.1 on a null device, GeForce RTX 4060" in text
    for absent in ("img/s", "J/img", "->", "reports no loss", "(!)"):
        assert absent not in text
    assert "a needs 0.60 times the memory of b: supported" in text
    assert "reserved" in next(line for line in text.splitlines() if "outcome" in line)
    Record.model_validate(made.model_dump())


def test_only_there_may_a_trial_that_is_ok_have_no_speed():
    made = on_null_device()
    machine = made.machine.model_copy(update={"null_device": False})
    with pytest.raises(ValueError, match="has outcome ok and no throughput"):
        Record.model_validate({**made.model_dump(), "machine": machine})
