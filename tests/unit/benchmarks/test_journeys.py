"""benchmarks/journeys.py follows a command into every process of it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from journeys import climbs, follow, imports

FILES = {
    "__init__.py": "",
    "__main__.py": "from ffprof.cli.run import run\nif __name__ == '__main__':\n    run()",
    "cli/__init__.py": "",
    "cli/run.py": """
from multiprocessing import get_context
from ffprof.harness.child import told, worked

def run():
    told()
    [told() for _ in range(3)]
    for method in ("fork", "spawn", "forkserver"):
        child = get_context(method).Process(target=worked)
        child.start()
        child.join()
        assert child.exitcode == 0
""",
    "harness/__init__.py": "",
    "harness/child.py": """
import os
from ffprof.records.known import known, never
IMPORTED = known()

def told():
    return 1

def worked():
    known()
    os._exit(0)
""",
    "records/__init__.py": "",
    "records/known.py": "def known():\n    pass\n\ndef never():\n    pass\n",
}


def checkout(folder):
    for name, text in FILES.items():
        path = folder / "ffprof" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_children_that_end_at_once_are_followed_too(tmp_path):
    found = follow(checkout(tmp_path), (), tmp_path)
    assert found.functions == {
        ("cli/run.py", "run"),
        ("harness/child.py", "told"),
        ("harness/child.py", "worked"),
        ("records/known.py", "known"),
    }
    assert found.edges == {
        ("cli/run.py", "harness/child.py"),
        ("harness/child.py", "records/known.py"),
    }
    # What happens in children, and because of an import, is no part of the command's own order.
    assert found.order == [("cli/run.py", "run"), ("harness/child.py", "told")]


def test_a_climb_leads_from_below_to_the_code_that_opens(tmp_path):
    above = {"cli": {"experiments", "harness", "records"}, "experiments": {"harness", "records"}}
    order = [
        ("cli/main.py", "main"),
        ("cli/run.py", "run"),
        ("experiments/plan.py", "plan"),
        ("harness/data.py", "look"),
        ("harness/data.py", "look"),
        ("records/recipe.py", "check"),
        ("experiments/plan.py", "later"),  # up
        ("experiments/plan.py", "plan"),  # opened before
        ("harness/process.py", "ask"),
        ("cli/run.py", "last"),  # up
        ("experiments/audit/runner.py", "go"),
        ("harness/process.py", "start"),
        ("cli/run.py", "shown"),
    ]
    assert climbs(order, above) == [
        ("harness/data.py:look", "experiments/plan.py:later"),
        ("harness/process.py:ask", "cli/run.py:last"),
    ]


def test_imports_are_followed_through_others(tmp_path):
    assert imports(checkout(tmp_path))["cli"] == {"harness", "records"}
