"""``ffprof calibrate``: how noisy this machine is, and the smallest change that it lets one see.

It is an audit of the same code in both arms.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import typer

from ffprof.cli.common_options import (
    CUT,
    FORMAT,
    MEASURING,
    MODEL,
    Format,
    complete_workloads,
    takes,
    written_options,
)
from ffprof.cli.interrupts import end_when_asked
from ffprof.experiments.options import Options


@takes("preset", "workload_files", *MODEL, *CUT, *MEASURING)
def calibrate(
    context: typer.Context,
    options: Options,
    workloads: str = typer.Option(
        None,
        help="core, all, or ids separated by commas; by default core, and all of --workload-file. "
        "With --from, ids of that audit.",
        autocompletion=complete_workloads,
    ),
    device: Literal["auto", "cuda", "cpu"] = typer.Option(
        "auto", help="Device to measure on; auto is the GPU if there is one."
    ),
    rounds: int = typer.Option(
        10, max=1000, help="Trials of each workload, an even number; false alarms need 10 or more."
    ),
    from_file: Path = typer.Option(
        None,
        "--from",
        help="Calibrate from the result file of an audit; nothing is measured.",
        readable=False,
    ),
    format: Format = FORMAT,
) -> None:
    """Measure the noise of this machine.

    Runs an audit in which nothing changes, and compares every other round with those between.
    Writes the audit and the calibration, and keeps it for later runs on this machine.
    """
    _check_options(written_options(context))
    end_when_asked()
    from ffprof.cli.output.calibration import from_audit, measure

    if from_file is not None:
        raise typer.Exit(from_audit(from_file, options.out, workloads, format))
    wanted = replace(options, workloads=workloads, device=device, rounds=rounds, estimates=False)
    raise typer.Exit(measure(wanted, format))


_WITH_FROM = {"from_file", "workloads", "out", "format"}


def _check_options(written: dict[str, Any]) -> None:
    for other in written if "from_file" in written else ():
        if other not in _WITH_FROM:
            from ffprof.errors import UsageError

            raise UsageError(
                f"--from cannot be combined with --{other.replace('_', '-')}",
                "nothing is measured; leave one of them out",
            )
