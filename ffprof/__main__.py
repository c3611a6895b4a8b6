"""``python -m ffprof``, and the command ``ffprof``: streams first, then everything else."""

from __future__ import annotations

import contextlib
import os
import sys

from ffprof.harness.process.streams import open_streams


def main() -> None:
    """Run the command line and exit with its code.

    What goes wrong while it is imported is a defect of the installation, and no regression.
    """
    open_streams()
    try:
        from ffprof.cli.main import main as run
        from ffprof.harness.process.descendants import adopt_orphans
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:  # noqa: BLE001  # whatever an import may raise
        import traceback

        traceback.print_exc()
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"ffprof: error: it cannot be imported: {told}; install it again", file=sys.stderr)
        raise SystemExit(70) from None
    adopt_orphans()
    run()


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        # With -m, Python looks for every module in the current folder first, unless with -P.
        if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
            del sys.path[0]
    main()
