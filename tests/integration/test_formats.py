"""``--format`` of commands that measure: what they print is what ``ffprof report`` prints."""

import json

import pytest
from command import ffprof, only_record


@pytest.mark.parametrize("format", ["markdown", "json"])
def test_a_run_prints_its_result_as_report_does(format, tmp_path):
    words = ["--device", "estimate", "--preset", "smoke", "--workloads", "bp", "--out", tmp_path]
    done = ffprof("run", *words, "--format", format)
    assert done.returncode == 0, done.stderr
    again = ffprof("report", tmp_path, "-f", format)
    if format == "json":
        printed, read = json.loads(done.stdout), json.loads(again.stdout)
        assert printed == read
        assert printed["recipe_hash"] == only_record(tmp_path).recipe_hash
    else:
        report, found, command = again.stdout.partition("\n## To make it again\n")
        assert found and "    ffprof run --device estimate" in command
        assert done.stdout == report
        assert done.stdout.startswith("# ")


def test_an_estimate_is_written_as_markdown():
    done = ffprof("estimate", "--preset", "smoke", "--workloads", "bp", "-f", "markdown")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# ")
    assert "| bp |" in done.stdout


def test_workloads_and_presets_for_programs():
    listed = json.loads(ffprof("workloads", "-f", "json").stdout)
    assert {"bp", "bp-accum"} <= {one["id"] for one in listed["workloads"]}
    assert "smoke" in {one["id"] for one in listed["presets"]}
    assert listed["not_usable"] == []
