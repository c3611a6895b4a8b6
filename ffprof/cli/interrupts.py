"""What asks the process to end, and the exit code that it leads to."""

from __future__ import annotations

import signal


class Terminated(KeyboardInterrupt):
    """Someone asked the process to end; handled like Ctrl-C.

    ``hung_up`` is true if the terminal has gone with it.
    """

    def __init__(self, hung_up: bool = False) -> None:
        super().__init__()
        self.hung_up = hung_up


def interrupt_code(interrupt: BaseException) -> int:
    """The exit code that shells expect: 143 if asked to end, 130 after Ctrl-C."""
    return 143 if isinstance(interrupt, Terminated) else 130


def end_when_asked() -> None:
    """Have SIGTERM and SIGHUP raise ``Terminated``, unless they are ignored.

    ``nohup`` starts a command with SIGHUP ignored so that it outlives its terminal.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, raise_terminated)


def raise_terminated(number: int, frame: object) -> None:
    """A handler of signals.

    Raises:
        Terminated: always.
    """
    raise Terminated(hung_up=number == signal.SIGHUP)
