"""The public names: what there is, what it costs to import, and how results print themselves."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from records import record, trial

import ffprof
from ffprof import api
from ffprof.errors import FfprofError, RecordError, UsageError
from ffprof.report.document import Block, Column, Document
from ffprof.report.exporters.text import MOST_LINES, render

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
NAMES = {
    "Emulation", "Estimate", "Estimation", "Record", "__version__", "check", "compare", "estimate",
    "learn", "load", "model", "register_step", "register_workload", "run", "trials_frame",
}  # fmt: skip


def test_these_names_and_no_other():
    assert set(dir(ffprof)) == set(ffprof.__all__) == NAMES
    for name in NAMES:  # each is somewhere, as a type checker is told
        assert getattr(ffprof, name).__class__
    with pytest.raises(AttributeError, match="has no attribute 'trails'"):
        getattr(ffprof, "trails")  # noqa: B009


def test_importing_it_imports_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import ffprof; new = set(sys.modules) - before\n"
        "assert new <= {'ffprof', 'ffprof.version', '__future__'}, new\n"
        "assert 'run' in dir(ffprof); ffprof.load, ffprof.run, ffprof.check, ffprof.compare\n"
        "assert not {'torch', 'numpy', 'pandas', 'rich'} & set(sys.modules)"
    )
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    # Without site, which may import what is installed.
    subprocess.run([sys.executable, "-S", "-c", code], check=True, cwd=ROOT, env=environment)


@pytest.mark.parametrize(
    "file", sorted(RESULTS.rglob("*.json")), ids=lambda p: str(p.relative_to(RESULTS))
)
def test_every_result_is_loaded_and_printed_in_a_few_lines(file):
    found = ffprof.load(file)
    lines = str(found).splitlines()
    assert 2 <= len(lines) <= MOST_LINES
    assert repr(found) == f"<ffprof: {lines[0]}>"
    assert found._repr_html_().startswith(f"<div>\n<h3>{lines[0]}")
    assert ffprof.load(str(file)) == found


def test_a_folder_stands_for_its_newest_and_a_wrong_file_is_one_line(tmp_path):
    with pytest.raises(RecordError, match="no result file"):
        ffprof.load(tmp_path)
    (tmp_path / "audit-x.json").write_text("{}")
    with pytest.raises(RecordError) as raised:
        ffprof.load(tmp_path)
    assert len(str(raised.value).splitlines()) == 1


def test_text_is_cut_to_a_few_lines():
    columns = (Column(name="a", numeric=False), Column(name="n"), Column(name="w", wide=True))
    rows = tuple((f"row{i}", str(i), "wide") for i in range(40))
    text = render(Document(title="T", setting=("s",), blocks=(Block(columns=columns, rows=rows),)))
    lines = text.splitlines()
    assert len(lines) == MOST_LINES
    assert lines[:3] == ["T", "a       n", "row0    0"]
    assert lines[-1] == "... and 31 more rows"
    none = Document(title="T", setting=("s",), blocks=(Block(lines=("one", "two")),))
    assert render(none) == "T\ns\none\ntwo"


def two(**more):
    return record([trial(name, r, **more) for name in ("a", "b", "c") for r in range(2)])


def test_records_are_compared_and_checked_without_files():
    made = two()
    found = ffprof.compare(made, made)
    assert found.json["kind"] == "comparison"
    assert "Comparison" in str(found)
    assert "<table>" in found._repr_html_()
    one = ffprof.compare(made, "b", "a")
    assert one.json["kind"] == "verdicts"
    assert str(one).startswith("b against a: ")
    with pytest.raises(UsageError, match="no workload 'nobody'"):
        ffprof.compare(made, "nobody", "a")


def test_a_check_tells_what_got_worse(tmp_path):
    from ffprof.records.store import save

    baseline = tmp_path / "baseline.json"
    save(two(memory=1000), baseline)
    good = ffprof.check(baseline, two(memory=1000))
    assert (good.passed, good.exit_code) == (True, 0)
    bad = ffprof.check(str(baseline), two(memory=10**6))
    assert (bad.passed, bad.exit_code) == (False, 1)
    assert {gate.workload for gate in bad.gates if gate.status == "regressed"} == {"a", "b", "c"}
    assert "regressed" in str(bad)
    made = ffprof.check(baseline, two(memory=10**6), update_baseline=True)
    assert made.passed
    assert ffprof.check(baseline, two(memory=10**6)).passed
    with pytest.raises(FfprofError, match="cannot be read"):
        ffprof.check(baseline, two(), thresholds=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rounds": 0}, "rounds=0): Input should be greater than or equal to 1"),
        ({"rounds": 2.5}, "rounds=2.5"),
        ({"rounds": True}, "rounds=True"),
        ({"time_limit": "soon"}, "time_limit='soon'"),
        ({"run_limit": 0}, "run_limit=0"),
        ({"device": "tpu"}, "Input should be 'auto', 'cuda', 'cpu' or 'estimate'"),
        ({"on_foreign": "kill"}, "Input should be 'warn', 'wait' or 'refuse'"),
        ({"looks": True, "rounds": 9}, "looks and rounds"),
        ({"workloads": "bpp"}, "did you mean bp"),
        ({"workloads": []}, "names no workload"),
        ({"preset": "smok"}, "did you mean smoke?"),
        ({"gpu_mem": "lots"}, "'lots' is not a memory size"),
        ({"card_files": ["none.toml"]}, "none.toml"),
        ({"workload_files": "none.py"}, "there is no workload file none.py"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_before_anything_runs(wrong, told, tmp_path):
    with pytest.raises(FfprofError) as raised:
        ffprof.run(**({"out": tmp_path / "out", "device": "estimate"} | wrong))
    assert told in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_arguments_are_the_options_of_the_commands():
    from ffprof.cli.check import check
    from ffprof.cli.main import make_app

    (command,) = [c for c in make_app(False).registered_commands if c.callback.__name__ == "run"]
    options = set(inspect.signature(command.callback).parameters)
    mine = set(inspect.signature(api.run).parameters)
    shown = {"format", "full", "relative_to"}
    begins_again = {"engine"}  # a program that calls it would
    of_command = {"context", "resume", "max_batch", "max_depth", "dry_run"}
    assert options - mine == of_command | begins_again | shown
    assert mine - options == {"progress"}
    options = {n.replace("_file", "_files") for n in inspect.signature(check).parameters}
    mine = set(inspect.signature(api.check).parameters)
    assert options - mine == {"context", "everything", "format"}
    assert mine - options == {"progress"}
    # Every argument is told of.
    for function in (api.run, api.check, api.compare):
        for name in inspect.signature(function).parameters:
            assert f"        {name}: " in function.__doc__, (function, name)
