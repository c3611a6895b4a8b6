"""docs/ci.md and the workflow name what there is: commands, options, targets, files, thresholds."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from command import ffprof

from ffprof.analysis.gates.thresholds import read_thresholds

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()
WORKFLOW = ROOT / ".github" / "workflows" / "check.yml"
# What a reader types or pastes: blocks, and what stands in the text between backticks.
WRITTEN = "\n".join(re.findall(r"```\w*\n(.*?)```", PAGE, re.S) + re.findall(r"`([^`\n]+)`", PAGE))
COMMANDS = sorted(set(re.findall(r"ffprof (?:run|check) -[^\n]*", WRITTEN + WORKFLOW.read_text())))


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_have_the_options_that_are_written(line):
    words = shlex.split(line)
    told = ffprof(words[1], "--help").stdout
    for word in words[2:]:
        if word.startswith("-"):
            assert re.search(rf"{word}\b", told), word
    values = dict(pairwise(words))
    if "--card" in values:
        assert ffprof("cards", values["--card"]).returncode == 0
    if "--preset" in values:
        assert values["--preset"] in ffprof("workloads").stdout


def test_there_are_commands_of_both_kinds():
    assert {line.split()[1] for line in COMMANDS} == {"run", "check"}
    assert len(COMMANDS) > 6


def test_thresholds_of_the_page_are_read(tmp_path):
    text, exact = blocks("toml")
    path = tmp_path / "thresholds.toml"
    path.write_text(text)
    found = read_thresholds(path)
    assert found.throughput.exclude == 0.2
    assert found.of("mine").budget.memory == 6 * 2**30
    assert found.of("mine").allocated.bytes == 8 * 2**20
    assert not found.operators.gate
    path.write_text(exact)
    assert read_thresholds(path) == read_thresholds(ROOT / "results/baselines/thresholds.toml")


def test_no_line_lets_a_crash_pass():
    """A crashed row is exit code 4, as what cannot be decided is."""
    assert not re.search(r"\|\||\$\?|continue-on-error", PAGE.replace("\\|", "|"))
    assert re.search(r"^\| 4 \|.*\| fails \|$", PAGE, re.M)


def test_the_estimate_of_the_page_is_of_the_preset_that_it_names():
    (preset,) = re.findall(r"estimate is of preset (\w+)", PAGE)
    line = next(one for one in COMMANDS if one.startswith("ffprof run --device estimate"))
    assert "--preset" not in line
    done = ffprof("run", "--device", "estimate", "--dry-run", "--workloads", "bp", "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert preset in done.stdout


@pytest.mark.parametrize(
    "text", [WORKFLOW.read_text(), *blocks("yaml")], ids=lambda text: text.split("\n")[0][:20]
)
def test_workflows_are_laid_out_as_github_reads_them(text):
    found = yaml.safe_load(text)
    if isinstance(found, dict):
        # "on" is a truth value in YAML 1.1; GitHub reads it as a word.
        assert found.keys() == {"name", True, "permissions", "jobs"}
        assert found["permissions"] == {"contents": "read"}
        found = [step for job in found["jobs"].values() for step in job["steps"]]
    assert found
    for step in found:
        assert len({"uses", "run"} & step.keys()) == 1
        assert step.keys() <= {"uses", "run", "with", "name", "id", "if"}


def test_the_workflow_calls_targets_that_there_are():
    makefile = (ROOT / "Makefile").read_text()
    text = WORKFLOW.read_text()
    assert "\t" not in text
    called = re.findall(r"run: make (\w+)", text)
    assert called == re.findall(r"^make (\w+)", (ROOT / ".ci" / "run").read_text(), re.M)
    assert called == ["lint", "docs", "test", "check"]
    for target in called:
        assert re.search(rf"^{target}: \$\((STAMP|DOCS)\)", makefile, re.M)
    (file,) = re.findall(r"cache-dependency-path: (\S+)", text)
    assert (ROOT / file).is_file()
