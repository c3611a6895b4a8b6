"""How files are written and locked: whole or not at all, and by one writer.

A file is written to one without a name in the same folder, flushed to the disk, named and renamed,
so a reader sees the old one or the new one, never half of one.

A result file has one writer: an advisory lock is held while an audit writes. The lock is on a
hidden file next to the result file, because every save replaces the result file itself. The
kernel releases it when its holder ends, however it ends, so a file left behind by a killed audit
locks nothing; the next holder takes it over and removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from ffprof.errors import StoreError

_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def lock_path(path: Path) -> Path:
    """The hidden file that stands for a result file's lock."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Be the only audit that writes ``path``; on a file system without locks, just go on.

    Raises:
        StoreError: another process is writing it, or the folder cannot be written to.
    """
    side = lock_path(path)
    descriptor = _acquire(side, path)
    try:
        yield
    finally:
        with suppress(OSError):  # cleaning up replaces no result
            side.unlink()  # before it is released, so that nobody waits on a ghost
        os.close(descriptor)


def _acquire(side: Path, path: Path) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(side, flags, 0o666)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise FileExistsError(errno.EEXIST, f"{side.name} is there, and is no file")
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EEXIST, errno.ENXIO):
                raise StoreError(
                    f"the lock {side} is a link or no file", "remove it, if nobody needs it"
                ) from error
            raise StoreError(
                f"cannot write to {path.parent}: {error.strerror or error}",
                "copy the file to a folder you may write to",
            ) from error
        try:
            locked = try_lock(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        if locked is False:
            os.close(descriptor)
            raise StoreError(
                f"another audit is writing {path}", "wait until it has ended, then try again"
            )
        if locked is None or _is_still(side, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder has removed it meanwhile: lock the new one


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this process, if nobody else has; None where there are no locks.

    Raises:
        OSError: it cannot be told.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS_HERE:
            return None
        raise
    return True


def _is_still(side: Path, descriptor: int) -> bool:
    try:
        there = side.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


@contextmanager
def replacement(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of ``path`` once the block has ended well.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    descriptor, temporary, named = _new_file(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # it was made private
            if not named:
                # With a descriptor of a folder, which this name does not need; without one the link
                # itself would be linked (CPython's issue 81793).
                number = file.fileno()
                try:
                    os.link(
                        f"/proc/self/fd/{number}", temporary, src_dir_fd=number,
                        follow_symlinks=True,
                    )  # fmt: skip
                except OSError:  # as where /proc is closed
                    _copy(number, temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _new_file(path: Path) -> tuple[int, Path, bool]:
    """A file beside this one, its name, and whether it has it before it is whole.

    It has not if that can be, so a process that is killed while it writes leaves nothing (but in
    the moment between its name and ``path``). Network file systems have no such files.
    """
    if Path("/proc/self/fd").is_dir():
        with suppress(OSError, AttributeError):
            descriptor = os.open(path.parent, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
            return descriptor, path.with_name(f".{path.name}.{secrets.token_hex(4)}"), False
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    return descriptor, Path(name), True


def _copy(descriptor: int, path: Path) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as source, path.open("xb") as file:
        os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(descriptor).st_mode))
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by another in one step.

    Raises:
        StoreError: the folder cannot be written to.
    """
    try:
        with replacement(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def write_elsewhere(path: Path, text: str) -> Path | None:
    """Write what cannot be written to ``path`` to the first folder that takes it; None if none.

    That is the current one, that of the user, or the temporary one.
    """
    for find in (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError, RuntimeError):
            other = find() / path.name
            if other.exists():
                other = other.with_name(f"{path.stem}-{os.getpid()}{path.suffix}")
            with replacement(other) as file:
                file.write(text.encode())
            return other
    return None


def new_path(folder: Path, kind: str, name: str, created: datetime) -> Path:
    """A path that no result file has yet: ``KIND-NAME-DATE-TIME-PROCESS.json``.

    The process keeps two apart that start in the same second, and a number two of one process.
    """
    stem = f"{kind}-{name}-{created:%Y%m%d-%H%M%S}-{os.getpid()}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    return next(path for one in names if not (path := folder / f"{one}.json").exists())


def prepare_folder(folder: Path) -> None:
    """Make the output folder and prove that it can be written to.

    Raises:
        StoreError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".ffprof-"):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write to {path}: {error.strerror or error}",
        "name a folder you may write to with --out DIR",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Where small files are kept for the user: ffprof/ in XDG_CACHE_HOME, by default ~/.cache.

    A relative XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification asks.

    Raises:
        RuntimeError: nobody's home folder is known.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named and Path(named).is_absolute() else Path.home() / ".cache"
    return base / "ffprof"


_SIGNS = (  # how what is often there in a text file's stead begins, and what to do about it
    (b"\xff\xfe", "is UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text", "save it as UTF-8"),
    (b"\xef\xbb\xbf", "begins with a byte order mark", "save it as UTF-8 without one"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file", "fetch it: git lfs pull"),
    (b"<<<<<<< ", "has an unresolved merge conflict", "resolve it"),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it"),
    (b"PK\x03\x04", "is a ZIP archive", "unpack it"),
    (b"<!DOCTYPE", "is a web page", "download the file itself"),
    (b"<html", "is a web page", "download the file itself"),
)


def foreign_content(data: bytes) -> tuple[str, str] | None:
    """What a file of text is instead, and what to do; None if nothing of that is seen.

    It is named by how it begins, by a conflict's lines, or because nothing is in it.
    """
    if not data.strip():
        return "is empty", "restore it"
    for sign, what, fix in _SIGNS:
        if data.startswith(sign):
            return what, fix
    if b"\n<<<<<<< " in data and b"\n>>>>>>> " in data:
        return "has an unresolved merge conflict", "resolve it"
    if len(data) > 1 and data[:2].isascii() and data[:2].count(b"\0") == 1:
        return _SIGNS[0][1:]
    return None


def read_at_most(path: Path, most_bytes: int) -> bytes | None:
    """What a file holds; None if that is more than ``most_bytes``.

    Raises:
        OSError: it cannot be read, or is not there.
    """
    with path.open("rb") as file:
        raw = file.read(most_bytes + 1)
    return raw if len(raw) <= most_bytes else None
