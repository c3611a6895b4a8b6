"""What a command ends with when it is asked to end; free of heavy imports."""

from __future__ import annotations


class Terminated(KeyboardInterrupt):
    """Somebody asked the process to end; handled like Ctrl-C.

    ``hung_up`` is true if the terminal has gone with it.
    """

    def __init__(self, hung_up: bool = False) -> None:
        super().__init__()
        self.hung_up = hung_up


def interrupt_code(interrupt: BaseException) -> int:
    """The exit code that shells expect: 143 if asked to end, 130 after Ctrl-C."""
    return 143 if isinstance(interrupt, Terminated) else 130
