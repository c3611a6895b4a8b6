"""Commands of ``python -m ffprof``, forked from one process that has imported what they import.

Importing takes most of the half second that a refused command lasts, and tests start hundreds. A
forked command is a process of its own as one started afresh is, with its own words, folder,
environment and output, run as ``__main__`` and ended by the interpreter; what it starts itself (the
server of the trials, with torch) is started afresh. The process that forks runs no command and
never has torch.
"""

import importlib
import json
import os
import pkgutil
import runpy
import sys
from pathlib import Path


def import_commands():
    """What the commands import when they are called."""
    import ffprof.cli

    for module in pkgutil.iter_modules(ffprof.cli.__path__, "ffprof.cli."):
        importlib.import_module(module.name)
    assert "torch" not in sys.modules


def become_the_next():
    """Returns in a forked process, with the words of its command; ends with the input."""
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.chdir(asked["cwd"])
            os.environ.clear()
            os.environ.update(asked["env"])
            wanted = (os.devnull, asked["out"], asked["err"])
            for number, (path, flags) in enumerate(zip(wanted, (os.O_RDONLY, 1, 1), strict=True)):
                descriptor = os.open(path, flags)
                os.dup2(descriptor, number)
                os.close(descriptor)
            return asked["words"]
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())
    import_commands()
    words = become_the_next()
    sys.path[0] = str(Path.cwd())
    sys.argv = ["ffprof", *words]
    runpy.run_module("ffprof", run_name="__main__", alter_sys=True)
