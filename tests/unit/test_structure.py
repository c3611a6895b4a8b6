"""The code keeps its plan: arrows, names, sizes, and what is imported when."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ffprof.workload import workload_names

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "ffprof").rglob("*.py"))

# package -> what it may import from ffprof. The base modules may be imported by all.
BASE = {"errors", "units", "version"}
EVERYTHING = {
    "cli", "report", "experiments", "analysis", "estimator", "harness", "hardware", "instruments",
    "workload", "records", "nulldevice",
}  # fmt: skip
ALLOWED = {
    "cli": EVERYTHING,
    # Above all packages: the public names, and how results print themselves.
    "api.py": EVERYTHING | {"arguments", "result"},
    "study.py": EVERYTHING | {"api", "arguments", "result"},
    "engine.py": EVERYTHING | {"estimation", "result"},
    "estimation.py": EVERYTHING | {"findings", "result"},
    "findings.py": EVERYTHING | {"result"},
    "arguments.py": {"records"},
    "result.py": EVERYTHING - {"cli"},
    "report": {"analysis", "records"},
    "experiments": {
        "analysis",
        "estimator",
        "harness",
        "hardware",
        "nulldevice",
        "workload",
        "records",
    },
    "analysis": {"records"},
    "estimator": {"harness", "hardware", "instruments", "nulldevice", "workload", "records"},
    "nulldevice": {"hardware", "instruments", "records"},
    "harness": {"hardware", "instruments", "workload", "records"},
    "hardware": {"instruments", "records"},
    "instruments": {"records"},
    "workload": {"records"},
    "records": set(),
}
MOST_LINES = 400
MOST_MODULES = 17  # in a folder, besides its __init__
# Nouns that end as a gerund does: CUDACachingAllocator, machine learning, Hoeffding races, the
# bootstrap, the training of a network, a finding.
TERMS = {"caching", "finding", "learning", "racing", "resampling", "tracing", "training"}
PARTICIPLES = {"held", "told", "kept", "begun", "seen", "written", "taken", "known", "shown"}


def imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            names = [f".{alias.name}" for alias in node.names] if node.module == "ffprof" else [""]
            found |= {f"{node.module}{name}" for name in names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_run_one_way(path):
    parts = path.relative_to(ROOT / "ffprof").parts
    inside = {name.split(".")[1] for name in imports(path) if name.startswith("ffprof.")}
    assert not any(name.split(".")[0] == "workloads" for name in imports(path))
    if parts in (("__init__.py",), ("__main__.py",)):
        return  # the public names, lazily, and the command
    own = {parts[0]} if len(parts) > 1 else set()
    assert inside <= BASE | ALLOWED.get(parts[0], set()) | own


@pytest.mark.parametrize("path", sorted((ROOT / "workloads").glob("*.py")), ids=lambda p: p.name)
def test_workloads_import_the_protocol_and_torch_only(path):
    outside = {
        name
        for name in imports(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "torch", "torchvision", "workloads"}
    }
    assert outside <= {"ffprof.workload"}


def test_no_module_imports_itself_by_way_of_others():
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in MODULES}
    graph = {}
    for name, path in names.items():
        whole = {line.module for line in ast.parse(path.read_text()).body if is_from(line)}
        graph[name] = whole & names.keys() - {name}
    graphlib.TopologicalSorter(graph).prepare()


def is_from(line):
    return isinstance(line, ast.ImportFrom)


def test_no_method_is_named_in_the_instrument():
    names = {n for n in workload_names() if "-" in n} | {"dtg", "goodness", "hinton", "asge"}
    word = re.compile("|".join(rf"\b{re.escape(n)}\b" for n in names), re.IGNORECASE)
    for path in MODULES:
        found = word.findall(path.read_text())
        assert not found, (path, found)


@pytest.mark.parametrize("folder", ["ffprof", "workloads"])
def test_modules_and_folders_are_small(folder):
    paths = list((ROOT / folder).rglob("*.py"))
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert not {path: count for path, count in lines.items() if count > MOST_LINES}
    modules = Counter(path.parent for path in paths if path.name != "__init__.py")
    assert not {place: count for place, count in modules.items() if count > MOST_MODULES}


def test_files_are_named_by_nouns():
    names = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    last = {name: name.rsplit("_", 1)[-1] for name in names}
    verbal = {n for n, word in last.items() if word.endswith(("ing", "ed")) or word in PARTICIPLES}
    assert verbal <= TERMS


def named_modules():
    """Every module of ffprof that a string or a document names, with where it is named."""
    places = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), ROOT / "Makefile"]
    places += [p for d in ("ffprof", "benchmarks") for p in (ROOT / d).rglob("*.py")]
    for path in places:
        for name in re.findall(r"(?<![\w./])ffprof(?:\.[a-z][a-z_]*)+", path.read_text()):
            yield name, path.relative_to(ROOT)


def test_every_module_that_is_named_exists():
    groups = {"ffprof.workloads", "ffprof.presets", "ffprof.papers"}  # of entry points
    missing = set()
    for name, place in named_modules():
        parts = name.split(".")
        found = ROOT.joinpath(*parts)
        if name in groups or (found / "__init__.py").exists() or found.with_suffix(".py").exists():
            continue
        # A name inside a module, or a public name of the package.
        inside = ROOT.joinpath(*parts[:-1])
        known = inside.with_suffix(".py")
        known = known if known.exists() else inside / "__init__.py"
        if not (known.exists() and re.search(rf"\b{parts[-1]}\b", known.read_text())):
            missing.add((name, str(place)))
    assert not missing


def test_what_the_server_of_trials_imports_ahead_exists():
    # The fork server ignores a name that it cannot import, and every trial gets slower unseen.
    from ffprof.harness.process.child import PRELOAD

    for name in PRELOAD:
        importlib.import_module(name)


def test_a_server_that_would_import_nothing_is_not_started(monkeypatch):
    from ffprof.harness.process import child

    monkeypatch.setattr(child, "PRELOAD", [*child.PRELOAD, "ffprof.harness.proof"])
    with pytest.raises(ImportError, match=r"does not exist: ffprof\.harness\.proof"):
        child.start_context("forkserver")


def test_nothing_fits_all_exceptions():
    for path in [*MODULES, *(ROOT / "workloads").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                reraises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
                assert not names & {"Exception", "BaseException"} or reraises, path


# The rooms behind the torch walls: the parent of a trial may import all of them, but for the doors
# below, through which only children go.
FREE_OF_TORCH = {
    "cli": set(),
    "report": set(),
    "experiments": set(),
    "analysis": set(),
    "records": set(),
    "workload": {
        "ffprof.workload.adapter",
        "ffprof.workload.models.training",
        "ffprof.workload.models.transformer",
        "ffprof.workload.models.vision",
    },
    "hardware": {"ffprof.hardware.flags"},
    "harness.process": set(),
    "instruments.nvml": set(),
    # Imported once PyTorch is there.
    "nulldevice": {"ffprof.nulldevice.script.calls", "ffprof.nulldevice.script.values"},
}
# Torch-free outside, torch inside: children enter through these.
DOORS = [
    "ffprof.harness.worker", "ffprof.harness.data.source", "ffprof.estimator.worker",
    "ffprof.estimator.api", "ffprof.estimator.target",
    "ffprof.estimator.overhead", "ffprof.estimator.roofline",
]  # fmt: skip
HEAVY = "{'torch', 'pandas', 'sklearn', 'scipy'}"


def names_under(package):
    folder = ROOT / "ffprof" / package.replace(".", "/")
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__")


def assert_light(code):
    check = f"import sys; {code}; assert not {HEAVY} & set(sys.modules), set(sys.modules) & {HEAVY}"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("package", FREE_OF_TORCH)
def test_these_packages_never_import_torch(package):
    names = set(names_under(package)) - FREE_OF_TORCH[package]
    assert names
    assert_light("import " + ", ".join(sorted(names)))


@pytest.mark.parametrize("name", DOORS)
def test_the_doors_of_children_are_free_of_torch(name):
    assert_light(f"import {name}")


@pytest.mark.parametrize(
    "code",
    [
        "from ffprof.experiments.selection import all_workloads as a; assert len(a()[0]) >= 6",
        "from ffprof.workload import *; [find_preset(n) for n in preset_names()]",
        "from ffprof.hardware.cards import known_cards; known_cards()",
    ],
)
def test_what_is_known_is_known_without_torch(code):
    assert_light(code)
