"""Python and the installed distributions, read from their metadata alone."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import metadata

from ffprof.hardware.doctor.facts import SoftwareFacts
from ffprof.version import __version__

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*(;.*)?")
_RELEASE = re.compile(r"\d+(?:\.\d+)*")
_NAMED = ("torch", "torchvision", "nvidia-ml-py")


def parse_requirement(text: str) -> tuple[str, str] | None:
    """Name and version specifier of a requirement without a marker; None for any other.

    ``torch (==2.11.0)`` is ``("torch", "==2.11.0")``; extras, which have markers, are left out.
    """
    match = _REQUIREMENT.fullmatch(text)
    if match is None or match.group(3):
        return None
    return match.group(1).lower(), match.group(2).replace(" ", "").strip()


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version without what follows them: ``2.14.1+cu130`` is (2, 14, 1)."""
    match = _RELEASE.match(version.strip())
    return tuple(int(part[:9]) for part in match.group().split(".")) if match else ()


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version keeps to ``==`` and ``>=`` clauses; other clauses are not judged."""
    for clause in specifier.split(","):
        operator, wanted = clause[:2], release(clause[2:])
        have = release(version)
        if not wanted or not have:
            continue
        width = max(len(wanted), len(have))
        padded = have + (0,) * (width - len(have)), wanted + (0,) * (width - len(wanted))
        if operator == "==" and padded[0] != padded[1] and not clause.endswith("*"):
            return False
        if operator == ">=" and padded[0] < padded[1]:
            return False
    return True


def read_software() -> SoftwareFacts:
    """What is installed in this environment."""
    required = {}
    for name, specifier in _requirements("ffprof").items():
        oldest = next((c[2:] for c in specifier.split(",") if c.startswith(">=")), "")
        required[name] = oldest
    names = dict.fromkeys((*_NAMED, *required))
    check = getattr(sys, "_is_gil_enabled", None)
    return SoftwareFacts(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        ffprof=__version__,
        gil=check() if check else True,
        installed={name: _version(name) for name in names},
        required=required,
        torchvision_wants=_requirements("torchvision").get("torch", ""),
        pynvml_distribution=_version("pynvml"),
        pynvml_shadowed=_is_package("pynvml"),
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _requirements(name: str) -> dict[str, str]:
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return {}
    return dict(found for line in lines if (found := parse_requirement(line)))


def _is_package(name: str) -> bool:
    """nvidia-ml-py has the module in one file; a folder of that name comes from elsewhere."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.submodule_search_locations is not None
