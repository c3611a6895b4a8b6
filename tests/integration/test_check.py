"""``ffprof check`` through the real command line: exit codes, formats, baselines, bad input."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import ffprof
from gated import ROWS, cpu, disturbed, estimated, gpu, with_outcome, with_outcomes
from records import MIB, recipe, record, trial
from rich.cells import cell_len

from ffprof import load
from ffprof.records.store import save

HOSTILE = "\x1b[31mred\x07|`<b>**@team** ##[error]x\n::error::forged\n%0A::warning::also"


@pytest.fixture
def folder(tmp_path):
    """A folder with one baseline, and what to check against it by name."""
    base = cpu(9, noise=0.005, seed=1)
    made = {
        "base": base,
        "same": cpu(9, noise=0.005, seed=2),
        "more": cpu(9, noise=0.005, seed=2, memory={"two": 120 * MIB}),
        "less": cpu(9, noise=0.005, seed=2, memory={"two": 80 * MIB}),
        "crashed": with_outcome(base, "two", "crashed", message=HOSTILE),
        "noisy": cpu(9, noise=0.2, seed=2),
        "slow-row": cpu(9, noise=0.005, seed=3, speed={"two": 0.85}),
        "slow-runner": cpu(9, noise=0.005, seed=3, speed=dict.fromkeys(ROWS, 0.6)),
        "few": cpu(3, noise=0.005, seed=3, speed={"two": 0.5}),
        "nothing": with_all(base, "timeout"),
    }
    for name, one in made.items():
        save(one, tmp_path / f"{name}.json")
    return tmp_path


def with_all(made, outcome):
    for name in made.plan.workloads:
        made = with_outcome(made, name, outcome)
    return made


def checked(folder, name, *words, base="base", **more):
    return ffprof(
        "check", "--baseline", folder / f"{base}.json", "--current", folder / f"{name}.json",
        *words, **more,
    )  # fmt: skip


def refused(done, *said):
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ffprof: error: ")
    assert lines[0].isprintable()
    assert not done.stdout
    for words in said:
        assert words in lines[0], lines[0]


@pytest.mark.parametrize(
    ("name", "code", "finding"),
    [
        ("same", 0, "passed"),
        ("less", 0, "passed"),
        ("slow-runner", 0, "passed"),
        ("few", 0, "passed"),
        ("more", 1, "regressed"),
        ("slow-row", 1, "regressed"),
        ("nothing", 3, "nothing was judged"),
        ("crashed", 4, "not measured"),
        ("noisy", 4, "inconclusive"),
    ],
)
@pytest.mark.parametrize("form", ["table", "markdown", "json", "github"])
def test_every_exit_code_in_every_format(folder, name, code, finding, form):
    done = checked(folder, name, "--format", form)
    assert done.returncode == code, done.stdout
    assert not done.stderr
    assert finding in done.stdout
    if form == "json":
        document = json.loads(done.stdout)
        assert (document["exit_code"], document["finding"]) == (code, finding)


def test_every_status_is_told(folder):
    gates = {}
    for name in ("same", "less", "more", "crashed", "noisy", "few"):
        for gate in json.loads(checked(folder, name, "-f", "json").stdout)["gates"]:
            gates.setdefault(gate["status"], gate)
    assert set(gates) == {
        "passed", "improved", "regressed", "not measured", "inconclusive", "advice",
    }  # fmt: skip


def test_the_json_document_is_what_the_docs_say(folder):
    document = json.loads(checked(folder, "more", "-f", "json").stdout)
    assert list(document) == [
        "schema_version", "kind", "ffprof", "exit_code", "finding", "counts", "checks", "gates",
    ]  # fmt: skip
    assert (document["schema_version"], document["kind"]) == (1, "check")
    (check,) = document["checks"]
    assert check["baseline"]["file"] == str(folder / "base.json")
    assert check["current"]["evidence"] == "measured (cpu)"
    assert check["updated"] is False
    first = document["gates"][0]
    assert first == {
        "check": 0,
        "workload": "two",
        "metric": "live",
        "status": "regressed",
        "unit": "bytes",
        "baseline": 100 * MIB,
        "current": 120 * MIB,
        "limit": 100 * MIB + MIB // 2,
        "ratio": 1.2,
        "interval": None,
        "sentence": "two: the peak of live tensors rose from 100 MiB to 120 MiB (+20.0 MiB, "
        "+20.0%); at most +512 KiB is allowed",
    }
    assert sum(document["counts"].values()) == len(document["gates"])
    docs = (Path(__file__).parents[2] / "docs/checking.md").read_text()
    for name in (*document, *check, *first):
        assert f"`{name}`" in docs, name


def test_the_table_fits_80_columns_and_tells_the_worst_first(folder):
    env = dict(os.environ, COLUMNS="80")
    done = checked(folder, "more", env=env)
    lines = done.stdout.splitlines()
    assert all(cell_len(line) <= 80 for line in lines if str(folder) not in line), done.stdout
    rows = [line for line in lines if line.startswith(("regressed", "inconcl", "passed"))]
    assert rows[0].split()[:4] == ["regressed", "two", "live", "tensors"]
    assert not [line for line in rows if line.startswith("passed")]
    assert "--update-baseline" in done.stdout
    everything = checked(folder, "more", "--all", env=dict(os.environ, COLUMNS="160")).stdout
    assert "interval" in everything
    assert len([line for line in everything.splitlines() if line.startswith("passed")]) > 4


def test_few_rounds_are_said_plainly_and_can_be_gated(folder):
    done = checked(folder, "few")
    assert "reported, not gated: 9 rounds before and 3" in " ".join(done.stdout.split())
    assert checked(folder, "few", "--throughput", "gate").returncode == 4
    assert checked(folder, "slow-row", "--throughput", "advice").returncode == 0
    assert "throughput" not in checked(folder, "slow-row", "--throughput", "off").stdout


def test_thresholds_and_budgets(folder):
    file = folder / "t.toml"
    file.write_text('[workloads.two.live]\nbytes = "20MiB"\n')
    assert checked(folder, "more", "--thresholds", file).returncode == 0
    file.write_text('[workloads.one.live]\nbytes = "20MiB"\n')
    assert checked(folder, "more", "--thresholds", file).returncode == 1
    file.write_text("[throughput]\nshare = 0.3\n")
    assert checked(folder, "slow-row", "--thresholds", file).returncode == 0
    assert checked(folder, "same", "--budget", "99MiB").returncode == 1
    assert checked(folder, "same", "--budget", "100MiB").returncode == 0
    file.write_text("[live]\nbites = 3\n")
    refused(checked(folder, "same", "--thresholds", file), "live.bites")
    file.write_text("[workloads.ten.live]\nshare = 0.1\n")
    refused(checked(folder, "same", "--thresholds", file), "'ten'", "one, two, three, four")
    file.write_text('[throughput]\nreference = ["ten"]\n')
    refused(checked(folder, "same", "--thresholds", file), "the median of all rows")
    file.write_text("[throughput]\nabsolute = true\n")
    refused(checked(folder, "same", "--thresholds", file), "where both results are of one GPU")
    refused(checked(folder, "same", "--thresholds", folder), "is not a file")
    refused(checked(folder, "same", "--thresholds", folder / "no.toml"), "cannot be read")
    refused(checked(folder, "same", "--budget", "lots"), "'lots' is not a memory size")


def test_an_estimate_and_a_gpu_are_gated_without_either(tmp_path):
    pairs = [
        (estimated(), estimated(allocated_peak_bytes=1100 * MIB)),
        (
            gpu({"allocated_peak_bytes": MIB, "reserved_peak_bytes": 40 * MIB}),
            gpu({"allocated_peak_bytes": MIB, "reserved_peak_bytes": 80 * MIB}),
        ),
    ]
    for before, after in pairs:
        save(before, tmp_path / "base.json")
        save(after, tmp_path / "after.json")
        assert checked(tmp_path, "base").returncode == 0
        assert checked(tmp_path, "after").returncode == 1


def test_github_gets_annotations_and_a_summary(folder):
    summary = folder / "summary.md"
    summary.write_text("before\n")
    env = dict(os.environ, GITHUB_STEP_SUMMARY=str(summary))
    done = checked(folder, "more", "-f", "github", env=env)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("::error title=ffprof check%3A live regressed::two: the peak of")
    assert lines[-1].startswith("::notice title=ffprof check%3A regressed::")
    text = summary.read_text()
    assert text.startswith("before\n# Check of test")
    assert "| regressed | two | live tensors |" in text
    env["GITHUB_STEP_SUMMARY"] = str(folder / "no" / "such")
    done = checked(folder, "more", "-f", "github", env=env)
    assert done.returncode == 1
    assert "summary was not written" in done.stderr


def test_no_more_annotations_than_github_shows(tmp_path):
    rows = tuple(f"w{number}" for number in range(30))
    save(cpu(rows=rows), tmp_path / "base.json")
    save(cpu(rows=rows, memory=dict.fromkeys(rows, 200 * MIB)), tmp_path / "now.json")
    lines = checked(tmp_path, "now", "-f", "github").stdout.splitlines()
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == 9
    assert errors[-1].endswith("22 more are in the job's summary")


@pytest.mark.parametrize("form", ["table", "markdown", "json", "github"])
@pytest.mark.parametrize("width", ["20", "80", "200"])
def test_hostile_names_and_messages_are_only_text(tmp_path, form, width):
    names = (HOSTILE[:90], "a,b:c::d", "::error::x", "x ##[warning]y")
    base = record([trial(name, 0) for name in names], judged=False)
    after = record([trial(name, 0, memory=200 * MIB) for name in names[1:]], judged=False)
    lost = trial(names[0], 0, outcome="crashed", message=HOSTILE)
    after = after.model_copy(
        update={
            "trials": (lost, *after.trials),
            "plan": base.plan,
            "machine": base.machine.model_copy(update={"versions": {"torch": HOSTILE}}),
        }
    )
    save(base, tmp_path / "base.json")
    save(after, tmp_path / "now.json")
    summary = tmp_path / "summary.md"
    env = dict(os.environ, COLUMNS=width, GITHUB_STEP_SUMMARY=str(summary))
    done = checked(tmp_path, "now", "--all", "-f", form, env=env)
    assert done.returncode == 1, done.stderr
    text = done.stdout + (summary.read_text() if form == "github" else "")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "##[" not in text
    commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
    if form != "github":
        assert not commands
    else:
        pattern = r"::(error|warning|notice) title=ffprof check(%3A [a-z ]+)?::[^\r\n]*"
        assert all(re.fullmatch(pattern, line) for line in commands)
        assert all("%0A" not in line.replace("%250A", "") for line in commands)
    if form in ("markdown", "github"):
        marked = text if form == "markdown" else summary.read_text()
        assert "<b>" not in marked.replace("\\<b\\>", "")
        assert "@team" not in marked
        table = [line for line in marked.splitlines() if line.startswith("| ")]
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert cells == {9}
    if form == "json":
        sentences = [gate["sentence"] for gate in json.loads(done.stdout)["gates"]]
        assert any("##[error]x" in sentence for sentence in sentences)


def test_a_new_baseline_is_written_and_what_changed_is_told(folder):
    base = folder / "base.json"
    done = checked(folder, "more", "--update-baseline")
    assert done.returncode == 0
    assert "regressed" in done.stdout
    assert "holds the new result now" in " ".join(done.stdout.split())
    assert load(base) == load(folder / "more.json")
    assert checked(folder, "more").returncode == 0
    document = json.loads(checked(folder, "same", "--update-baseline", "-f", "json").stdout)
    assert document["checks"][0]["updated"] is True
    assert document["exit_code"] == 0
    assert document["counts"]["improved"] == 1


def test_a_baseline_is_made_where_there_is_none(folder):
    words = ("check", "--current", folder / "same.json", "--update-baseline", "--baseline")
    done = ffprof(*words, folder / "made.json")
    assert done.returncode == 0, done.stderr
    assert "baseline made" in done.stdout
    assert load(folder / "made.json") == load(folder / "same.json")
    absent = ffprof("check", "--baseline", folder / "no.json", "--current", folder / "same.json")
    refused(absent, "there is no baseline", "--update-baseline")
    refused(ffprof(*words, folder / "no" / "made.json"), "cannot write")
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("name", ["crashed", "nothing"])
def test_what_was_not_measured_becomes_no_baseline(folder, name):
    before = (folder / "base.json").read_bytes()
    done = checked(folder, name, "--update-baseline")
    assert done.returncode == 4
    assert "the baseline is not updated" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.rstrip("\n").isprintable()
    assert (folder / "base.json").read_bytes() == before
    # What was found is told all the same.
    assert done.stdout.startswith("Check of test, measured (cpu): ")
    assert "the baseline is not updated" in " ".join(done.stdout.split())
    assert "holds the new result" not in done.stdout
    document = json.loads(checked(folder, name, "--update-baseline", "-f", "json").stdout)
    assert document["exit_code"] == 4
    assert document["checks"][0]["updated"] is False
    assert document["checks"][0]["refused"].startswith("the baseline is not updated: ")
    path = folder / "made.json"
    done = ffprof(
        "check", "--baseline", path, "--current", folder / f"{name}.json", "--update-baseline"
    )
    assert done.returncode == 4
    assert "baseline not made" in done.stdout
    assert not path.exists()


def test_a_disturbed_trial_in_a_new_baseline_is_warned_of(folder):
    save(disturbed(load(folder / "same.json"), "two", 0), folder / "spoilt.json")
    done = checked(folder, "spoilt", "--update-baseline")
    assert done.returncode == 0
    assert "disturbed, of two: against it their speed is inconclusive" in (
        " ".join(done.stdout.split())
    )
    assert checked(folder, "same").returncode == 4


def test_a_new_baseline_whose_rounds_disagree_whether_it_fits_is_refused(tmp_path):
    parts = {"allocated_peak_bytes": MIB, "reserved_peak_bytes": MIB}
    base = gpu(parts, 3, rows=("one", "two"))
    save(base, tmp_path / "base.json")
    save(with_outcomes(base, "two", ["ok", "oom", "ok"]), tmp_path / "now.json")
    done = checked(tmp_path, "now", "--update-baseline")
    assert done.returncode == 4
    assert "in some rounds only (2 of 3 ok, 1 of 3 oom)" in done.stderr
    assert "no longer fits" in " ".join(done.stdout.split())
    assert load(tmp_path / "base.json") == base


def test_a_folder_holds_a_baseline_for_every_kind_and_torch(tmp_path):
    shelf = tmp_path / "baselines"
    shelf.mkdir()
    old = cpu(machine={"versions": {"torch": "2.11.0"}}, memory={"one": 50 * MIB})
    new = cpu()
    other = estimated()
    for number, one in enumerate((old, new, other)):
        save(one, tmp_path / f"{number}.json")
        done = ffprof(
            "check", "--baseline", shelf, "--current", tmp_path / f"{number}.json",
            "--update-baseline",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in shelf.iterdir()) == [
        "audit-test-estimated-torch-2.14.1.json",
        "audit-test-measured-cpu-torch-2.11.0.json",
        "audit-test-measured-cpu-torch-2.14.1.json",
    ]
    for number in range(3):
        done = ffprof("check", "--baseline", shelf, "--current", tmp_path / f"{number}.json")
        assert done.returncode == 0, done.stdout
    save(cpu(batch=16), tmp_path / "3.json")
    refused(
        ffprof("check", "--baseline", shelf, "--current", tmp_path / "3.json"),
        "no baseline", "torch 2.14.1", "torch 2.11.0",
    )  # fmt: skip


def test_the_command_for_a_new_baseline_repeats_what_was_asked(folder):
    limits = folder / "my limits.toml"
    limits.write_text("[live]\nbytes = 0\n")
    words = ("--thresholds", limits, "--throughput", "off", "--budget", "4GiB", "--all")
    done = checked(folder, "more", *words, env={**os.environ, "COLUMNS": "2000"})
    assert done.returncode == 1
    (line,) = [one for one in done.stdout.splitlines() if "accept it with: " in one]
    command = shlex.split(line.partition("accept it with: ")[2])
    assert command == [
        "ffprof", "check", "--baseline", str(folder / "base.json"),
        "--current", str(folder / "more.json"), "--thresholds", str(limits),
        "--throughput", "off", "--budget", "4GiB", "--update-baseline",
    ]  # fmt: skip
    assert ffprof(*command[1:]).returncode == 0
    assert load(folder / "base.json") == load(folder / "more.json")


def test_a_folder_takes_audits_of_any_name_and_passes_over_what_is_none(tmp_path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    save(cpu(9, noise=0.005), shelf / "rtx-4060.json")
    save(cpu(9, noise=0.005, seed=2), tmp_path / "now.json")
    words = ("check", "--baseline", shelf, "--current", tmp_path / "now.json")
    done = ffprof(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "rtx-4060.json" in "".join(done.stdout.split())

    (shelf / "package.json").write_text('{"name": "mine"}')
    (shelf / "list.json").write_text("[1]")
    (shelf / "search.json").write_text('{"schema_version": 1, "kind": "capacity"}')
    (shelf / "thresholds.toml").write_text("")
    (shelf / "._rtx-4060.json").write_text("of a Mac")
    done = ffprof(*words)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line.startswith("ffprof: skipped: ") for line in lines] == [True] * 3
    for line, name in zip(lines, ("list", "package", "search"), strict=True):
        assert f"{name}.json" in line

    (shelf / "rtx-4060.json").unlink()
    done = ffprof("check", "--baseline", shelf)
    assert done.returncode == 2
    assert "there is no baseline in" in done.stderr
    assert "package.json, search.json, thresholds.toml" in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("damaged.json", '{"schema_version": 1, "recipe": {}}'),
        ("empty.json", ""),
        ("audit-mine.json", '{"name": "mine"}'),
        ("audit-odd.json", '{"schema_version": 1, "kind": "capacity"}'),
    ],
)
def test_a_damaged_file_among_baselines_is_refused(tmp_path, name, text):
    save(cpu(), tmp_path / "fine.json")
    (tmp_path / name).write_text(text)
    words = ("check", "--baseline", tmp_path)
    refused(ffprof(*words), name)
    refused(ffprof(*words, "--current", tmp_path / "fine.json"), name)


def test_what_keeps_a_baseline_of_a_folder_from_being_compared_is_named(tmp_path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    save(cpu(batch=32, width=0.5), shelf / "far.json")
    save(cpu(batch=32), shelf / "near.json")
    save(cpu(batch=16), tmp_path / "now.json")
    done = ffprof("check", "--baseline", shelf, "--current", tmp_path / "now.json")
    refused(done, "of near.json batch is 32 and 16 (baseline first); it has test measured (cpu)")


def test_names_of_baselines_are_made_of_harmless_signs(tmp_path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    odd = record([trial("one", 0)], judged=False, preset="../../../etc/passwd\n\x1b[1m")
    odd = odd.model_copy(
        update={"machine": odd.machine.model_copy(update={"versions": {"torch": "../" * 30}})}
    )
    save(odd, tmp_path / "odd.json")
    words = ("check", "--baseline", shelf, "--current", tmp_path / "odd.json")
    assert ffprof(*words, "--update-baseline").returncode == 0
    (path,) = shelf.iterdir()
    assert re.fullmatch(r"audit-[A-Za-z0-9.+-]+\.json", path.name)
    assert ".." not in path.name
    assert {one.name for one in tmp_path.iterdir()} == {"shelf", "odd.json"}
    assert ffprof(*words).returncode == 0


def test_a_link_is_followed_not_replaced(folder):
    (folder / "link.json").symlink_to(folder / "base.json")
    assert checked(folder, "more", "--update-baseline", base="link").returncode == 0
    assert (folder / "link.json").is_symlink()
    assert load(folder / "base.json") == load(folder / "more.json")


def text_of(folder, **changes):
    document = json.loads((folder / "base.json").read_text()) | changes
    return json.dumps(document)


BAD = {
    "empty": (lambda f: "", "is empty"),
    "damaged": (lambda f: text_of(f)[:-40], "not JSON"),
    "no record": (lambda f: "[1, 2]", "not a record"),
    "newer": (lambda f: text_of(f, schema_version=99), "upgrade ffprof"),
    "deep": (lambda f: "[" * 200_000, "not JSON"),
    "deep field": (lambda f: text_of(f)[:-1] + ', "x": ' + "[" * 200_000, "not JSON"),
    "huge number": (lambda f: text_of(f, noise={"one": 10**400}), "not"),
    "huger number": (lambda f: '{"schema_version": 1' + "0" * 10_000 + "}", "base2.json"),
    "NaN": (lambda f: text_of(f, noise={"one": float("nan")}), "noise.one"),
    "wrong type": (lambda f: text_of(f, trials="many"), "trials"),
    "edited": (lambda f: text_of(f, recipe=json.loads(recipe(batch=16).model_dump_json())), "hash"),
    "nothing": (lambda f: "{}", "not a record"),
    "a null": (lambda f: "\0\0\0", "not JSON"),
    "a frontier": (lambda f: text_of(f, kind="frontier"), "not an audit"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("place", ["--baseline", "--current"])
def test_bad_files_are_one_line(folder, kind, place):
    make, said = BAD[kind]
    (folder / "base2.json").write_text(make(folder))
    other = "--current" if place == "--baseline" else "--baseline"
    refused(ffprof("check", place, folder / "base2.json", other, folder / "base.json"), said)


def test_bad_paths_are_one_line(folder):
    fifo = folder / "fifo.json"
    os.mkfifo(fifo)
    empty = folder / "none"
    empty.mkdir()
    tricks = [fifo, empty, folder / "no.json", folder / ("x" * 5000), folder / "base.json" / "x",
              "/dev/zero", "\udcff.json", ""]  # fmt: skip
    for path in tricks:
        refused(ffprof("check", "--baseline", path, "--current", folder / "base.json"))
        if path:
            refused(ffprof("check", "--baseline", folder / "base.json", "--current", path))
    shelf = folder / "shelf"
    shelf.mkdir()
    os.mkfifo(shelf / "audit-x.json")
    refused(ffprof("check", "--baseline", shelf, "--current", folder / "base.json"), "not a file")


def test_what_cannot_be_compared_is_refused(folder):
    save(cpu(batch=16), folder / "other.json")
    refused(checked(folder, "other"), "batch is 8 and 16")
    save(estimated(), folder / "estimated.json")
    refused(checked(folder, "estimated"), "measured (cpu)", "estimated", "give a result")
    done = ffprof("check", "--current", folder / "base.json")
    assert done.returncode == 2
    assert "--baseline" in done.stderr


def test_it_imports_nothing_that_is_slow_to_import(folder):
    code = (
        "import sys; from ffprof.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy.stats'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    words = ["check", "--baseline", folder / "base.json", "--current", folder / "same.json"]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
