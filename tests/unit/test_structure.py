"""The house keeps its plan: arrows, names, sizes, and what is imported when."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ffprof.workload import workload_names

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "ffprof").rglob("*.py"))

# package -> what it may import from ffprof; the base modules may be imported by all.
BASE = {"errors", "units", "recipe", "record", "trial_record", "protocol", "registration"}
BASE |= {
    "workload",
    "peak_record",
    "gpu_record",
    "record_part",
    "frontier_record",
    "verdict_record",
    "calibration_record",
}
ALLOWED = {
    "cli": {"audit", "compare", "report", "hardware", "estimator"},
    "audit": {"instruments", "hardware", "estimator"},
    "estimator": {"hardware", "instruments"},
    "compare": set(),
    "report": {"compare"},
    "instruments": set(),
    "hardware": {"instruments"},
}


def imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_run_one_way(path):
    parts = path.relative_to(ROOT / "ffprof").parts
    inside = {name.split(".")[1] for name in imports(path) if name.startswith("ffprof.")}
    assert not any(name.split(".")[0] == "workloads" for name in imports(path))
    if len(parts) == 1:
        if parts[0] not in ("__init__.py", "__main__.py"):
            assert inside <= BASE
        return
    assert inside <= BASE | ALLOWED[parts[0]] | {parts[0]}


@pytest.mark.parametrize("path", sorted((ROOT / "workloads").glob("*.py")), ids=lambda p: p.name)
def test_workloads_import_the_protocol_and_torch_only(path):
    outside = {
        name
        for name in imports(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "torch", "torchvision", "workloads"}
    }
    assert outside <= {"ffprof.workload"}


def test_no_method_is_named_in_the_instrument():
    names = {n for n in workload_names() if "-" in n} | {"dtg", "goodness", "hinton", "asge"}
    word = re.compile("|".join(rf"\b{re.escape(n)}\b" for n in names), re.IGNORECASE)
    for path in MODULES:
        found = word.findall(path.read_text())
        assert not found, (path, found)


@pytest.mark.parametrize("folder", ["ffprof", "workloads"])
def test_modules_are_small(folder):
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 250
    }
    assert not long


def test_nothing_fits_all_exceptions():
    for path in [*MODULES, *(ROOT / "workloads").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                reraises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
                assert not names & {"Exception", "BaseException"} or reraises, path


@pytest.mark.parametrize(
    "code",
    [
        "import ffprof.cli.main",
        "import ffprof.report.terminal, ffprof.report.markdown, ffprof.compare.verdicts",
        "import ffprof.cli.prepare, ffprof.audit.runner",
        "import ffprof.cli.capacity, ffprof.audit.store_frontier, ffprof.report.documents",
        "import ffprof.cli.estimate, ffprof.cli.answers, ffprof.estimator.api, ffprof.audit.asked",
        "import ffprof.cli.frontier, ffprof.cli.frontier_request, ffprof.report.frontier",
        "import ffprof.audit.frontier, ffprof.audit.store_frontier, ffprof.compare.standing",
        "import ffprof.cli.calibrate, ffprof.cli.calibrating, ffprof.compare.calibration",
        "import ffprof.hardware.kept_noise, ffprof.report.calibration, ffprof.cli.known_noise",
        "import ffprof.cli.doctor, ffprof.cli.findings, ffprof.hardware.doctor.diagnose",
        "import ffprof.cli.check, ffprof.cli.checking, ffprof.report.checked_formats",
        "import ffprof.cli.measuring, ffprof.audit.sampler_cost, ffprof.instruments.nvml",
        "import ffprof.cli.cards, ffprof.hardware.cards; ffprof.hardware.cards.known_cards()",
        "import ffprof.estimator.process, ffprof.estimator.learned, ffprof.estimator.roofline",
        "from ffprof.cli.choose import all_workloads; assert len(all_workloads()[0]) >= 6",
        "from ffprof.workload import *; [find_preset(n) for n in preset_names()]",
    ],
)
def test_the_parent_never_imports_torch(code):
    heavy = "{'torch', 'pandas', 'sklearn', 'scipy'}"
    check = f"import sys; {code}; assert not {heavy} & set(sys.modules), set(sys.modules) & {heavy}"
    subprocess.run([sys.executable, "-c", check], check=True)
