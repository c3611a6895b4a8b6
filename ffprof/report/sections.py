"""What must be said with the table, block by block."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ffprof.analysis import ledger
from ffprof.analysis.summary import Row
from ffprof.analysis.verdicts import count_supported
from ffprof.records.audit import Fact, GradientProof, Record, own_files
from ffprof.records.plausibility import impossible
from ffprof.records.recipe import FILE_DATA
from ffprof.report.document import Block, Column
from ffprof.units import format_rate

NOISY = 0.2  # rounds of one row that differ by more than this are reported
WAITING = 0.1  # of the timed phase: a row that waits longer for its data is reported


def problems(record: Record, rows: Sequence[Row]) -> Block:
    """What went wrong, or must be known before a figure is quoted."""
    lines = []
    for row in rows:
        lines += [f"{row.workload}: {mark}; it cannot win a claim" for mark in row.marks]
        if row.outcome and row.outcome != "ok":
            lines.append(f"{row.workload}: {row.told_outcomes()}; {'; '.join(row.messages)}")
        lines += _disturbed(row)
        if row.skipped:
            lines.append(
                f"{row.workload}: loss scaling skipped optimizer steps whose gradients were not "
                f"finite, {row.skipped} in a trial at most"
            )
        if row.memory and row.memory.low != row.memory.high:
            lines.append(
                f"{row.workload}: memory does not repeat to the byte between rounds, "
                f"{row.memory.low:,.0f} to {row.memory.high:,.0f} B"
            )
    lines += [f"not measured: {line}" for line in impossible(record)]
    lines += _not_comparable(record)
    lines += [note for note in record.notes if not _is_usual(note)]
    lines += _waiting(record, rows)
    lines += noise(rows)
    missing = record.missing()
    if missing:
        rounds = ", ".join(f"round {number + 1} {name}" for number, name in missing[:12])
        more = f" and {len(missing) - 12} more" if len(missing) > 12 else ""
        lines.append(f"missing trials, {len(missing)}: {rounds}{more}")
    return Block(heading="Problems", lines=tuple(lines))


# Notes that say nothing of a figure that its label does not say; any other must be in sight.
_USUAL = ("measured on a CPU: ", "estimated: ", "noise of this machine from ", "resumed ")
_FILE = re.compile(r"[^:]+: from .+, sha256 [0-9a-f]+")


def _is_usual(note: str) -> bool:
    return note.startswith(_USUAL) or bool(_FILE.fullmatch(note))


def notes(record: Record) -> Block:
    """What else the reader may want to know."""
    return Block(heading="Notes", lines=tuple(filter(_is_usual, record.notes)), detail=True)


def _not_comparable(record: Record) -> list[str]:
    """Rows that do other work than the recipe's, and schedules that change their method."""
    lines = []
    for name in ledger.unmatched(record.ledger):
        given = "is given" in str(record.ledger[name].facts.get("effective_batch"))
        what = "nothing of the recipe but the batch" if given else "nothing of the recipe"
        own = f"{'' if given else 'batch, '}data, network and optimizer are its own"
        lines.append(f"{name}: {what} is matched: {own}")
    for name, row in record.ledger.items():
        proof, facts = row.gradient, row.facts
        whole = facts.get("micro_batch") == facts.get("effective_batch")
        if proof is not None and proof.equal is False and whole and name != proof.reference:
            lines.append(f"{name}: its gradients are not those of {proof.reference} (--full)")
    return lines


def _disturbed(row: Row) -> list[str]:
    lines = []
    if row.retaken:
        lines.append(
            f"{row.workload}: {row.retaken} disturbed trial{'s' if row.retaken > 1 else ''} "
            f"repeated, and not counted"
        )
    if row.disturbed:
        lines.append(
            f"{row.workload}: disturbed in the trials that count: {'; '.join(row.disturbed)}"
        )
    return lines


def noise(rows: Sequence[Row]) -> list[str]:
    """Rows whose rounds differ by more than they should, in one line."""
    speeds = {r.workload: r.throughput for r in rows if r.throughput}
    noisy = {n: s for n, s in speeds.items() if s.high > (1 + NOISY) * s.low}
    if not noisy:
        return []
    worst = max(noisy, key=lambda name: noisy[name].high / noisy[name].low)
    low, high = format_rate(noisy[worst].low), format_rate(noisy[worst].high)
    most = "" if len(noisy) == 1 else " the most"
    return [
        f"rounds differ by more than {NOISY:.0%} in {len(noisy)} of {len(speeds)} rows, in "
        f"{worst}{most} ({low} to {high} img/s): close other programs and run again, and quote "
        "ratios rather than rates"
    ]


def _waiting(record: Record, rows: Sequence[Row]) -> list[str]:
    """Rows whose speed is their loader's."""
    waits = {r.workload: r.data_wait for r in rows if r.data_wait and r.data_wait > WAITING}
    if not waits or record.recipe.data not in FILE_DATA:
        return []
    told = ", ".join(f"{name} {share:.0%}" for name, share in waits.items())
    fix = "use other --data-workers, a faster disk or smaller image files"
    return [
        f"waiting for data took more than {WAITING:.0%} of the timed phase ({told}): there img/s "
        f"is the loader's speed as much as the method's; {fix}"
    ]


def verdicts(record: Record) -> Block:
    """The sentences on the recipe's claims, counted."""
    yes, no, open_ = count_supported(record.verdicts)
    heading = f"Verdicts ({yes} supported, {no} not supported, {open_} undecided)"
    lines = [v.sentence for v in record.verdicts]
    if any(v.interval and v.rounds for v in record.verdicts):
        lines.append(
            "ranges of ratios hold for all claims and looks together in 99 of 100 audits; second "
            "opinion: 95 % bootstrap and sign-flip p, informational"
        )
    return Block(heading=heading, lines=tuple(lines), detail=True)


_LONGEST = 16  # characters of a fact in the table; longer ones have a letter there


def differences(record: Record) -> tuple[Block, Block]:
    """Rows by the facts in which they differ; and facts in which all agree, or none is matched."""
    found = ledger.differences(record.ledger)
    told = {one.fact: _cells(one) for one in found}
    names = list(found[0].values) if found else []
    columns = [Column(name="workload", numeric=False)]
    columns += [
        Column(name=fact.replace("_", " "), numeric=_are_numbers(cells), folded=True)
        for fact, (cells, _) in told.items()
    ]
    table = Block(
        heading="Differences between rows",
        columns=tuple(columns) if found else (),
        rows=tuple((name, *(cells[name] for cells, _ in told.values())) for name in names),
        lines=tuple(
            f"{fact.replace('_', ' ')}: {'; '.join(f'({letter}) {text}' for text, letter in key)}"
            for fact, (_, key) in told.items()
            if key
        ),
        split=True,
        detail=True,
    )
    lines = []
    for workload, facts in ledger.unmatched(record.ledger).items():
        own = [f"{name.replace('_', ' ')}: {_fact(value)}" for name, value in facts.items()]
        lines.append(f"{workload}: {'; '.join(own)}")
    same = ledger.agreements(record.ledger)
    if same:
        rows = "all other rows" if ledger.unmatched(record.ledger) else "all rows"
        lines.append(f"the same in {rows}: " + ", ".join(n.replace("_", " ") for n in same))
    heading = "" if found else table.heading
    return table, Block(heading=heading, lines=tuple(lines), detail=True)


def _cells(difference: ledger.Difference) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The fact by workload, and what letters stand for where a value is long."""
    texts = {name: _fact(value, difference.fact) for name, value in difference.values.items()}
    if all(len(text) <= _LONGEST for text in texts.values()):
        return texts, []
    letters = {text: _letter(at) for at, text in enumerate(dict.fromkeys(texts.values()))}
    return {name: letters[text] for name, text in texts.items()}, list(letters.items())


def _letter(at: int) -> str:
    """a to z, then a1, b1 and so on."""
    return f"{'abcdefghijklmnopqrstuvwxyz'[at % 26]}{at // 26 or ''}"


def _are_numbers(cells: dict[str, str]) -> bool:
    return all(text[:1].isdigit() or text == "none" for text in cells.values())


def _fact(value: Fact, name: str = "") -> str:
    if name.endswith("_flops") and isinstance(value, int):
        return f"{value / 1e9:,.4g} G" if value else "none"
    if isinstance(value, bool) or not isinstance(value, int):
        return "none" if value in (None, "") else str(value)
    return f"{value:,}"


def gradients(record: Record) -> Block:
    """How far each schedule is from its method's full batch."""
    proofs = {name: row.gradient for name, row in record.ledger.items() if row.gradient}
    lines = [
        f"{name}: {_proof(proof)}" for name, proof in proofs.items() if name != proof.reference
    ]
    heading = "Gradients against the method's full batch (float64, on the host)"
    return Block(heading=heading, lines=tuple(lines), detail=True)


def _proof(proof: GradientProof) -> str:
    if proof.equal is None or proof.relative_difference is None:
        return proof.message
    where = f"{proof.batch} images of {proof.image_size}x{proof.image_size}"
    if proof.equal:
        worst = proof.max_relative_difference or 0.0
        size = "exactly" if worst == 0 else f"to {worst:.0e}"
        return f"equal to {proof.reference} {size} ({where})"
    largest = proof.max_relative_difference
    most = "" if largest is None else f", up to {largest:.2%} in {proof.parameter}"
    return (
        f"differs from {proof.reference} by {proof.relative_difference:.2%} of its norm{most} "
        f"({where} in micro-batches of {proof.micro_batch})"
    )


def references(record: Record) -> Block:
    """Published figures, as someone else's."""
    if own_files(record.plan.workloads, record.plan.files):
        return Block()  # they are of the preset, which no row of the user's own is
    lines = [
        f"{r.label}: {r.memory_text}, {r.images_per_second:g} img/s ({r.source})"
        for r in record.recipe.references
    ]
    return Block(
        heading="Published elsewhere, not measured here and not comparable",
        lines=tuple(lines),
        detail=True,
    )
