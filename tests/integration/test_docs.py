"""What the documentation says is true."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import ffprof, only_record, outcomes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "results" / "README.md", ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(page):
    text = page.read_text()
    assert not re.findall(r"@[A-Z]+@|TODO|FIXME", text)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_opens_with_the_two_commands():
    blocks = re.findall(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks[0].split("\n")[:2] == ["make audit", "make test"]


def test_presets_and_backbones_named_in_the_readme_exist():
    listed = ffprof("workloads").stdout
    for name in re.findall(r"--preset (\w+)", (ROOT / "README.md").read_text()):
        assert name in listed


def plug_in(folder):
    """Writes the files of docs/workloads.md and has pip install them, as its reader would."""
    text = (ROOT / "docs" / "workloads.md").read_text()
    files = dict(re.findall(r"`([\w/]+\.\w+)`[^`\n]*:\n\n```\w+\n(.*?)```", text, re.S))
    assert files.keys() == {
        "pyproject.toml",
        "mymethod/description.py",
        "mymethod/network.py",
    }
    (folder / "source" / "mymethod").mkdir(parents=True)
    (folder / "source" / "mymethod" / "__init__.py").write_text("")
    for name, content in files.items():
        (folder / "source" / name).write_text(content)
    # Without a network: setuptools, which builds it, is what torch itself requires.
    pip = ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    pip += ["--no-build-isolation", "--target", folder / "site", folder / "source"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, pip)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}


@pytest.mark.slow
def test_the_plug_in_of_the_documentation_works(tmp_path):
    env = plug_in(tmp_path / "plug-in")
    assert "bp-half" in ffprof("workloads", env=env).stdout
    done = ffprof(
        "run", "--preset", "half", "--workloads", "bp,bp-accum,bp-half", "--rounds", 1,
        "--steps", 2, "--threads", 1, "--device", "cpu", "--out", tmp_path / "out", "--full",
        env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path / "out")
    assert outcomes(record)["bp-half"] == "ok"
    assert {v.claim for v in record.verdicts} == {"half-memory", "half-throughput"}
    facts = {name: row.facts for name, row in record.ledger.items()}
    assert facts["bp-half"]["backbone"] == "shared"
    assert facts["bp-half"]["parameters_with_gradient"] < facts["bp"]["parameters_with_gradient"]
    assert re.search(r"^bp-half +[\d,]+ +", done.stdout.partition("Differences")[2], re.M)


ESTIMATES = ("estimating", "estimate_step", "eight_gb")


def estimating(kind):
    """The blocks of these pages of one kind, each with the output that follows it."""
    text = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ESTIMATES[:2])
    return re.findall(rf"```{kind}\n(.*?)```\n\n```\n(.*?)```", text, re.S)


def test_the_steps_of_the_documentation_are_estimated_as_it_says(tmp_path):
    blocks = estimating("python")
    assert len(blocks) == 3
    paths = [tmp_path / f"step_{number}.py" for number in range(len(blocks))]
    for path, (code, _) in zip(paths, blocks, strict=True):
        path.write_text(code)
    # One after the other in one process: most of the time goes into importing torch.
    one_by_one = "import runpy, sys\nfor path in sys.argv[1:]:\n"
    one_by_one += "    runpy.run_path(path, run_name='__main__')\n    print('\\f')\n"
    done = subprocess.run(
        [sys.executable, "-c", one_by_one, *paths], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *printed, _ = done.stdout.split("\f\n")
    for shown, (_, told) in zip(printed, blocks, strict=True):
        # Figures are those of the newest torch; that they are there is what every one is held to.
        assert re.sub(r"\d+", "0", shown).split()[:3] == re.sub(r"\d+", "0", told).split()[:3]
        assert len(shown.splitlines()) == len(told.splitlines())


def test_the_commands_of_the_documentation_are_accepted():
    """Run on a smaller recipe: what they print is tested elsewhere."""
    text = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ESTIMATES)
    commands = re.findall(r"^ffprof (estimate.*)$", text, re.M)
    assert len(commands) == 21
    shown = ffprof("estimate", "--help").stdout
    for words in commands:
        for option in re.findall(r"--[a-z-]+", words):
            assert option in shown


def test_the_page_of_eight_gigabytes_says_what_its_commands_print(tmp_path):
    text = (ROOT / "docs" / "eight_gb.md").read_text()
    found = r"```\n(ffprof estimate torchvision[^\n]*)\n```(?:\n\n```\n(.*?)```)?"
    parts = re.findall(found, text, re.S)
    assert len(parts) == 5
    for command, told in parts:
        done = ffprof(*shlex.split(command)[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        # Figures are those of the newest torch and torchvision; others have other operators.
        for line in told.splitlines():
            assert line.split("  ")[0].strip() in done.stdout
    assert "<svg" in (tmp_path / "eight_gb.svg").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda p: p.name)
def test_recorded_results_are_valid_whole_and_listed(path):
    from ffprof import load
    from ffprof.analysis.verdicts import judge

    record = load(path)
    assert record.missing() == []
    assert record.verdicts == judge(record)
    assert path.name in (path.parent / "README.md").read_text()
    if path.name in ("audit-small-cpu.json", "audit-imagenet100-8gb-estimated.json"):
        shown = ffprof("report", path).stdout
        shown = "\n".join(line.rstrip() for line in shown.splitlines())
        table = re.findall(r"workload  .*?\ndetails: ffprof report ", shown, re.S)[0]
        readme = "\n".join(map(str.rstrip, (ROOT / "README.md").read_text().splitlines()))
        assert table in readme
