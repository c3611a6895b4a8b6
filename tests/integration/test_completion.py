"""Tab, as bash and zsh ask for it; and what is printed to install it."""

import os
import shutil
import subprocess
import sys

import pytest

from ffprof.hardware.cards import find_card, known_cards

ENVIRONMENT = {**os.environ, "COLUMNS": "200"}
COMMANDS = [
    "run", "learn", "paper", "estimate", "frontier", "report", "verify", "compare", "check",
    "calibrate", "workloads", "cards", "data", "doctor",
]  # fmt: skip


def completed(shell, line):
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
    }[shell]
    # In one process, so that what was imported is known.
    code = (
        "import sys; from ffprof.cli.main import main\n"
        "try: main([])\n"
        "finally: assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**ENVIRONMENT, **asked, "_FFPROF_COMPLETE": f"complete_{shell}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ffprof ", COMMANDS),
        ("ffprof ca", ["calibrate", "cards"]),
        ("ffprof run --micro", ["--micro-batch"]),
        ("ffprof report --for", ["--format"]),
        ("ffprof run --preset sm", ["smoke", "small"]),
        ("ffprof estimate --preset im", ["imagenet100"]),
        ("ffprof run --workloads c", ["core"]),
        ("ffprof calibrate --workloads bp,bp-acc", ["bp,bp-accum"]),
        ("ffprof run --workloads bp,bp", None),
        ("ffprof check --format ", ["table", "markdown", "json", "github"]),
        ("ffprof cards -f ", ["table", "json"]),
        ("ffprof run --device c", ["cuda", "cpu"]),
        ("ffprof run --card RTX3070M", ["RTX3070Mobile"]),
        ("ffprof cards rtx3070t", ["rtx3070ti"]),
        ("ffprof data fash", ["fashion-mnist"]),
        ("ffprof run --data cifar", ["cifar10", "cifar100"]),
    ],
)
def test_bash(line, expected):
    found = completed("bash", line).split()
    if expected is None:
        assert "bp,bp-accum" in found
        assert "bp,bp" not in found
        assert all(word.startswith("bp,bp-") for word in found)
    else:
        assert sorted(found) == sorted(expected)


def test_zsh():
    found = completed("zsh", "ffprof ")
    assert all(f'"{name}"' in found for name in COMMANDS)
    assert '"bp,bp-accum"' in completed("zsh", "ffprof run --workloads bp,bp-acc")
    assert '"--micro-batch"' in completed("zsh", "ffprof run --micro")


def test_every_card_that_is_offered_is_found():
    for card in known_cards():
        word = card.name.removeprefix("GeForce ").replace(" ", "")
        assert find_card(word) == find_card(word.lower()) == card


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_that_a_shell_reads(shell, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ffprof", "--show-completion", shell],
        capture_output=True, text=True, check=False,
        env={**ENVIRONMENT, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"_FFPROF_COMPLETE=complete_{shell}" in done.stdout
    path = shutil.which(shell)
    if path is not None:
        script = tmp_path / "completion"
        script.write_text(done.stdout)
        assert subprocess.run([path, "-n", str(script)], check=False).returncode == 0
