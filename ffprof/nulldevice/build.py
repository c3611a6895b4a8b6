"""The compiled device: built when first needed, and kept in the user's cache.

A build is made in a folder of its own and renamed when it is whole, so that one that is killed or
that runs beside another leaves nothing half-written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ffprof.errors import NullDeviceError
from ffprof.nulldevice import answers, prototypes
from ffprof.nulldevice.compiler import find_compiler, run_compiler
from ffprof.nulldevice.installation import TESTED_TORCH, Installation, find_installation
from ffprof.nulldevice.symbols import read_symbols
from ffprof.records.files import cache_folder

NAME = "libffprof_null.so"
_SOURCES = Path(__file__).parent / "native"
# What torch's own libraries import is answered; those of other packages find the same functions.
_IMPORTERS = (
    "libtorch_cuda.so", "libc10_cuda.so", "libtorch_python.so", "libtorch_cuda_linalg.so",
    "libcaffe2_nvrtc.so", "libtorch_nvshmem.so",
)  # fmt: skip
_GENERATORS = (answers.__file__, prototypes.__file__, __file__)
_NVML_ONLY = "nvml.cpp"
_FLAGS = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-w")
_STALE_SECONDS = 3600  # after which an unfinished build belongs to nobody


def library() -> Path:
    """The folder of the compiled device; it is built if it is not there, in about ten seconds.

    Raises:
        NullDeviceError: torch is not a CUDA build, there is no compiler, or it fails.
    """
    installation = find_installation()
    folder = _folder(installation)
    if not (folder / NAME).exists():
        _build_into(folder, installation, find_compiler())
    return folder


def is_built() -> bool:
    """Whether ``library`` has nothing to build.

    Raises:
        NullDeviceError: torch is not a CUDA build.
    """
    return (_folder(find_installation()) / NAME).exists()


def _folder(installation: Installation) -> Path:
    version = f"torch-{installation.torch}-cuda-{installation.cuda}"
    try:
        cache = cache_folder()
    except RuntimeError as error:
        raise NullDeviceError(
            "there is no folder to keep the null device in", "set XDG_CACHE_HOME"
        ) from error
    return cache / "nulldevice" / f"{version}-{_digest(installation)[:16]}"


def _digest(installation: Installation) -> str:
    """Of everything that a build is made from, so that a change of any makes another build."""
    digest = hashlib.sha256()
    for path in (*sorted(_SOURCES.rglob("*.[ch]*")), *map(Path, _GENERATORS)):
        digest.update(f"{path.name}\0".encode())
        digest.update(path.read_bytes())
    for name in _IMPORTERS:
        path = installation.libraries / name
        if path.exists():
            digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\0".encode())
    digest.update("\0".join(map(str, installation.headers)).encode())
    return digest.hexdigest()


def _build_into(folder: Path, installation: Installation, compiler: Sequence[str]) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".build-"))
    except OSError as error:
        raise NullDeviceError(
            f"the null device cannot be kept in {folder.parent}: {error.strerror or error}",
            "set XDG_CACHE_HOME to a folder that you may write to",
        ) from error
    try:
        try:
            compile_device(work, installation, compiler)
        except NullDeviceError as error:
            if installation.is_tested:
                raise
            tried = " and ".join(TESTED_TORCH)
            raise NullDeviceError(
                f"{error.problem} (torch {installation.torch} has not been tried; {tried} has)",
                error.fix,
            ) from error
        with contextlib.suppress(OSError):  # another process was first: its build is as good
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not (folder / NAME).exists():
        raise NullDeviceError(
            f"the null device could not be put into {folder}", f"remove {folder} and try again"
        )


def _sweep(cache: Path) -> None:
    """Builds that were killed."""
    for path in cache.glob(".build-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def compile_device(folder: Path, installation: Installation, compiler: Sequence[str]) -> None:
    """Compile the device into an existing folder.

    Raises:
        NullDeviceError: the compiler fails.
    """
    objects = folder / "objects"
    objects.mkdir()
    include = _include(installation)
    sources = sorted(_SOURCES.glob("*.cpp"))
    number = f"-DNULL_DEVICE_CUDA={installation.cuda_number}"
    calls = [[*_FLAGS, *include, number, "-c", str(s), "-o", _object(objects, s)] for s in sources]
    headers = ["-std=c++17", "-w", *include, "-E", "-P", "-x", "c++", str(_SOURCES / "headers.h")]
    *_, preprocessed = _in_turns(compiler, [*calls, headers])
    own = [_object(objects, source) for source in sources if source.name != _NVML_ONLY]
    rest = _generate(objects, installation, own, preprocessed)
    beside = [*_FLAGS, *include, f"-I{_SOURCES}"]
    run_compiler(compiler, *([*beside, "-c", str(s), "-o", _object(objects, s)] for s in rest))
    _link(compiler, folder, [*own, *(_object(objects, source) for source in rest)])
    shutil.rmtree(objects)


def _link(compiler: Sequence[str], folder: Path, own: Sequence[str]) -> None:
    objects = folder / "objects"
    nvml = [str(objects / f"{name}.o") for name in ("nvml", "description")]
    shared = ("-shared", "-fPIC")
    run_compiler(
        compiler,
        [*shared, f"-Wl,-soname,{NAME}", "-o", str(folder / NAME), *own, "-ldl", "-lpthread"],
        [*shared, "-Wl,-soname,libnvidia-ml.so.1", "-o", str(folder / "libnvidia-ml.so.1"), *nvml],
    )
    # Whoever opens the driver by its name gets the same device.
    empty = objects / "driver_name.cpp"
    empty.write_text("")
    run_compiler(
        compiler,
        [
            *shared, "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1"), str(empty),
            "-Wl,--no-as-needed", str(folder / NAME), "-Wl,-rpath,$ORIGIN",
        ],
    )  # fmt: skip


def _in_turns(compiler: Sequence[str], calls: Sequence[Sequence[str]]) -> list[str]:
    """What all calls print, as many of them at once as there are processors."""
    at_once = max(1, len(os.sched_getaffinity(0)))
    printed: list[str] = []
    for start in range(0, len(calls), at_once):
        printed += run_compiler(compiler, *calls[start : start + at_once])
    return printed


def _object(folder: Path, source: Path) -> str:
    return str(folder / f"{source.stem}.o")


def _include(installation: Installation) -> list[str]:
    found = [word for place in installation.headers for word in ("-isystem", str(place))]
    return [*found, "-idirafter", str(_SOURCES / "fallback")]


def _generate(
    folder: Path, installation: Installation, own: Sequence[str], preprocessed: str
) -> list[Path]:
    """Write what nothing defines yet, of what torch imports and of all of runtime and driver."""
    known = prototypes.parse(preprocessed)
    wanted = {
        name
        for library_name in _IMPORTERS
        if (installation.libraries / library_name).exists()
        for name in read_symbols(installation.libraries / library_name, dynamic=True).wanted
    }
    wanted |= {name for name, p in known.items() if p.status in ("cudaError_t", "CUresult")}
    defined = {name for o in own for name in read_symbols(Path(o), dynamic=False).defined}
    missing = sorted({n for n in wanted if answers.is_ours(n)} - defined)
    sources = {
        "answers.cpp": answers.source(known[n] for n in missing if n in known),
        "names.cpp": answers.source_of_names(n for n in missing if n not in known),
    }
    for name, text in sources.items():
        (folder / name).write_text(text)
    return [folder / name for name in sources]
