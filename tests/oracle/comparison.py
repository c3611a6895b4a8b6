"""The verdict on one step: what the tracer says of it against what PyTorch's CUDA code takes."""

from collections import Counter
from dataclasses import dataclass

from differences import CAUSES

CLOSE = 0.01  # "within 1 %", of each of the four peaks
VERDICTS = ("equal", "within 1 %", "off", "refused", "failed")
_HEAD = ("step", "steady, MiB", "cold less CUDA, bytes", "steady less CUDA, bytes", "order")
_WIDE = (46, 19, 25, 25, 26)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Either side is ``Figures``, or a text: why it has none."""

    name: str
    cuda: object
    tracer: object

    @property
    def less(self):
        """Tracer less CUDA, bytes: allocated and reserved, cold and steady."""
        pairs = zip(self.tracer.peaks, self.cuda.peaks, strict=True)
        return tuple(ours - theirs for ours, theirs in pairs)

    @property
    def verdict(self):
        """One of ``VERDICTS``."""
        if isinstance(self.cuda, str):
            return "failed"
        if isinstance(self.tracer, str):
            return "refused"
        if not any(self.less):
            return "equal"
        shares = zip(self.less, self.cuda.peaks, strict=True)
        return "within 1 %" if all(abs(d) <= CLOSE * of for d, of in shares) else "off"

    @property
    def order(self):
        """How the sizes follow each other: the same, or where they first differ."""
        ours, theirs = self.tracer.sizes, self.cuda.sizes
        if ours == theirs:
            return f"the same {len(ours)}"
        alike = 0
        for one, other in zip(ours, theirs, strict=False):
            if one != other:
                break
            alike += 1
        return f"differs from {alike + 1} of {len(theirs)}"

    @property
    def cause(self):
        """Why it is not equal."""
        if self.verdict == "failed":
            return self.cuda
        if self.verdict == "refused":
            return self.tracer
        return "" if self.verdict == "equal" else CAUSES.get(self.name, "not explained")

    def line(self):
        """A line of the table."""
        if self.verdict in ("failed", "refused"):
            steady = "" if isinstance(self.cuda, str) else _mib(self.cuda.steady)
            return f"{self.name:{_WIDE[0]}} {steady:>{_WIDE[1]}}  {self.verdict}: {self.cause}"
        less = self.less
        cells = (
            f"{self.name:{_WIDE[0]}}",
            f"{_mib(self.cuda.steady):>{_WIDE[1]}}",
            f"{_pair(less[:2]):>{_WIDE[2]}}",
            f"{_pair(less[2:]):>{_WIDE[3]}}",
            f"{self.order:{_WIDE[4]}}",
            self.verdict + (f": {self.cause}" if self.cause else ""),
        )
        return "  ".join(cells)


def head():
    """The line above all others."""
    cells = (
        f"{word:{'>' if at in (1, 2, 3) else '<'}{_WIDE[at]}}" for at, word in enumerate(_HEAD)
    )
    return "  ".join((*cells, "verdict"))


def counts(compared):
    """How many steps have each verdict, and how many the same order, in one line."""
    found = Counter(one.verdict for one in compared)
    both = [c for c in compared if c.verdict not in ("failed", "refused")]
    same = sum(c.cuda.sizes == c.tracer.sizes for c in both)
    parts = [f"{found[name]} {name}" for name in VERDICTS]
    return f"{len(compared)} steps: {', '.join(parts)}; in the same order {same} of {len(both)}"


def _pair(values):
    return " / ".join(f"{value:+,}" if value else "0" for value in values)


def _mib(values):
    return " / ".join(f"{value / 2**20:,.1f}" for value in values)
