"""The installed PyTorch, looked at from outside: where its libraries and CUDA's headers lie.

Nothing here imports torch, so the parent process may call it.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from ffprof.errors import NullDeviceError

# What was tried. Others are attempted, and what they call beyond it is named by the report.
TESTED_TORCH = ("2.14",)


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A CUDA build of torch: its versions, its libraries, and the folders of CUDA's headers."""

    torch: str
    cuda: str
    libraries: Path
    headers: tuple[Path, ...]

    @property
    def cuda_number(self) -> int:
        """As CUDA writes its versions: 13000 for 13.0."""
        major, _, minor = self.cuda.partition(".")
        return int(major) * 1000 + int(minor or 0) * 10

    @property
    def is_tested(self) -> bool:
        """Whether this release of torch is one of those that the null device was tried with."""
        return any(self.torch.startswith(f"{release}.") for release in TESTED_TORCH)


def find_installation(folder: Path | None = None) -> Installation:
    """The torch that this Python would import, or that of ``folder`` (the package's own).

    Raises:
        NullDeviceError: there is none, or it is not a CUDA build.
    """
    folder = folder or _folder_of("torch")
    if folder is None:
        raise NullDeviceError("there is no torch to run on a null device", "install torch")
    version = _text(folder / "version.py", "__version__")
    cuda = _text(folder / "version.py", "cuda")
    if not cuda or not (folder / "lib" / "libtorch_cuda.so").exists():
        raise NullDeviceError(
            f"a null device needs a CUDA build of torch, which {version or 'this one'} is not",
            "install the CUDA build of torch, or leave estimates to the tracer",
        )
    headers = _headers(folder.parent)
    if not any((place / "cuda_runtime_api.h").exists() for place in headers):
        raise NullDeviceError(
            "CUDA's headers (cuda_runtime_api.h) are not beside torch, and a null device is "
            "compiled against them",
            "install torch from its wheels, whose nvidia packages have them",
        )
    return Installation(torch=version, cuda=cuda, libraries=folder / "lib", headers=headers)


def _folder_of(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _text(path: Path, name: str) -> str:
    """The string that a module assigns to ``name``; empty where it assigns none."""
    try:
        found = re.search(rf"^{name}\b[^=\n]*=\s*'([^']*)'", path.read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def _headers(site: Path) -> tuple[Path, ...]:
    """nvidia/cu13/include and nvidia/cudnn/include, or nvidia/cuda_runtime/include and others."""
    own = sorted((site / "nvidia").glob("*/include"))
    triton = site / "triton" / "backends" / "nvidia" / "include"
    return (*own, *([triton] if triton.exists() else []))
