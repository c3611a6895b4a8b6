"""This process's own command, begun again on a null device."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from ffprof.errors import NullDeviceError
from ffprof.nulldevice.description import NullDevice, environment, inherited

# Its value is the process that removes the folder, which then is a child that this process knows
# (``ffprof.harness.process.descendants``).
_BEGUN = "FFPROF_BEGUN_ON_NULL_DEVICE"
# It reads until this process ends, however that happens, in a session of its own.
_REMOVES = 'trap "" HUP INT TERM; exec 3<&0; { read -r _ <&3; rm -rf -- "$1"; } >&- & echo $!'


def continue_on(device: NullDevice) -> NoReturn:
    """Execute the command anew, with its words and streams, where ``device`` is the only GPU.

    It is the same process, so signals and its exit status are those of the command. The folder
    that the device shares between processes is removed when it ends.

    Raises:
        NullDeviceError: the device cannot be built, or the program not be executed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        folder = Path(tempfile.mkdtemp(prefix="ffprof-device-"))
        made = environment(device, folder)
        remover = _remove_at_end(folder)
        variables = {**inherited(), **made, _BEGUN: str(remover)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)
    except OSError as error:
        raise NullDeviceError(
            f"the command cannot be started on a null device: {error.strerror or error}",
            "look at the temporary folder (TMPDIR)",
        ) from error


def may_fork() -> bool:
    """Whether this command was begun again like that: then no process has to be a new one.

    CUDA's own code may not be used in a process that was forked after it was loaded; the null
    device may (tests/integration/test_nulldevice.py). A new process imports PyTorch for seconds.
    """
    return bool(os.environ.get(_BEGUN))


def _remove_at_end(folder: Path) -> int:
    """Start what removes a folder once this process has ended; its number."""
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", _REMOVES, "sh", str(folder)],
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(reading)
    os.set_inheritable(writing, True)  # over execve; open as long as this process lives
    return int(done.stdout or 0)
