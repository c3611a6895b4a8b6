"""This process's own command, begun again on a null device."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from ffprof.errors import NullDeviceError
from ffprof.nulldevice.description import NullDevice, environment

_BEGUN = "FFPROF_BEGUN_ON_NULL_DEVICE"
# It reads until this process ends, however that happens. In this process's group, so that it is not
# swept as what a trial has left behind (``sweep_orphans``).
_REMOVES = 'trap "" HUP INT TERM; exec 3<&0; { read -r _ <&3; rm -rf -- "$1"; } &'


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
        _remove_at_end(folder)
        variables = {**os.environ, **environment(device, folder), _BEGUN: "1"}
        variables.pop("CUDA_VISIBLE_DEVICES", None)  # it may hide the only one
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


def _remove_at_end(folder: Path) -> None:
    reading, writing = os.pipe()
    try:
        subprocess.run(
            ["/bin/sh", "-c", _REMOVES, "sh", str(folder)],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    finally:
        os.close(reading)
    os.set_inheritable(writing, True)  # over execve; open as long as this process lives
