"""A C++ compiler: finding one, and running it with one line of error where it fails."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ffprof.errors import NullDeviceError

_SECONDS = 300  # a compiler that takes longer hangs


def find_compiler(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The words that a C++ compiler is called with: CXX, g++, clang++ or the wheel ziglang.

    Raises:
        NullDeviceError: there is none.
    """
    environment = os.environ if environment is None else environment
    path = environment.get("PATH")
    named = shlex.split(environment.get("CXX", ""))
    if named:
        if shutil.which(named[0], path=path) is None:
            raise NullDeviceError(
                f"CXX names the compiler {named[0]}, which is not there",
                "set CXX to a C++ compiler, or unset it",
            )
        return tuple(named)
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name, path=path) is not None:
            return (name,)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "c++")
    raise NullDeviceError(
        "there is no C++ compiler, which a null device is built with",
        "install g++ or clang++, or ffprof[null], which brings one",
    )


def run_compiler(compiler: Sequence[str], *commands: Sequence[str]) -> list[str]:
    """What each call printed; all of them run at once.

    Raises:
        NullDeviceError: one failed; it has the first line of error.
    """
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    running = [
        subprocess.Popen(
            [*compiler, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
        )
        for command in commands
    ]
    printed = []
    try:
        for child in running:
            out, problems = child.communicate(timeout=_SECONDS)
            if child.returncode:
                raise NullDeviceError(
                    f"{Path(compiler[0]).name} cannot compile the null device: {_first(problems)}",
                    "set CXX to another C++ compiler, or report this line with your torch version",
                )
            printed.append(out)
    except subprocess.TimeoutExpired as error:
        raise NullDeviceError(
            f"{Path(compiler[0]).name} has compiled the null device for {_SECONDS} s without end",
            "set CXX to another C++ compiler",
        ) from error
    finally:
        for child in running:
            if child.poll() is None:
                child.kill()
            child.communicate()
    return printed


def _first(problems: str) -> str:
    lines = [line.strip() for line in problems.splitlines() if line.strip()]
    told = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
    return told[:300] or "it says nothing"
