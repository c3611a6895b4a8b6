"""How results print themselves: a few lines of text, and in a notebook the whole report.

It stands above records/, which may not import report/: whoever imports this, as ``ffprof.api``
does, has records that know how, and records alone need no report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ffprof.records.audit import Record
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.frontier import FrontierRecord
from ffprof.records.learning import LearningRecord

if TYPE_CHECKING:
    from ffprof.analysis.gates.result import BaselineCheck, GateResult
    from ffprof.report.document import Document

AnyRecord = Record | FrontierRecord | CalibrationRecord | LearningRecord


class Shown:
    """Prints as a few lines, and in a notebook as its whole report."""

    def documents(self) -> Sequence[Document]:
        """The reports."""
        raise NotImplementedError

    def __str__(self) -> str:
        from ffprof.report.exporters.text import render

        return "\n\n".join(map(render, self.documents()))

    def __repr__(self) -> str:
        return f"<ffprof: {'; '.join(one.title for one in self.documents())}>"

    def _repr_html_(self) -> str:
        from ffprof.report.exporters.html import render

        return "".join(map(render, self.documents()))


def _documents(record: AnyRecord) -> Sequence[Document]:
    from ffprof.report.kinds import document_of

    return (document_of(record),)


for _kind in (Record, FrontierRecord, CalibrationRecord, LearningRecord):
    setattr(_kind, "documents", _documents)  # noqa: B010
    for _name in ("__str__", "__repr__", "_repr_html_"):
        setattr(_kind, _name, vars(Shown)[_name])


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Shown):
    """What differs between two results; ``json`` is what the command prints as JSON."""

    document: Document
    json: dict[str, Any]

    def documents(self) -> Sequence[Document]:
        """The report."""
        return (self.document,)


@dataclass(frozen=True, kw_only=True, repr=False)
class CheckResult(Shown):
    """The result for every baseline; ``exit_code`` is that of ``ffprof check``."""

    checks: tuple[BaselineCheck, ...]

    @property
    def exit_code(self) -> int:
        """0 passed, 1 regressed, 3 nothing was judged, 4 not measured or cannot be decided."""
        from ffprof.report.exporters.check import code_of

        return code_of(self.checks)

    @property
    def passed(self) -> bool:
        """Whether nothing got worse and everything could be judged."""
        return self.exit_code == 0

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """Every figure that was judged."""
        return tuple(gate for one in self.checks for gate in one.result.gates)

    def documents(self) -> Sequence[Document]:
        """A report for each baseline."""
        from ffprof.report.check import checked_document

        return [checked_document(one, everything=True) for one in self.checks]
