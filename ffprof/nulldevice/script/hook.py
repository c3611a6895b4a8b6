"""Waiting for a script's ``import torch``; nothing happens before, nor if it never comes."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _AfterTorch(MetaPathFinder):
    """Finds torch as everyone does, and calls the watch when it has been imported."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                from ffprof.nulldevice.script.watch import Watch

                Watch().install()

            vars(spec.loader)["exec_module"] = exec_module
        return spec


def wait_for_torch() -> None:
    """Watch this process from its ``import torch`` on."""
    sys.meta_path.insert(0, _AfterTorch())
