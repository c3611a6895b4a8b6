"""Rules about Python, the packages, PyTorch, and whether trials can be started."""

from __future__ import annotations

from ffprof.hardware.doctor.facts import Facts
from ffprof.hardware.doctor.finding import Judgement, Unknown, bad, note, ok, unknown, warn
from ffprof.hardware.doctor.readers.software import release, satisfies

OLDEST_PYTHON = (3, 11)
SLOW_START_SECONDS = 30.0  # a server that takes longer is on a slow disk or a busy machine
_REINSTALL = "pip install --upgrade --force-reinstall torch torchvision"


def python(facts: Facts) -> Judgement:
    """The version of Python."""
    software = facts.software
    seen = f"Python {'.'.join(map(str, software.python))}, ffprof {software.ffprof}"
    if software.python < OLDEST_PYTHON:
        return bad(
            seen,
            "ffprof needs Python 3.11 or newer",
            "make an environment with a newer Python",
            "python3.11 -m venv .venv && .venv/bin/pip install ffprof",
        )
    if not software.gil:
        return note(
            f"{seen}, without the global interpreter lock",
            "host code runs at another speed than in the usual build",
            "quote the build with your figures, or use the usual one",
        )
    return ok(seen)


def packages(facts: Facts) -> Judgement:
    """Everything that ffprof needs is there, and new enough."""
    installed = facts.software.installed
    missing = [name for name, version in installed.items() if version is None]
    old = [
        f"{name} {version} (needs {oldest})"
        for name, oldest in facts.software.required.items()
        if oldest and (version := installed.get(name)) and not satisfies(version, f">={oldest}")
    ]
    if missing or old:
        names = [*missing, *(word.split()[0] for word in old)]
        parts = [f"missing: {', '.join(missing)}"] if missing else []
        parts += [f"too old: {', '.join(old)}"] if old else []
        judge = bad if "torch" in missing else warn
        return judge(
            "; ".join(parts),
            "ffprof was not made for these versions: audits may fail or lack figures",
            "install what ffprof needs",
            f"pip install --upgrade {' '.join(names)}",
        )
    shown = ("torch", "torchvision", "nvidia-ml-py")
    return ok(", ".join(f"{name} {installed[name]}" for name in shown if name in installed))


def pynvml(facts: Facts) -> Judgement:
    """The module pynvml comes from nvidia-ml-py."""
    version = facts.software.pynvml_distribution
    if facts.software.pynvml_shadowed:
        origin = f"the deprecated distribution pynvml {version}" if version else "another package"
        return warn(
            f"the module pynvml comes from {origin}, not from nvidia-ml-py",
            "an old binding does not know new drivers: GPU memory of processes is misread or lost",
            "remove it and install nvidia-ml-py again",
            "pip uninstall -y pynvml",
            "pip install --force-reinstall nvidia-ml-py",
        )
    if version:
        return note(
            f"the deprecated distribution pynvml {version} is installed in addition to "
            f"nvidia-ml-py",
            "from version 12 on it has no module of its own, so it is harmless; older ones are not",
            "remove it unless another package wants it",
            "pip uninstall -y pynvml",
        )
    return ok("the module pynvml is nvidia-ml-py's")


def torch(facts: Facts) -> Judgement:
    """PyTorch can be imported in a child."""
    found = facts.child.torch
    if found is None:
        return bad(
            facts.child.problem or "no answer from the child",
            "without PyTorch nothing can be measured",
            "install PyTorch again",
            _REINSTALL,
        )
    if found.cuda_build:
        return ok(f"{found.version}, built for CUDA {found.cuda_build}")
    return ok(f"{found.version}, built for CPUs only")


def torchvision(facts: Facts) -> Judgement | Unknown:
    """PyTorch and torchvision belong together."""
    found = facts.child.torch
    if found is None:
        return unknown("torch does not start")
    installed = facts.software.installed
    have, wants = installed.get("torch") or found.version, facts.software.torchvision_wants
    version = installed.get("torchvision")
    problem = found.torchvision_problem
    if not problem and wants and not satisfies(have, wants):
        problem = f"torchvision {version} wants torch{wants}, and torch is {have}"
    if problem:
        return warn(
            problem,
            "the two are compiled against each other; workloads that use torchvision crash",
            "install matching versions in one command",
            _REINSTALL,
        )
    return ok(f"{version or 'torchvision'} belongs to torch {'.'.join(map(str, release(have)))}")


def trial_start(facts: Facts) -> Judgement | Unknown:
    """The server that CPU trials are forked from can start."""
    child = facts.child
    if child.torch is None:
        return unknown("torch does not start")
    if child.server_seconds is None or child.trial_seconds is None:
        return bad(
            child.problem or "no second child could be started",
            "every trial is a process of its own",
            "look at the limits of processes and memory of your shell",
            "ulimit -a",
        )
    seen = f"server ready in {child.server_seconds:.1f} s, then {child.trial_seconds:.2f} s a trial"
    if child.server_seconds > SLOW_START_SECONDS:
        return note(
            seen,
            "starting is never timed, but every audit waits for it",
            "put the environment on a local disk, or wait until the machine is idle",
        )
    return ok(seen)


def null_device(facts: Facts) -> Judgement | Unknown:
    """The null device, on which scripts are estimated, can be built, and a step runs on it."""
    found = facts.null_device
    if facts.asked == "cpu":
        return unknown("--device cpu")
    if found is None:
        return unknown("this runs on a null device")
    if not found.folder:
        return note(
            found.problem,
            "`ffprof estimate -- COMMAND` cannot run a script; workloads can be estimated",
            found.fix,
        )
    if found.problem:
        return warn(found.problem, "estimates of scripts fail, or are wrong", found.fix)
    seconds = found.build_seconds
    built = "kept" if seconds is None else f"compiled in {seconds:.0f} s, once, and kept"
    seen = f"a step took {(found.step_seconds or 0) * 1000:.0f} ms; {built} in {found.folder}"
    if found.unknown:
        return warn(
            f"{seen}; it does not know {', '.join(found.unknown[:3])}",
            "estimates of scripts may be wrong; they name such calls under coverage",
            "say so, with the versions of torch and CUDA",
        )
    return ok(seen)


RULES = {
    "python": python,
    "packages": packages,
    "pynvml": pynvml,
    "torch": torch,
    "torchvision": torchvision,
    "trial-start": trial_start,
    "null-device": null_device,
}
