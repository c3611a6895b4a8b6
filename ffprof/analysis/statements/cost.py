"""Statements on memory and speed, answered by audits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ffprof.analysis.statements.answer import Agreement, Answer, Source, ratio_agreement
from ffprof.analysis.summary import MEMORY_MEANING, Row, summarise
from ffprof.analysis.verdicts import judge
from ffprof.records.audit import Record, Verdict
from ffprof.records.statement import Cost, Depth, Unsupported
from ffprof.units import format_about, format_bytes, format_rate

# What a measurement says goes before what a processor or a model does.
_WORTH = {"measured": 0, "emulated": 0, "estimated": 2, "measured (cpu)": 3}
_NULL_DEVICE = 1  # PyTorch's own memory, no speed
_FLAT = re.compile(r"flat-(\d+)-(\d+)", re.ASCII)


def cost(question: Cost, preset: str, sources: Sequence[Source]) -> Answer | None:
    """The verdict on the claim of these two rows."""
    for source, record in _audits(preset, sources):
        verdict = next(
            (
                v
                for v in judge(record)
                if (v.challenger, v.baseline, v.metric)
                == (question.workload, question.baseline, question.metric)
            ),
            None,
        )
        if verdict is None:
            continue
        if verdict.finding in ("fits", "does not fit"):
            return _of_fit(question, source, record, verdict)
        if verdict.ratio is None:
            continue
        surely = verdict.finding in ("lower", "higher", "faster", "slower")
        agreement, why = ratio_agreement(question.ratio, verdict.ratio, surely=surely)
        if not surely:
            why = {"ratio only": "no verdict on speed", "same": "the two do not differ"}.get(
                verdict.finding, why
            )
        if verdict.finding == "same":
            agreement = "contradicts"
        about = "~" if record.evidence == "estimated" and question.metric == "throughput" else ""
        return Answer(
            agreement=agreement,
            figure=f"{about}{verdict.ratio:.2f}x",
            evidence=record.evidence,
            sources=(source.name,),
            finished=source.finished,
            sentence=f"{_told(verdict)}; {_both(record, question)}; {why}",
        )
    return None


def _of_fit(question: Cost, source: Source, record: Record, verdict: Verdict) -> Answer:
    """One of the rows fits and the other does not: the sign is known, and no ratio."""
    more = verdict.finding == "does not fit"
    agreement: Agreement = "same sign" if more == (question.ratio > 1) else "contradicts"
    return Answer(
        agreement=agreement if question.metric == "memory" else "cannot tell",
        figure=verdict.finding,
        evidence=record.evidence,
        sources=(source.name,),
        finished=source.finished,
        sentence=_told(verdict),
    )


def unsupported(question: Unsupported, preset: str, sources: Sequence[Source]) -> Answer | None:
    """How many of the claims are supported after all."""
    for source, record in _audits(preset, sources):
        verdicts = [v for v in judge(record) if v.claim in question.claims]
        if not verdicts:
            continue
        against = [v for v in verdicts if v.supported is False]
        held = [v for v in verdicts if v.supported]
        return Answer(
            agreement=_of_claims(verdicts),
            figure=f"{len(held) or 'none'} of {len(verdicts)}",
            evidence=record.evidence,
            sources=(source.name,),
            finished=source.finished,
            sentence=f"{len(against)} of {len(verdicts)} claims are not supported"
            + "".join(f"; but {_told(v)}" for v in held),
        )
    return None


def depth(question: Depth, sources: Sequence[Source]) -> Answer | None:
    """How memory grows from the shallowest to the deepest of audits that are otherwise alike."""
    groups: dict[tuple[str, str], list[tuple[int, Source, Record]]] = {}
    for source, record in _audits(None, sources):
        match = _FLAT.fullmatch(record.recipe.backbone)
        if match and {question.workload, question.baseline} <= set(record.plan.workloads):
            key = record.recipe.model_copy(
                update={"backbone": f"flat-D-{match[2]}", "claims": (), "references": ()}
            )
            group = groups.setdefault((record.evidence, key.digest()), [])
            if all(blocks != int(match[1]) for blocks, _, _ in group):  # the newest of each
                group.append((int(match[1]), source, record))
    for group in groups.values():
        answer = _grown(question, sorted(group, key=lambda one: one[0]))
        if answer is not None:
            return answer
    return None


def _grown(question: Depth, group: Sequence[tuple[int, Source, Record]]) -> Answer | None:
    if len(group) < 2:
        return None
    ends = [group[0], group[-1]]
    sizes = {}
    for name in (question.workload, question.baseline):
        sizes[name] = [_memory(record, name) for _, _, record in ends]
    ours, theirs = sizes[question.workload], sizes[question.baseline]
    if None in ours or None in theirs:
        return None
    blocks = ends[1][0] - ends[0][0]
    grown = [((end or 0) - (start or 0)) / blocks for start, end in (ours, theirs)]
    if grown[1] <= 0:
        return None
    share = grown[0] / grown[1]
    device = ends[0][2].trials[0].device
    told = f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"
    return Answer(
        agreement="agrees" if share <= question.most else "contradicts",
        figure=told,
        evidence=ends[0][2].evidence,
        sources=tuple(source.name for _, source, _ in ends),
        finished=all(source.finished for _, source, _ in ends),
        sentence=f"from {ends[0][0]} to {ends[1][0]} blocks, {question.workload} grows by "
        f"{format_bytes(round(grown[0]))} a block and {question.baseline} by "
        f"{format_bytes(round(grown[1]))}: {told} of it "
        f"({MEMORY_MEANING[device]}; parameters, gradients and optimizer state are in both)",
    )


def _memory(record: Record, name: str) -> float | None:
    row = _row(record, name)
    # Whether it learns within a few steps does not matter here.
    if row is None or row.memory is None or row.settled != "ok":
        return None
    return row.memory.median


def _row(record: Record, name: str) -> Row | None:
    return next((row for row in summarise(record) if row.workload == name), None)


def _audits(preset: str | None, sources: Sequence[Source]) -> Iterator[tuple[Source, Record]]:
    """Audits of a preset, or all; measured before estimated, and a processor's last."""
    found = [
        (one, one.record)
        for one in sources
        if isinstance(one.record, Record) and preset in (None, one.record.recipe.preset)
    ]
    yield from sorted(found, key=lambda pair: _worth(pair[1]))


def _worth(record: Record) -> int:
    return _NULL_DEVICE if record.machine.null_device else _WORTH[record.evidence]


def _of_claims(verdicts: Sequence[Verdict]) -> Agreement:
    told = {v.supported for v in verdicts}
    if told == {False}:
        return "agrees"
    if told == {True}:
        return "contradicts"
    return "agrees in part" if False in told else "cannot tell"


def _told(verdict: Verdict) -> str:
    return verdict.sentence.removeprefix("estimated: ")


def _both(record: Record, question: Cost) -> str:
    """The figures themselves: ``4.42 GiB against 1.52 GiB``."""
    rows = [_row(record, name) for name in (question.workload, question.baseline)]
    if question.metric == "memory":
        sizes = [format_bytes(round(r.memory.median)) if r and r.memory else "-" for r in rows]
        return f"{sizes[0]} against {sizes[1]}"
    write = format_about if record.evidence == "estimated" else format_rate
    rates = [write(r.throughput.median if r and r.throughput else None) for r in rows]
    return f"{rates[0]} against {rates[1]} img/s"
