"""``--workload-file``: a method of one's own, and whatever is wrong with it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import TINY, by_workload, ffprof, only_record, outcomes, python
from records import recipe

from ffprof.analysis.summary import summarise
from ffprof.experiments.selection import read_sources
from ffprof.workload.user_file import describe

LARGER = ["--batch", "32", "--micro-batch", "8"]  # than the steps of their own declare
SUPPORT = Path(__file__).resolve().parents[1] / "support"


def line_of(path, text):
    (number,) = [n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line]
    return number


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """One audit of a file whose every workload is another case, run from its folder."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(SUPPORT / "own_hostile.py", folder / "my-net.py")
    (folder / "beside.py").write_text("SIZE = 16\n")
    done = ffprof(
        "run", *TINY, *LARGER, "--rounds", 2, "--workload-file", "my-net.py", "--workloads",
        ",".join(["bp", *EXPECTED]), "--full", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, only_record(folder / "audits"), folder / "my-net.py"


EXPECTED = {
    "attached": "ok",
    "accumulated": "ok",
    "gives-none": "refused",
    "gives-float": "ok",
    "gives-vector": "refused",
    "gives-text": "refused",
    "gives-nan": "ok",
    "breaks-later": "crashed",
    "wrong-shape": "crashed",
    "no-parameters": "refused",
    "hides-backbone": "refused",
    "no-module": "refused",
    "counts": "ok",
    "keeps-on-disk": "ok",
    "whole": "ok",
    "undeclared": "ok",
    "silent": "ok",
    "not-a-step": "refused",
    "vector": "refused",
    "runs-out": "crashed",
    "leaves": "crashed",
}


def test_every_case_is_an_outcome_and_the_others_are_measured(hostile):
    _, record, _ = hostile
    assert outcomes(record) == {"bp": "ok", **EXPECTED}
    assert record.plan.workloads == ("bp", *EXPECTED)  # in the order of the file


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gives-none", "accumulate returns None"),
        ("gives-vector", "accumulate returns a tensor of shape (32,)"),
        ("gives-text", "accumulate returns a str"),
        ("no-parameters", "no parameters to train"),
        ("hides-backbone", "define backbone_state"),
        ("no-module", "gives a str, not an nn.Module"),
        ("not-a-step", "returns a int, which cannot be called"),
        ("vector", "its step returns a tensor of shape (3,)"),
    ],
)
def test_a_refusal_says_what_is_missing(name, said, hostile):
    _, record, _ = hostile
    assert all(said in t.message for t in record.trials if t.workload == name)


@pytest.mark.parametrize(
    ("name", "where", "said"),
    [
        ("breaks-later", "raise ValueError", "ValueError: the third step"),
        ("wrong-shape", "images[:, :1]", "RuntimeError: mat1 and mat2"),
        ("runs-out", "next(left)", "StopIteration"),
        ("leaves", "sys.exit(0)", "it calls sys.exit(0)"),
    ],
)
def test_a_crash_names_the_line_of_the_file(name, where, said, hostile):
    _, record, path = hostile
    (message,) = {t.message for t in record.trials if t.workload == name}
    # The innermost frame that lies in the file, not PyTorch's below it.
    number = line_of(path, "return self.net(images)" if name == "wrong-shape" else where)
    assert message.startswith(f"my-net.py:{number}: {said}")


def test_losses_that_are_attached_or_python_numbers_are_the_same_losses(hostile):
    _, record, _ = hostile
    first = by_workload(record, lambda t: t.loss and t.loss.first)
    assert len(first["attached"]) == 1
    assert first["attached"] == first["gives-float"]
    # A graph that outlived its step would be held by the losses.
    peaks = by_workload(record, lambda t: t.memory.live_tensor_peak_bytes)
    assert max(peaks["attached"]) - min(peaks["gives-float"]) <= 64


def test_nothing_leaks_between_trials_but_what_is_put_on_the_disk(hostile):
    done, record, _ = hostile
    assert [t.outcome for t in record.trials if t.workload == "counts"] == ["ok", "ok"]
    flowed = " ".join(done.stdout.split())
    assert "keeps-on-disk: memory does not repeat to the byte between rounds" in flowed
    assert "counts: memory does not repeat" not in flowed


def test_what_the_file_prints_reaches_nobody(hostile):
    done, record, _ = hostile
    assert "printed" not in done.stdout + done.stderr
    assert "{" not in done.stderr
    assert "printed" not in record.model_dump_json()


def test_rows_that_are_not_learning_or_say_nothing_are_marked(hostile):
    _, record, _ = hostile
    marks = {row.workload: row.marks for row in summarise(record)}
    assert marks["gives-nan"] == ("its loss is not finite",)
    assert marks["silent"] == ("it reports no loss",)
    assert marks["whole"] == marks["attached"] == ()
    assert all(t.loss is None for t in record.trials if t.workload == "silent")
    assert by_workload(record, lambda t: t.loss is None)["undeclared"] == {False}


def test_the_ledger_says_that_nothing_is_matched(hostile):
    done, record, _ = hostile
    facts = record.ledger["whole"].facts
    assert facts["matched"].startswith("nothing")
    assert facts["backbone"] == "own: unmatched"
    assert facts["effective_batch"] == "8 (declared)"
    assert facts["optimizer"] == facts["precision"] == facts["data"] == "own"
    assert facts["parameters"] == 10
    assert record.ledger["undeclared"].facts["effective_batch"] == "32 (assumed: the recipe's)"
    assert any("undeclared: the images" in note for note in record.notes)
    assert not any("whole: the images" in note for note in record.notes)
    flowed = " ".join(done.stdout.split())
    assert "whole: matched: nothing: the step is the user's own; effective batch: 8" in flowed
    # What a matched row lacks is not a difference of the others.
    assert "data:" not in flowed.replace("data: own", "")
    assert record.ledger["attached"].facts["backbone"] == "own: unmatched"
    assert "matched" not in record.ledger["attached"].facts


def test_speed_is_by_the_declared_images(hostile):
    _, record, _ = hostile
    for name, images in (("whole", 8), ("undeclared", 32), ("attached", 32)):
        for trial in (t for t in record.trials if t.workload == name):
            seconds = trial.throughput.step_seconds
            rate = images * len(seconds) / sum(seconds)
            assert trial.throughput.images_per_second == pytest.approx(rate)
            assert trial.micro_batch == images
            assert (trial.throughput.data_wait_seconds is None) is (name != "attached")


def test_gradients_are_proved_for_files_too(hostile):
    _, record, _ = hostile
    assert record.ledger["accumulated"].gradient.reference == "attached"
    assert record.ledger["accumulated"].gradient.equal is True


def test_the_record_names_the_file_and_its_digest(hostile):
    import hashlib

    done, record, path = hostile
    (file,) = record.plan.files
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (file.path, file.sha256, file.workloads) == ("my-net.py", digest, tuple(EXPECTED))
    assert f"from my-net.py, sha256 {digest[:12]}" in " ".join(done.stdout.split())
    shown = ffprof("report", path.parent / "audits", "-f", "json")
    assert shown.stdout.startswith("{")


BAD = {
    "name.py": ("import torch\n\nx = y\n", "name.py:3: NameError: name 'y' is not defined"),
    "syntax.py": ("def build(device:\n  pass\n", "syntax.py:1: SyntaxError"),
    "picture.py": ("\x89PNG\0", "picture.py"),
    "uninstalled.py": (
        "import no_such_package\n",
        "uninstalled.py:1: ModuleNotFoundError: No module named 'no_such_package'; install it",
    ),
    "exits.py": ("import sys\nsys.exit(0)\n", "exits.py:2: it calls sys.exit(0)"),
    "gone.py": ("import os\nos._exit(0)\n", "gone.py ends the process"),
    "segfault.py": ("import os\nos.kill(os.getpid(), 11)\n", "SIGSEGV"),
    "hangs.py": ("import time\ntime.sleep(600)\n", "hangs.py is still being loaded after 2 s"),
    "empty.py": ("", "empty.py: it has no workload"),
    "no-class.py": (
        "from ffprof import register_workload\nregister_workload(id='x')(3)\n",
        "no-class.py:2: register_workload decorates a int",
    ),
    "class.py": (
        "from ffprof import register_workload\n@register_workload\nclass Half: ...\n",
        "class.py: Half is not an nn.Module",
    ),
    "methods.py": (
        "from torch import nn\nfrom ffprof import register_workload\n"
        "@register_workload\nclass Half(nn.Module): ...\n",
        "methods.py: Half has no method accumulate",
    ),
    "characters.py": (
        "from ffprof import register_step\n@register_step(id='a b')\ndef f(device): ...\n",
        "characters.py:2: id 'a b' cannot be used",
    ),
    "reserved.py": (
        "from ffprof import register_step\n@register_step\ndef core(device): ...\n",
        "reserved.py: id 'core' cannot be used",
    ),
    "twins.py": (
        "from ffprof import register_step\n@register_step(id='a')\ndef f(device): ...\n"
        "@register_step(id='a')\ndef g(device): ...\n",
        "twins.py: two workloads have the id 'a'",
    ),
    "taken.py": (
        "from ffprof import register_step\n@register_step(id='bp')\ndef f(device): ...\n",
        "taken.py: the id 'bp' is that of a registered workload",
    ),
    "reference.py": (
        "from torch import nn\nfrom ffprof import register_workload\n"
        "@register_workload(reference='nope')\nclass A(nn.Module):\n"
        "    def accumulate(self): ...\n",
        "the reference 'nope' of 'a' is not known",
    ),
    "builder.py": ("def build(recipe, state): ...\n", "builder.py: its build cannot be called"),
    "images.py": (
        "def build(device): ...\nbuild.images = 'many'\n",
        "images.py: images is 'many'",
    ),
    "unreadable.py": ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n", ":3: E"),
    "beside.py": ("from syntax import x\n", "beside.py:1: SyntaxError"),
}
SCRIPT = """
import sys
from pathlib import Path
from ffprof.harness.worker import probe_child
from ffprof.harness.process.child import run_child, start_context
from ffprof.experiments.selection import choose_with_files, read_sources
from ffprof.errors import UsageError
from ffprof.hardware.environment import child_environment, environment
from ffprof.workload import find_preset
with environment(child_environment(find_preset("smoke").recipe)):
    context = start_context("forkserver")
run_child(context, probe_child, (), 180)
for name in sys.argv[1:]:
    try:
        limit = 2 if "hang" in name else 60
        choose_with_files(None, read_sources([Path(name)]), context, limit)
        print("chosen")
    except UsageError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """What is said of every bad file, all loaded from one server."""
    folder = tmp_path_factory.mktemp("bad")
    for name, (content, _) in BAD.items():
        (folder / name).write_bytes(content.encode("latin-1"))
    done = python(SCRIPT, *BAD, cwd=folder)
    assert done.returncode == 0, done.stderr
    return dict(zip(BAD, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_loaded_is_one_line(name, refusals):
    assert BAD[name][1] in refusals[name]


def test_a_bad_file_is_a_usage_error_before_anything_is_written(tmp_path):
    (tmp_path / "mine.py").write_text("import torch\n\n\ndef build(device):\n    pass\n\n\nx\n")
    done = ffprof("run", *TINY, *LARGER, "--workload-file", "mine.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line == "ffprof: error: mine.py:8: NameError: name 'x' is not defined; fix the file"
    assert not (tmp_path / "audits").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.py", "there is no workload file none.py"), (".", ". is not a file")],
)
def test_a_file_that_is_not_there_is_told_at_once(name, said, tmp_path):
    done = ffprof("run", "--workload-file", name, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


CHANGES = """
from pathlib import Path
import torch
def build(device):
    with Path(__file__).open("a") as file:
        file.write("# and more\\n")
    p = torch.zeros(3, requires_grad=True)
    return lambda: p.sum()
"""


def test_a_file_that_changes_meanwhile_is_refused_from_then_on(tmp_path):
    (tmp_path / "mine.py").write_text(CHANGES)
    done = ffprof(
        "run", *TINY, *LARGER, "--rounds", 2, "--workload-file", "mine.py", "--workloads", "mine",
        cwd=tmp_path,
    )  # fmt: skip
    record = only_record(tmp_path / "audits")
    assert [t.outcome for t in record.trials] == ["ok", "refused"], done.stderr
    assert "has changed since the audit began" in record.trials[1].message


PAGE = (SUPPORT.parents[1] / "docs" / "your_own_method.md").read_text()


def test_the_files_of_the_documentation_work_as_they_stand(tmp_path):
    files = dict(re.findall(r"`([\w-]+\.py)`[^`\n]*:\n\n```python\n(.*?)```", PAGE, re.S))
    assert files.keys() == {"half.py", "mine.py"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    done = ffprof(
        "run", "--preset", "smoke", "--device", "cpu", "--rounds", 1, "--threads", 1,
        "--workload-file", "half.py", "--workload-file", "mine.py",
        "--workloads", "bp,half,half-accum,mine", "--full", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path / "audits")
    assert outcomes(record) == dict.fromkeys(["bp", "half", "half-accum", "mine"], "ok")
    facts = {name: row.facts for name, row in record.ledger.items()}
    assert facts["half"]["backbone"] == "shared"
    assert facts["half"]["backbone_digest"] == facts["bp"]["backbone_digest"]
    assert facts["half"]["parameters_with_gradient"] < facts["bp"]["parameters_with_gradient"]
    assert facts["half-accum"]["micro_batch"] == record.recipe.micro_batch
    assert facts["mine"]["matched"] == "nothing: the step is the user's own"
    assert facts["mine"]["effective_batch"] == "32 (declared)"
    assert all(row.marks == () for row in summarise(record))
    # What the page shows is of these very files.
    assert all(note in PAGE for note in record.notes if "sha256" in note)
    shown = " ".join(done.stdout.split())
    for line in re.findall(r"^ - (.*(?:\n   .*)*)", PAGE, re.M):
        assert " ".join(line.split()) in shown
    assert record.ledger["half-accum"].gradient.reference == "half"


def test_the_decorators_are_imported_without_torch():
    code = "import sys; from ffprof import register_step, register_workload; "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_file_in_the_readme_can_be_loaded(tmp_path, monkeypatch):
    readme = (SUPPORT.parents[1] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    (tmp_path / "linear.py").write_text(code)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (source,) = read_sources([tmp_path / "linear.py"])
    (one,) = describe(source)
    assert (one.id, one.summary) == ("linear", "a linear classifier")
    module = one.load()(recipe(), None)
    calls = []
    loss = module.accumulate(torch.zeros(2, 3, 16, 16), torch.zeros(2).long(), 1.0, calls.append)
    assert calls[0].item() == pytest.approx(loss.item())
