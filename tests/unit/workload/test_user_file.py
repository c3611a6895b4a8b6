"""Files of the user's own: names, choices and messages, without processes."""

import importlib
import pickle
import re
import sys
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from records import claim, recipe, record, trial
from torch import nn

from ffprof.analysis.ledger import agreements, differences, unmatched
from ffprof.analysis.summary import summarise
from ffprof.errors import RefusedError, UsageError
from ffprof.experiments import selection
from ffprof.experiments.outcome import FIXED, mismatch
from ffprof.experiments.selection import choose_with_files, read_sources
from ffprof.harness.backbone import build_matched
from ffprof.harness.process.failures import located
from ffprof.harness.timeline import Instruments
from ffprof.harness.user_step import measure_step
from ffprof.instruments.allocator import AllocatorPeaks, FakeAllocator
from ffprof.instruments.clock import FakeClock
from ffprof.instruments.host_memory import FakeHostMemory
from ffprof.records.audit import LedgerRow, Trial
from ffprof.workload import find_workload, user_file
from ffprof.workload.adapter import Adapted
from ffprof.workload.decorators import check_id, register_step, register_workload
from ffprof.workload.user_file import (
    Source,
    _default_id,
    _tidy,
    address,
    describe,
    reference_address,
)

HEAD = "import torch\nfrom torch import nn\nfrom ffprof import register_step, register_workload\n"
NET = """
class Net(nn.Module):
    def __init__(self, recipe, backbone_state):
        super().__init__()
        self.net = nn.Linear(3, 2)
    def accumulate(self, images, labels, weight, backward):
        return torch.zeros(())
"""
STEP = """
def build(device):
    p = torch.ones(5, requires_grad=True, device=device)
    def step():
        loss = p.sum()
        loss.backward()
        with torch.no_grad():
            p.sub_(0.1)
        p.grad = None
        return loss
    return step
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file and gives its source; what loading it changes here is put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(selection, "_described", lambda source, *_: describe(source))

    def make(content, name="mine.py"):
        (tmp_path / name).write_text(content)
        return read_sources([tmp_path / name])[0]

    yield make
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def ids(source):
    return [one.id for one in describe(source)]


@given(st.text(max_size=200))
def test_every_file_name_gives_an_id_that_can_be_typed(stem):
    name = _tidy(stem)
    if name not in ("core", "all"):
        assert check_id("id", name) == name
        assert "," not in name


@given(st.text(max_size=100))
def test_an_id_is_accepted_or_a_usage_error(text):
    try:
        check_id("id", text)
    except UsageError:
        return
    assert text.isprintable()
    assert not set(text) & set(", \t\n;:/")
    assert 1 <= len(text) <= 80


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Half", "half"),
        ("HalfNet2", "half-net2"),
        ("DFA", "dfa"),
        ("my_method", "my-method"),
        ("build", "the-stem"),
    ],
)
def test_rows_are_named_after_what_is_decorated(name, wanted):
    assert _default_id(type(name, (), {}), "the-stem") == wanted


def test_decorators_return_what_they_decorate():
    class Plain: ...

    def build(device): ...

    before = dict(vars(Plain))
    assert register_workload(Plain) is Plain
    assert register_workload(id="x", family="f")(Plain) is Plain
    assert register_step(images=3)(build) is build
    assert dict(vars(Plain)) == before


@pytest.mark.parametrize(
    "options",
    [
        {"id": "a b"},
        {"id": ""},
        {"id": "all"},
        {"id": 3},
        {"id": "x" * 81},
        {"family": "two\nlines"},
        {"summary": "x" * 81},
        {"accumulates": "yes"},
        {"shares": "half"},
        {"steps_in_backward": 1},
        {"steps_in_backward": True, "accumulates": True},
        {"rules": "read"},
        {"rules": ()},
        {"load_backbone": "not an address"},
        {"load_backbone": 3},
        {"reference": "a,b"},
    ],
)
def test_options_that_cannot_be_meant_are_told(options):
    with pytest.raises(UsageError) as told:
        register_workload(**options)
    assert next(iter(options)) in str(told.value)


@pytest.mark.parametrize("images", [0, -1, 1.5, True, "64", 10**9])
def test_images_must_be_a_number_of_images(images):
    with pytest.raises(UsageError, match="images"):
        register_step(images=images)


def test_a_description_crosses_to_the_trial_and_finds_its_class_again(write):
    source = write(HEAD + NET + "register_workload(id='a')(Net)\nregister_step(images=7)(list)\n")
    one, step = describe(source)
    assert (one.method, one.schedule, one.family, one.reference) == ("a", "full batch", "own", "a")
    assert one.load_backbone is None
    again = pickle.loads(pickle.dumps(address(one)))
    assert isinstance(again.load()(recipe(), None), Adapted)
    assert (step.id, step.micro_batch(recipe())) == ("list", 7)
    assert address(find_workload("bp")) == "bp"


def test_settings_are_described_and_handed_over_by_name(write):
    head = HEAD + "from ffprof.workload import Setting\n"
    row = "register_workload(settings=(Setting(name='gain', low=1, high=9, default=3),))(Net)\n"
    taking = NET.replace("state):", "state, gain):").replace("Linear(3, 2)", "Linear(3, int(gain))")
    (one,) = describe(write(head + taking + row))
    assert [setting.name for setting in one.settings] == ["gain"]
    for found, outputs in ((one, 3), (one.tuned({"gain": 5.0}), 5)):
        again = pickle.loads(pickle.dumps(address(found)))
        assert build_matched(again, recipe())[0].net.out_features == outputs
    with pytest.raises(
        UsageError, match=r"and gain by name; take \(recipe, backbone_state, gain\)"
    ):
        describe(write(head + NET + row, "other.py"))


def test_references_are_found_in_the_file_first(write):
    body = "register_workload(id='a')(Net)\n"
    body += "register_workload(id='b', reference='a', accumulates=True)(Net)\n"
    body += "register_workload(id='c', reference='bp')(Net)\n"
    a, b, c = describe(write(HEAD + NET + body))
    assert reference_address(a) is a
    assert reference_address(b).id == "a"
    assert reference_address(c) == "bp"
    assert b.schedule == "accumulated"


def test_a_step_is_no_reference(write):
    body = "register_step(id='s')(list)\nregister_workload(id='a', reference='s')(Net)\n"
    with pytest.raises(UsageError, match="reference 's' of 'a' is a user-defined step"):
        describe(write(HEAD + NET + body))


def test_an_undecorated_build_counts_if_it_takes_a_device(write):
    assert ids(write("def build(device): ...\n", "my net.py")) == ["my-net"]
    assert ids(write("def build(gpu, size=3): ...\n", "b.py")) == ["b"]
    net = HEAD + NET + "register_workload(Net)\n"
    assert ids(write(net + "def build(recipe): ...\n", "c.py")) == ["net"]
    assert ids(write(net + "def build(device): ...\n", "d.py")) == ["net", "d"]
    decorated = HEAD + "@register_step(id='x')\ndef build(device): ...\n"
    assert ids(write(decorated, "e.py")) == ["x"]


def test_a_build_may_take_a_batch_and_other_sizes(write):
    text = "def build(device, batch, seq=128, *, deep=True, width=4, rate=0.1):\n    return batch\n"
    (one,) = describe(write(HEAD + text))
    assert one.takes_batch and one.sizes == (("seq", 128), ("width", 4))
    assert (one.micro_batch(recipe(batch=24)), one.build(recipe(batch=24), None)) == (24, 24)
    grown = one.with_size("seq", 512)
    assert (grown.sizes, grown.takes_batch) == ((("seq", 512), ("width", 4)), True)
    assert pickle.loads(pickle.dumps(grown)) == grown
    with pytest.raises(UsageError, match="has no size 'depth'; its build takes batch, seq, width"):
        one.with_size("depth", 2)


def test_sizes_are_handed_over_by_name(write):
    text = (
        "@register_step(id='mine')\n"
        "def made(device, seq=128, *, batch=7):\n    return device, seq, batch\n"
    )
    (one,) = describe(write(HEAD + text))
    assert one.with_size("seq", 2).build(recipe(batch=8), "there") == ("there", 2, 8)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def build(device, batch, other):\n    pass\n", "cannot be called with a device alone"),
        ("register_step(images=3)(lambda device, batch: None)\n", "images and takes a batch"),
        ("register_step(id='a')(lambda device, other: None)\n", r"take \(device\) or"),
    ],
)
def test_a_build_that_cannot_be_called_is_told(text, told, write):
    with pytest.raises(UsageError) as error:
        describe(write(HEAD + text))
    assert re.search(told, str(error.value))


def test_what_a_file_imports_is_not_its_workload(write):
    write(HEAD + NET + "register_workload(id='theirs')(Net)\n", "theirs_own.py")
    source = write(HEAD + "from theirs_own import Net\nregister_workload(id='ours')(Net)\n")
    assert ids(source) == ["ours"]


@pytest.mark.parametrize("name", ["torch.py", "json.py", "my-net.py", "ffprof.py", "2.5.py"])
def test_a_file_may_be_called_anything(name, write):
    before = {key: sys.modules[key] for key in ("torch", "json", "ffprof")}
    source = write(HEAD + NET + "assert torch.ones(1)\nregister_workload(id='a')(Net)\n", name)
    assert ids(source) == ["a"]
    assert {key: sys.modules[key] for key in before} == before


def test_the_module_can_be_found_by_its_classes(write):
    code = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + HEAD
    code += "@dataclass\nclass Size:\n    n: int = 3\n"
    code += NET + "register_workload(id='a')(Net)\nassert __name__ != '__main__'\n"
    assert ids(write(code)) == ["a"]


def test_a_file_given_twice_is_one_file(tmp_path):
    (tmp_path / "a.py").write_text("")
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    assert len(read_sources([tmp_path / "a.py", tmp_path / "a.py", tmp_path / "link.py"])) == 1


def test_a_changed_file_is_refused(write):
    source = write(HEAD + NET + "register_workload(id='a')(Net)\n")
    (one,) = describe(source)
    Path(source.path).write_text("raise SystemExit\n")
    own_file_again = Source(name="again", path=source.path, sha256=source.sha256)
    with pytest.raises(RefusedError, match="changed since the audit began"):
        describe(own_file_again)
    assert one.source.sha256 == source.sha256


def test_rows_are_chosen_by_id_and_all_are_by_default(write):
    net = HEAD + NET + "register_workload(id='z')(Net)\nregister_workload(id='a')(Net)\n"
    sources = [write(net), write("def build(device): ...\n", "b.py")]

    def chosen(words):
        return [d.id for d in choose_with_files(words, sources, None, 1.0).workloads]

    core = [*(d.id for d in selection.choose_workloads("core"))]
    assert chosen(None) == [*core, "z", "a", "b"]
    assert chosen("b,a,bp") == ["bp", "a", "b"]
    assert set(chosen("all")) >= {"z", "a", "b", "bp"}
    with pytest.raises(UsageError, match=r"unknown workload 'nope'; known are: .*z, a, b"):
        chosen("a,b,nope")
    with pytest.raises(UsageError, match=r"selects nothing in .*b\.py"):
        chosen("core,a")
    files = choose_with_files("bp,a,b", sources, None, 1.0).files
    assert [file.workloads for file in files] == [("a",), ("b",)]


def test_an_id_in_two_files_names_both(write):
    sources = [write("def build(device): ...\n", n) for n in ("x y.py", "x-y.py")]
    with pytest.raises(UsageError, match=r"'x-y' is in .*x y\.py and in .*x-y\.py"):
        choose_with_files(None, sources, None, 1.0)


def test_an_error_is_told_with_the_innermost_line_of_the_file(write):
    source = write("def inner():\n    return [].index(3)\n\n\ndef build(device):\n    inner()\n")
    (one,) = describe(source)
    with pytest.raises(ValueError, match="not in list") as told:
        one.load()(None)
    place = f"{source.name}:2"
    assert located(told.value, source) == f"{place}: ValueError: 3 is not in list"
    assert located(KeyError("x"), source) == f"{source.name}: KeyError: 'x'"
    assert located(RefusedError("no", "go"), source) == f"{source.name}: no; go"
    assert located(StopIteration(), source) == f"{source.name}: StopIteration"


def test_an_error_that_is_not_in_the_file_is_told_with_the_line_of_the_one_beside(write):
    write("def make(device):\n    raise RuntimeError('no')\n", "beside_own.py")
    (one,) = describe(write("from beside_own import make\nbuild = make\n"))
    with pytest.raises(RuntimeError) as told:
        one.load()(None)
    folder = Path(one.source.name).parent
    assert located(told.value, one.source) == f"{folder / 'beside_own.py'}:2: RuntimeError: no"


CPU = torch.device("cpu")
PEAKS = AllocatorPeaks(
    allocated_peak_bytes=9, reserved_peak_bytes=20, alloc_retries=0, oom_events=0
)


def measured(description):
    tools = Instruments(
        clock=FakeClock([0.5] * 50),
        allocator=FakeAllocator([PEAKS, PEAKS]),
        host=FakeHostMemory(1),
    )
    return measure_step(description, recipe(steps=4, min_steps=2), CPU, tools)


def test_a_step_is_timed_like_a_workload(write):
    (one,) = describe(write("import torch\n" + STEP + "build.images = 3\n"))
    report = measured(one)
    assert report.throughput.images_per_second == 3 / 0.5
    assert report.throughput.step_seconds == (0.5,) * 4
    assert report.throughput.data_wait_seconds is None
    assert report.loss.fell
    assert report.loss.steps == 3 + 1 + 2
    # Five numbers, their gradient, and what a step makes of them; nothing of the harness's but
    # the buffer of losses.
    assert 5 * 4 <= report.memory.live_tensor_peak_bytes < 5 * 4 * 4 + 4 * 30
    assert report.facts["matched"].startswith("nothing")


@pytest.mark.parametrize(
    ("answer", "loss"), [("None", None), ("1.5", 1.5), ("torch.tensor([1.5])", 1.5)]
)
def test_a_step_may_answer_with_a_loss_or_nothing(answer, loss, write):
    (one,) = describe(write(f"import torch\ndef build(device):\n    return lambda: {answer}\n"))
    report = measured(one)
    assert (report.loss.last if report.loss else None) == loss


def test_a_loss_that_is_sometimes_missing_is_none(write):
    code = (
        "n = []\ndef build(device):\n    return lambda: n.append(1) or (1.0 if n[1:] else None)\n"
    )
    (one,) = describe(write(code))
    assert measured(one).loss is None


@pytest.mark.parametrize("answer", ["'x'", "True", "[1.0]", "{}", "torch.zeros(2)"])
def test_a_step_may_not_answer_with_anything_else(answer, write):
    (one,) = describe(write(f"import torch\ndef build(device):\n    return lambda: {answer}\n"))
    with pytest.raises(RefusedError, match="its step returns"):
        measured(one)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x):
        return self.net(x)

    def accumulate(self, *args): ...


def test_what_may_be_left_out_is_filled_in():
    module = Adapted(Small(), shared=False)
    assert module.no_weight_decay() == frozenset()
    assert module.backbone_state() == {}
    assert module.predict(torch.zeros(4, 3), "read").shape == (4, 2)
    assert [name for name, _ in module.named_parameters()] == ["net.weight", "net.bias"]
    assert module.train() is module._module


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("no_weight_decay", "net.bias", "no_weight_decay returns a str"),
        ("no_weight_decay", None, "no_weight_decay returns a NoneType"),
        ("backbone_state", [1], "backbone_state returns a list"),
        ("backbone_state", {"a": 1}, "backbone_state returns a dict"),
    ],
)
def test_what_is_filled_in_wrongly_is_refused(name, answer, said):
    net = Small()
    setattr(net, name, types.MethodType(lambda self: answer, net))
    with pytest.raises(RefusedError, match=said):
        getattr(Adapted(net, shared=False), name)()


def test_the_shared_backbone_is_handed_over_by_function_or_by_name(write):
    code = HEAD + "from workloads.backbones import Backbone, initial_state\n"
    code += "class Net(nn.Module):\n    def __init__(self, recipe, state):\n"
    code += "        super().__init__()\n        self.body = Backbone(recipe, state)\n"
    code += "    def backbone_state(self): return self.body.state_dict()\n"
    code += "    def accumulate(self, *args): ...\n"
    code += "register_workload(id='a', load_backbone=initial_state)(Net)\n"
    code += "register_workload(id='b', load_backbone='workloads.backbones:initial_state')(Net)\n"
    small = recipe(width=0.0625)
    found = [build_matched(one, small)[1] for one in describe(write(code))]
    wanted = build_matched(find_workload("bp"), small)[1]
    assert [m.digest for m in found] == [wanted.digest] * 2
    assert all(m.backbone == "shared" for m in found)


OWN = {"matched": "nothing: the step is the user's own", "optimizer": "own"}
MATCHED = dict.fromkeys(FIXED, 1) | {"backbone": "shared"}


def test_a_row_of_which_nothing_is_matched_refuses_nobody_and_is_not_refused():
    assert mismatch(OWN, MATCHED) is None
    assert mismatch(MATCHED, OWN) is None
    rows = {"own": LedgerRow(facts=OWN), "a": LedgerRow(facts=MATCHED)}
    rows["b"] = LedgerRow(facts=MATCHED | {"heads": 1})
    assert [d.fact for d in differences(rows)] == ["heads"]
    assert set(FIXED) <= agreements(rows).keys()
    assert unmatched(rows) == {"own": OWN}


def test_a_row_without_a_loss_wins_nothing():
    silent = [Trial(**{**dict(trial("quiet", n)), "loss": None}) for n in range(5)]
    others = [trial("bp", n, memory=10**9) for n in range(5)]
    made = record([*silent, *others], claims=[claim("quiet", "bp", "memory")])
    (row, _) = summarise(made)
    assert row.marks == ("it reports no loss",)
    assert made.verdicts[0].supported is None
    assert "quiet cannot win: it reports no loss" in made.verdicts[0].sentence


def test_a_loaded_file_is_run_once_in_a_process(write):
    source = write("import builtins\n" + HEAD + NET + "register_workload(id='a')(Net)\n")
    (one,) = describe(source)
    assert user_file.load_file(source) is user_file.load_file(source)
    assert one.load is not None


BESIDE = """
import colorsys
def build(device):
    import tabnanny
    return lambda: (colorsys.MINE, tabnanny.MINE)
"""


def test_what_lies_beside_a_file_is_found_by_that_file_alone(write, monkeypatch):
    """Two modules of Python's that nothing imports, of which the folder has others."""
    for name in ("colorsys", "tabnanny"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        write("MINE = True\n", f"{name}.py")
    (one,) = describe(write(BESIDE))
    assert one.load()("cpu")() == (True, True)
    for name in ("colorsys", "tabnanny"):
        del sys.modules[name]
        assert not hasattr(importlib.import_module(name), "MINE")
        del sys.modules[name]


def test_the_folder_of_a_file_is_closed_when_another_is_loaded(write, tmp_path_factory):
    first = write("MINE = True\n", "only_here.py")
    folder = str(Path(first.path).parent)
    describe(write("import only_here\nbuild = lambda device: None\n"))
    assert folder in sys.path
    other = tmp_path_factory.mktemp("other") / "other.py"
    other.write_text("build = lambda device: None\n")
    describe(read_sources([other])[0])
    assert folder not in sys.path
