"""Options that commands share are the same everywhere; mistyped names are told in one line."""

import re
from collections import defaultdict

import pytest

from ffprof.cli.common_options import BUDGET, CUT, MEASURING, MODEL, _shared, takes
from ffprof.cli.main import main
from ffprof.experiments.options import CHANGES, Options

RECIPE = {"backbone", "width", "norm", "image-size", "batch"}
CUTS = {"micro-batch", "precision", "memory-format"}
CARDS = {"gpu-mem", "card", "card-file", "display"}
SHARED = {
    "data", "data-workers", "download", "seed", "threads", "steps", "on-foreign", "time-limit",
    "run-limit", "out", "device", "rounds", "preset", "workloads", "workload-file",
}  # fmt: skip
OF_COMMAND = {
    "run": RECIPE | CUTS | CARDS | SHARED
    | {"looks", "resume", "max-batch", "max-depth", "dry-run", "format", "full", "relative-to"}
    | {"engine"},
    "estimate": RECIPE | CUTS | CARDS
    | {"preset", "workloads", "workload-file", "allocator", "no-workspaces", "detail", "against",
       "largest", "multiple-of", "sweep", "advise", "show", "plot", "snapshot", "steps", "cards",
       "time-limit", "strict", "format", "seq", "lora"},
    "frontier": RECIPE | CARDS | SHARED
    | {"micro-batches", "precisions", "memory-formats", "all-points", "resume", "plot", "format"},
    "learn": RECIPE | CUTS | CARDS | SHARED - {"steps", "rounds"}
    | {"epochs", "seeds", "classes", "drawn-by", "samples", "samples-per-class", "labels", "sweep",
       "optimizer", "learning-rate", "weight-decay", "tune", "schedule", "warmup-epochs",
       "augmentation", "shift", "validation", "target", "teacher-depth", "teacher-width",
       "label-noise",
       "teacher-seed", "test-samples", "unbalanced", "jobs", "resume", "format"},
    "report": {"format", "full", "relative-to", "judge", "learned", "plot", "output", "with"},
    "verify": {"format"},
    "compare": {"format"},
    "check": {
        "baseline", "current", "thresholds", "budget", "throughput", "update-baseline", "rounds",
        "workload-file", "card-file", "data", "on-foreign", "time-limit", "run-limit", "out", "all",
        "format",
    },
    "calibrate": RECIPE | CUTS | SHARED | {"from", "format"},
    "workloads": {"format"},
    "cards": {"card-file", "template", "format"},
    "data": {"check", "download", "format"},
    "doctor": {"device", "fix", "out", "format"},
}  # fmt: skip
# What stands beside an option's help: its default and bounds, where a command has its own.
TOLD = {
    ("run", "rounds"): "[default: 3; 1<=x<=1000]",
    ("frontier", "rounds"): "[default: 5; 1<=x<=1000]",
    ("calibrate", "rounds"): "[default: 10; x<=1000]", ("check", "rounds"): "[1<=x<=1000]",
    ("run", "time-limit"): "[default: 600.0; x>=0.1]", ("run", "run-limit"): "[x>=0.1]",
    ("frontier", "time-limit"): "[default: 600.0; x>=0.1]", ("check", "time-limit"): "[x>=0.1]",
    ("calibrate", "time-limit"): "[default: 600.0; x>=0.1]", ("check", "run-limit"): "[x>=0.1]",
    ("run", "out"): "[default: audits]", ("doctor", "out"): "[default: audits]",
    ("run", "on-foreign"): "[default: warn]", ("check", "on-foreign"): "[default: warn]",
    ("run", "device"): "[default: auto]", ("report", "format"): "[default: table]",
}  # fmt: skip
FORMATS = {
    "report": "table|markdown|json", "verify": "table|markdown|json",
    "run": "table|markdown|json", "compare": "table|markdown|json",
    "learn": "table|markdown|json", "frontier": "table|markdown|json",
    "calibrate": "table|markdown|json",
    "estimate": "table|markdown|json",
    "check": "table|markdown|json|github", "workloads": "table|json", "cards": "table|json",
    "data": "table|json", "doctor": "table|json",
}  # fmt: skip


def said(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def options(text):
    """Help by option, without the word for its value."""
    one = re.compile(r"(?:-\w, )?--([\w-]+)(?: <[^>]*>| [A-Z][A-Z|=,.]*)?\s(.*)", re.S)
    found = (one.match(part) for part in re.split(r"\n  (?=-)", text))
    return {m[1]: " ".join(m[2].partition("\n\n")[0].split()) for m in found if m}


@pytest.mark.parametrize("command", OF_COMMAND)
def test_a_command_has_these_options_with_these_defaults(capsys, command):
    _, out, _ = said(capsys, command, "--help")
    found = options(out)
    assert found.keys() - {"help"} == OF_COMMAND[command]
    for (name, option), told in TOLD.items():
        if name == command:
            assert found[option].endswith(told), option
    assert f"--format <{FORMATS[command]}>" in out


def test_shared_options_say_the_same_in_every_command(capsys):
    told = defaultdict(set)
    for command in ("run", "frontier", "calibrate", "estimate"):
        _, out, _ = said(capsys, command, "--help")
        for name, text in options(out).items():
            told[name].add(text.replace(" ", ""))  # lines may break within a word
    own = {"device", "rounds", "resume", "format", "preset", "workloads", "plot"}
    own |= {"steps", "time-limit"}  # those of estimate are about a command
    assert {name for name, texts in told.items() if len(texts) > 1} <= own


def test_options_stand_in_groups(capsys):
    _, out, _ = said(capsys, "run", "--help")
    assert re.findall(r"^(\w+):$", out, re.M) == [
        "Recipe", "Budget", "Measuring", "Output", "Options",
    ]  # fmt: skip
    recipe = out.partition("Recipe:")[2].partition("Budget:")[0]
    assert "--preset" in recipe
    assert "--batch" in recipe
    assert "--gpu-mem" not in recipe
    _, out, _ = said(capsys, "check", "--help")
    assert "--baseline" in out.partition("Gates:")[2].partition("Recipe:")[0]


def test_every_shared_option_is_a_field_of_the_options_and_reaches_it():
    names = (*MODEL, *CUT, *BUDGET, *MEASURING, "preset", "workloads", "workload_files")
    assert set(names) == set(_shared.__annotations__) - {"return"}
    assert set(CHANGES) <= set(Options.__dataclass_fields__)
    seen = []

    @takes("preset", "batch", "card_files")
    def command(options: Options, own: int = 3) -> None:
        seen.append((options, own))

    command(preset="smoke", batch=8, card_files=["a.toml"], own=4)
    ((made, own),) = seen
    assert (made.preset, made.card_files, own) == ("smoke", ("a.toml",), 4)
    assert made.changes == dict.fromkeys(CHANGES) | {"batch": 8}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rnu"], "no such command: rnu; did you mean run or learn? there are run, "),
        (["--versoin"], "no such option: --versoin; did you mean --version? "),
        (["run", "--worklods", "bp"], "no such option: --worklods; did you mean --workloads"),
        (["report", "x", "-f", "jsn"], "did you mean json?"),
        (["workloads", "-f", "markdown"], "'markdown' is not one of 'table', 'json'"),
        (["doctor", "--format", "github"], "'github' is not one of 'table', 'json'"),
        (["run", "--rounds", "0"], "'--rounds'"),
        (["compare", "a", "b", "--reference", "x"], "a speed is relative to the median of all"),
        (["calibrate", "--show"], "ffprof report prints a calibration"),
        (["doctor", "--measure"], "benchmarks/bench_sampling.py measures"),
        (["report"], "missing argument 'PATH'"),
        (["check"], "missing option '--baseline'"),
        (["run", "--preset", "smok"], "unknown preset 'smok'; did you mean smoke?"),
        (["run", "--workloads", "bpp"], "unknown workload 'bpp'; did you mean bp or"),
        (["cards", "RTX 4061"], "did you mean GeForce RTX 4060"),
        (["run", "--dry-run", "-f", "json"], "a plan has the format table only"),
    ],
)  # fmt: skip
def test_a_mistyped_name_is_one_line_that_says_what_may_be_meant(capsys, words, told):
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("ffprof: error: ")
    assert len(err.splitlines()) == 1
