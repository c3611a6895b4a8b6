"""The report of a calibration: noise, drift, and the smallest change that can be seen."""

from __future__ import annotations

from ffprof.analysis.statistics.intervals import ZONE
from ffprof.analysis.statistics.looks import LOOKS
from ffprof.records.calibration import ArmChange, CalibrationRecord, WorkloadNoise
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.header import images, processor, torch_of
from ffprof.units import format_rate, format_ratio

NOISY = 0.05  # processes of one row that differ by more than this: something else is running
ADVISED_LOOK = 9  # rounds
FEW_STEPS = 10  # fewer timed steps than this: their own noise is not averaged out
DRIFTING = 0.01  # the chance that noise alone gives as much: less is the machine's doing

_COLUMNS = (
    Column(name="workload", numeric=False),
    Column(name="img/s"),
    Column(name="noise"),
    *(Column(name=f"{look} rounds") for look in LOOKS),
    Column(name="A/A", wide=True),
    Column(name="speeds", numeric=False, wide=True),
)


def calibration_document(record: CalibrationRecord) -> Document:
    """One line a workload, and in words what it means."""
    rows = len(record.noise)
    where = "processor" if record.evidence == "measured (cpu)" else "GPU"
    return printable(
        Document(
            title=f"Noise of this {where}: {record.subject}, {record.evidence}",
            setting=_setting(record),
            blocks=(
                Block(
                    columns=_COLUMNS,
                    rows=tuple(_cells(row, record) for row in record.noise),
                    caption="noise: standard deviation of the speed between processes, without "
                    "what all workloads of a round share; "
                    f"{', '.join(map(str, LOOKS))} rounds: the smallest loss of speed that a "
                    f"comparison of {rows} workload{'' if rows == 1 else 's'} finds in 19 of 20 "
                    "cases; A/A: every other round over those between",
                ),
                Block(heading="What can be seen here", lines=_seen(record)),
                Block(heading="Drift", lines=_drift(record)),
                Block(heading="False alarms", lines=_alarms(record)),
                Block(heading="Notes", lines=(*record.notes, f"the trials are in {record.audit}")),
            ),
        )
    )


def percent(share: float) -> str:
    """``0.8 %``, ``4.2 %``, ``12 %``; whole ones without a decimal."""
    digits = 1 if share < 0.0995 else 0
    return f"{100 * share:.{digits}f}".removesuffix(".0") + " %"


def _setting(record: CalibrationRecord) -> tuple[str, ...]:
    recipe = record.recipe
    return (
        f"{recipe.backbone} at width {recipe.width:g}, {images(recipe)}, batch {recipe.batch}, "
        f"micro-batch {recipe.micro_batch}, {recipe.precision}",
        f"{processor(record)}, {torch_of(record.machine)}",
        f"{record.rounds} rounds of up to {recipe.steps} steps, measured "
        f"{record.created:%Y-%m-%d %H:%M} UTC",
    )


def _cells(row: WorkloadNoise, record: CalibrationRecord) -> tuple[str, ...]:
    shares = {visible.rounds: visible.share for visible in row.visible}
    ratio = next((arm.ratio for arm in record.arms if arm.workload == row.workload), None)
    return (
        row.workload,
        format_rate(row.images_per_second),
        percent(row.sd),
        *(percent(shares[look]) if look in shares else "-" for look in LOOKS),
        "-" if ratio is None else f"{ratio:.3f}x",
        "two" if row.speeds else "one",
    )


def _share(row: WorkloadNoise) -> float | None:
    return next((v.share for v in row.visible if v.rounds == ADVISED_LOOK), None)


def _seen(record: CalibrationRecord) -> tuple[str, ...]:
    known = [(share, row.workload) for row in record.noise if (share := _share(row)) is not None]
    lines = []
    if known:
        (least, quiet), (most, loud) = min(known), max(known)
        told = f"with {ADVISED_LOOK} rounds, a difference must be {percent(most)} or more"
        if percent(least) != percent(most):
            told += f" in {loud}, the noisiest row, and {percent(least)} in {quiet}"
        lines.append(
            f"{told}, to be found in 19 of 20 comparisons; {percent(ZONE)} of that is the zone in "
            "which speeds count as the same"
        )
    noisy = [row.workload for row in record.noise if row.sd > NOISY]
    if noisy:
        few = record.recipe.steps < FEW_STEPS
        steps = f"; {record.recipe.steps} steps a trial are few: raise --steps" if few else ""
        lines.append(
            f"processes differ by more than {percent(NOISY)} in {len(noisy)} of "
            f"{len(record.noise)} rows: close other programs and calibrate again; ffprof doctor "
            f"says what disturbs measurements{steps}"
        )
    lines += [
        f"{row.workload}: {row.speeds}; if that stays when no other program runs, it belongs to "
        "processes: more rounds help, and more steps do not"
        for row in record.noise
        if row.speeds
    ]
    return tuple(lines)


def _drift(record: CalibrationRecord) -> tuple[str, ...]:
    drift = record.drift
    if drift is None:
        return ()
    told = (
        f"rounds as a whole differ by {percent(drift.sd)} (standard deviation), where noise of "
        f"the rows alone would give {percent(drift.expected)}"
    )
    if drift.chance < DRIFTING:
        return (
            f"{told}: the speed of the machine itself changes; ratios inside a run do not suffer, "
            "rates of different runs do",
        )
    return (f"{told}: no drift of the machine can be seen",)


def _alarms(record: CalibrationRecord) -> tuple[str, ...]:
    if not record.arms:
        return ()
    half = record.rounds // 2
    if half < LOOKS[0]:
        return (
            f"not tried: halves of {half} rounds are too short for verdicts, which need "
            f"{LOOKS[0]} (--rounds {2 * LOOKS[0]} or more)",
        )
    found = record.false_alarms
    left_out = tuple(
        f"{arm.workload}: no verdict, {arm.because}" for arm in record.arms if arm.because
    )
    head = f"rounds 2, 4, ... against 1, 3, ..., {half} each, {len(record.arms)} claims"
    if not found:
        unsure = sum(arm.finding == "inconclusive" for arm in record.arms)
        told = f"; {unsure} could not tell" if unsure else ""
        return (f"{head}: no change was found, and there is none{told}", *left_out)
    return (
        f"{head}: {len(found)} changed by what was found, though nothing was changed",
        *(f"{arm.workload}: {arm.finding}, {_interval(arm)}" for arm in found),
        "do not trust verdicts on speed from this machine in this state: close other programs, and "
        "calibrate again",
        *left_out,
    )


def _interval(arm: ArmChange) -> str:
    ratio = format_ratio(arm.ratio)
    if arm.low is None or arm.high is None:
        return ratio
    return f"{ratio} (interval {arm.low:.3f} to {arm.high:.3f})"
