"""From the words of ``--data`` to data that is known to be there; free of torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing.context import BaseContext
from pathlib import Path

from ffprof.errors import DataError, UsageError
from ffprof.hardware.machine import usable_cpus
from ffprof.harness.data.archive import archive_child
from ffprof.harness.data.catalogue import (
    DATA,
    DOWNLOADABLE,
    DataInfo,
    own_place,
)
from ffprof.harness.data.folder import CLASS_LIST, listed_classes, look_through
from ffprof.harness.data.source import DataSet, DataWords
from ffprof.harness.process.child import run_child
from ffprof.records.audit import Device
from ffprof.records.recipe import DATA_CLASSES, FILE_DATA, Recipe
from ffprof.units import format_bytes

CHECK_LIMIT_SECONDS = 600.0
DOWNLOAD_LIMIT_SECONDS = 7200.0
DEFAULT_WORKERS = 4  # at most
PREFETCH = 2  # batches a worker makes ahead: torch's default
SHARED_MEMORY = Path("/dev/shm")  # what workers hand over their batches in


def look_at(words: DataWords | None, download: bool) -> DataSet | None:
    """What can be seen before a process is started; None without words.

    Raises:
        DataError: it can be seen to be unusable.
        UsageError: a download of what cannot be downloaded.
    """
    if download and (words is None or words.kind not in DOWNLOADABLE):
        what = words.kind if words else "the preset's data"
        raise UsageError(
            f"--download: there is nothing to download for {what}",
            f"use it with --data and one of {', '.join(DOWNLOADABLE)}",
        )
    if words is None:
        return None
    if words.kind == "imagefolder":
        return _tree(words, words.root)
    info = DATA.get(words.kind)
    if words.kind == "imagenet100" and info is not None:
        _check_there(info, words.root)
        only = listed_classes(info, Path(words.root))
        found = _tree(words, f"{words.root}/{info.parts()['train']}", only)
        if found.classes != info.classes:
            raise DataError(
                f"{words.root} holds {found.classes} class folders, {info.name} has {info.classes}",
                f"put the published list there as {CLASS_LIST}: it names those that are meant",
            )
        return found
    if info is not None and info.files and not download:
        _check_there(info, words.root)
    return DataSet(kind=words.kind, root=words.root, classes=DATA_CLASSES.get(words.kind))


def _tree(words: DataWords, folder: str, only: Sequence[str] | None = None) -> DataSet:
    seen = look_through(folder, only)
    return DataSet(
        kind=words.kind,
        root=words.root,
        classes=len(seen.classes),
        images=len(seen.files),
        fingerprint=seen.fingerprint(),
        skipped=tuple(name.encode("utf-8", "replace").decode() for name in seen.skipped),
    )


def _check_there(info: DataInfo, root: str) -> None:
    """Fail if the folder cannot be read, with where else it was looked for if none was named."""
    download = f" or add --download ({info.source})" if info.mirrors else f" ({info.source})"
    if not Path(root).exists() and Path(root) == own_place(info):
        package = f"apt-get install {info.package}, " if info.package else ""
        looked = " or ".join([*info.places, root])
        raise DataError(
            f"there is no {info.name} in {looked}",
            f"{package}name its folder with --data {info.name}:DIR{download}",
        )
    try:
        os.listdir(root)  # noqa: PTH208
    except OSError as error:
        more = ", or add --download to make it" if info.mirrors else ""
        raise DataError(
            f"cannot read {root}: {error.strerror or error}",
            f"name a folder that can be read{more}",
        ) from error


def complete(
    seen: DataSet,
    context: BaseContext,
    download: bool,
    say: Callable[[str], None],
    *,
    look_only: bool = False,
) -> DataSet:
    """The same, with all that is needed: what only torchvision can tell is asked in a child.

    Args:
        seen: from ``look_at``.
        context: starts the child.
        download: whether to download what is missing.
        say: told what takes long before it is done.
        look_only: nothing may be written: neither downloaded nor extracted.

    Raises:
        DataError: the data is absent or damaged, or cannot be downloaded.
    """
    if seen.kind not in FILE_DATA or seen.fingerprint:
        return seen
    limit = DOWNLOAD_LIMIT_SECONDS if download else CHECK_LIMIT_SECONDS
    ending = run_child(
        context,
        archive_child,
        (seen.kind, seen.root, download, look_only),
        limit,
        on_message=lambda _, message: say(message) if isinstance(message, str) else None,
    )
    for message in ending.messages:
        if isinstance(message, DataError):
            raise message
    found = ending.answer(DataSet)
    if isinstance(found, DataSet):
        return found
    raise DataError(f"{seen.kind} cannot be checked: {found.message}", "run again")


def resolve_workers(recipe: Recipe, device: Device) -> Recipe:
    """The recipe with its number of loader workers made explicit, or unset if there are none.

    On a CPU, training and loading share the processors: threads that wait for each other at the
    end of every operator become many times slower if there are more of them than processors. So
    the recipe's threads, if they are not fixed, are what workers leave.
    """
    if recipe.data not in FILE_DATA:
        return recipe.model_copy(update={"data_workers": None})
    cpus, threads, workers = usable_cpus(), recipe.threads, recipe.data_workers
    if device == "cuda":
        workers = min(DEFAULT_WORKERS, cpus) if workers is None else workers
        return recipe.model_copy(update={"data_workers": workers})
    if workers is None:
        share = cpus // 2 if threads is None else cpus - threads
        workers = min(DEFAULT_WORKERS, max(1, share))
    threads = max(1, cpus - workers) if threads is None else threads
    return recipe.model_copy(update={"data_workers": workers, "threads": threads})


def crowding(recipe: Recipe, device: Device) -> str | None:
    """What must be said if a CPU has fewer processors than threads and workers want."""
    wanted = (recipe.threads or 1) + (recipe.data_workers or 0)
    cpus = usable_cpus()
    if device != "cpu" or recipe.data not in FILE_DATA or wanted <= cpus:
        return None
    return (
        f"{recipe.threads} threads and {recipe.data_workers} data workers share {cpus} processors: "
        "speed suffers out of proportion; fewer --threads or --data-workers avoid it"
    )


def check_data(recipe: Recipe, found: DataSet | None) -> None:
    """Fail if the data and the recipe cannot be combined.

    Raises:
        UsageError: no folder, a data set smaller than a batch, or more batches ahead than the
            shared memory of this machine holds.
    """
    if recipe.data in FILE_DATA and not recipe.data_root:
        raise UsageError(
            f"preset {recipe.preset} wants {recipe.data} from a folder",
            f"add --data {recipe.data}:DIR",
        )
    if found is None or found.images is None:
        return
    if found.images < recipe.batch:
        raise UsageError(
            f"{found.root} holds {found.images} training images, a batch takes {recipe.batch}",
            "use a smaller --batch (and --micro-batch)",
        )
    # A worker that cannot get shared memory dies of SIGBUS in the middle of a trial.
    batch = recipe.batch * recipe.channels * recipe.image_size**2 * 4
    needed = batch * ((recipe.data_workers or 0) * PREFETCH)
    free = _shared_memory_free()
    if free is not None and needed > free:
        raise UsageError(
            f"{recipe.data_workers} data workers make batches of {format_bytes(needed)} ahead, "
            f"{SHARED_MEMORY} has {format_bytes(free)}",
            "use fewer --data-workers (0 needs none), or make it larger",
        )


def _shared_memory_free() -> int | None:
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
