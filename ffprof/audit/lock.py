"""One writer a result file: an advisory lock that is held while an audit writes.

The lock is on a hidden file beside the result file, because every save replaces the result file
itself. The kernel releases it when its holder ends, however it ends, so a file left behind by a
killed audit locks nothing; the next holder takes it over and removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        side.unlink(missing_ok=True)  # before it is released, so that nobody waits on a ghost
        os.close(descriptor)


def _acquire(side: Path, path: Path) -> int:
    while True:
        try:
            descriptor = os.open(side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(
                f"cannot write to {path.parent}: {error.strerror or error}",
                "copy the file to a folder you may write to",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StoreError(
                f"another audit is writing {path}", "wait until it has ended, then try again"
            ) from error
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return descriptor
            os.close(descriptor)
            raise
        if _is_still(side, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder has removed it meanwhile: lock the new one


def _is_still(side: Path, descriptor: int) -> bool:
    try:
        there = side.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
