"""A temporary folder that is gone afterwards, also if this process is killed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ffprof.harness.process.descendants import forget, know

# It reads until the end of its input, which comes when this process ends, however it does.
_REMOVES = 'read -r _; rm -rf -- "$1"'
_SECONDS = 10.0


@contextlib.contextmanager
def temporary_folder(prefix: str = "ffprof-") -> Iterator[Path]:
    """A new folder; that it cannot be removed is no error, nor that it has gone.

    Raises:
        OSError: there is nowhere to put it.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    remover = None
    with contextlib.suppress(OSError):  # without a shell it is removed at the end only
        remover = subprocess.Popen(
            ["/bin/sh", "-c", _REMOVES, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        know(remover.pid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if remover is not None and remover.stdin is not None:
            remover.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                remover.wait(_SECONDS)
            forget(remover.pid)
