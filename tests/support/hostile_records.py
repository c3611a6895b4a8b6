"""Damaged result files, made from real ones by what is known of their structure."""

import json
import random
import re
from functools import cache
from pathlib import Path

from calibrations import calibrated, noisy_audit
from frontiers import frontier, point
from studies import run, study

from ffprof.records.recipe import Recipe
from ffprof.records.store import load
from ffprof.records.trial import Trial

RESULTS = Path(__file__).resolve().parents[2] / "results"
_FEW = 3  # workloads, and of each list

NUMBERS = [
    0, -1, 1, 2, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**18, 10**308, 10**400,
    0.5, -0.0, 1e-9, 5e-324, 1e15, 1e16, 1.7976931348623157e308, -1e308, 3.0, 1e22,
]  # fmt: skip
LITERALS = [
    "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "-0", "-0.0", "1E+2", "1e-400", "01", "+1",
    ".5", "1.", "0x10", "True", "None", "undefined", "9" * 4000, "9" * 5000, "1e999999999",
    "0." + "3" * 400, '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', "''",
]  # fmt: skip
STRINGS = [
    "", " ", "\n", "\r\n", "\t", "a\nb\nc", "\x00", "\x07\x08", "\x1b[2J\x1b]0;owned\x07", "\x7f",
    "\x9b31m", "\u202eabc", "\u2028\u2029", "\ufeff", "\u200b" * 3, "\U000e0001",
    "e" + "\u0301" * 50, "\U0001f9ea", "漢字" * 20, "|`*_[]<>#\\", "[bold red]x[/]", "[/]",
    "%s %d {} {0} {x}",
    "../../../etc/passwd", "/dev/zero", "C:\\con", "a" * 100, "a" * 101, "a" * 4000, "b " * 3000,
    "a" * 100_000, "null", "NaN", "1", "family:", "family:bp", "2026-01-02T03:04:05Z", "bp", "ok",
    "::error file=a::b", "##[error]x", "<script>alert(1)</script>", "![x](http://x)",
    "[x](javascript:x)", "<!-- x -->", "https://me:hunter2@host", "HF_TOKEN=hunter2",
    "f" * 64, "=1+1", "$(id)", "-", "--help", "\\ud800",
]  # fmt: skip
VALUES = [
    None, True, False, {}, [], [[]], [None], {"": None}, "x", 0, -1, 1.5, [1, 2], [1, 2, 3],
    {"a": 1}, [[1]] * 3, {"a": {"b": {"c": []}}}, [0] * 1000,
]  # fmt: skip
VERSIONS = [0, -1, 2, 3, 10**30, 1.0, 1.5, "1", True, None, [1], {"1": 1}, 2**63]


@cache
def originals():
    """By name, the JSON of valid files: audits from results/, cut, and records beside them."""
    made = {
        path.stem: _cut(json.loads(load(path).model_dump_json()))
        for path in RESULTS.glob("audit-*.json")
    }
    trials = [Trial.model_validate(t) for t in made["audit-cifar-cpu"]["trials"][:2]]
    evidence = trials[0].evidence
    points = (
        point("a", 8, trials=tuple(trials), standing="measured", on_frontier=True, best=True),
        point("a", 4, standing="dominated", because="a@8"),
        point("b", 8, standing="refused", because="told"),
    )
    beside = {
        "frontier": frontier("frontier", points=points, evidence=evidence),
        "capacity": frontier("capacity"),
        "calibration": calibrated(noisy_audit()),
        "learning": study([run(name, 0.9, seed=n) for name in ("bp", "ff") for n in (0, 1, 2)]),
    }
    made |= {name: json.loads(one.model_dump_json()) for name, one in beside.items()}
    return {name: json.dumps(document) for name, document in made.items()}


def _cut(document):
    names = document["plan"]["workloads"][:_FEW]
    document["plan"]["workloads"] = names
    for field in ("trials", "discarded"):
        kept = [t for t in document[field] if t["workload"] in names][: 2 * _FEW]
        for trial in kept:
            if trial["throughput"]:
                times = trial["throughput"]["step_seconds"]
                trial["throughput"]["step_seconds"] = times[:_FEW]
        document[field] = kept
    document["ledger"] = {n: row for n, row in document["ledger"].items() if n in names}
    for row in document["ledger"].values():
        row["operators"] = dict(list(row.get("operators", {}).items())[:_FEW])
    document["verdicts"] = document["verdicts"][:_FEW]
    return document


class Damage:
    """Ways to damage a file; the same generator damages in the same way."""

    def __init__(self, rng: random.Random):
        self.rng = rng

    def make(self, kind: str) -> bytes:
        """A damaged file of one kind; see ``KINDS``."""
        name = self.rng.choice(list(originals()))
        if kind in BYTES:
            return BYTES[kind](self, originals()[name].encode())
        document = json.loads(originals()[name])
        if kind == "several":
            for _ in range(self.rng.randint(2, 6)):
                _TREES[self.rng.choice(list(_TREES))](self, document)
        else:
            _TREES[kind](self, document)
        if self.rng.random() < 0.6:
            _mend(document)
        return _text(document).encode("utf-8", "surrogatepass")

    def place(self, document, wanted=lambda _: True):
        """A random (container, key) whose value is wanted; the root's if there is none."""
        places = [(c, k) for c, k in _places(document) if wanted(c[k])]
        return self.rng.choice(places) if places else (document, next(iter(document), "x"))

    def number(self):
        """A number at an edge, or any."""
        if self.rng.random() < 0.7:
            return self.rng.choice(NUMBERS)
        return self.rng.choice([self.rng.randint(-10, 1000), self.rng.uniform(-1e6, 1e6)])

    def string(self):
        """A string at an edge, or of random characters."""
        if self.rng.random() < 0.7:
            return self.rng.choice(STRINGS)
        return "".join(chr(self.rng.randint(0, 0x2FFF)) for _ in range(self.rng.randint(1, 30)))

    def drop(self, document):
        container, key = self.place(document)
        del container[key]

    def double(self, document):
        container, key = self.place(document)
        if isinstance(container, list):
            container.insert(key, _copy(container[key]))
        else:
            container[self.string() if self.rng.random() < 0.5 else f"{key} "] = _copy(
                container[key]
            )

    def retype(self, document):
        container, key = self.place(document)
        container[key] = _copy(self.rng.choice(VALUES))

    def numbers(self, document):
        for _ in range(self.rng.randint(1, 4)):
            container, key = self.place(document, _is_number)
            container[key] = self.number()

    def strings(self, document):
        for _ in range(self.rng.randint(1, 4)):
            container, key = self.place(document, lambda value: isinstance(value, str))
            container[key] = self.string()

    def names(self, document):
        """A name is another everywhere, so that what refers to it still does."""
        container, key = self.place(document, lambda value: isinstance(value, str))
        old, new = container[key], self.string()[:100]
        for where, at in list(_places(document)):
            if where[at] == old:
                where[at] = new
            if at == old and isinstance(where, dict):
                where[new] = where.pop(old)

    def nulls(self, document):
        for _ in range(self.rng.randint(1, 3)):
            container, key = self.place(document, lambda value: not isinstance(value, list | dict))
            container[key] = None

    def literals(self, document):
        container, key = self.place(document)
        container[key] = f"@raw:{self.rng.choice(LITERALS)}@"

    def nest(self, document):
        container, key = self.place(document)
        depth = self.rng.choice([10, 100, 199, 200, 201, 250, 1000, 10_000])
        opened, closed = self.rng.choice([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
        closing = closed * depth if self.rng.random() < 0.8 else ""
        container[key] = f"@raw:{opened * depth}1{closing}@"

    def double_key(self, document):
        container, key = self.place(document, lambda value: not isinstance(value, list | dict))
        if isinstance(container, dict):
            again = json.dumps(self.rng.choice(VALUES))
            container[key] = f"@raw:{json.dumps(container[key])},{json.dumps(key)}:{again}@"

    def version(self, document):
        document["schema_version"] = self.rng.choice(VERSIONS)

    def swap(self, document):
        other = json.loads(originals()[self.rng.choice(list(originals()))])
        if self.rng.random() < 0.3:
            document["kind"] = self.rng.choice(["frontier", "capacity", "audit", "", None, 1, []])
        else:
            for key in self.rng.sample(sorted(other), self.rng.randint(1, 4)):
                document[key] = other[key]

    def splice(self, document):
        container, key = self.place(document)
        where, at = self.place(document)
        container[key] = _copy(where[at])

    def shuffle(self, document):
        container, key = self.place(document, lambda value: isinstance(value, list))
        if isinstance(container[key], list):
            self.rng.shuffle(container[key])
            container[key] = _copy(container[key] * self.rng.choice([1, 1, 2, 20]))

    def outcomes(self, document):
        """Trials that ended otherwise, in other rounds, of other workloads."""
        found = [one for one, key in _places(document) if key == "outcome"]
        names = [one[key] for one, key in _places(document) if key == "workload"] or ["a"]
        for trial in found:
            trial["outcome"] = self.rng.choice(["ok", "oom", "timeout", "crashed", "refused"])
            trial["workload"] = self.rng.choice(names)
            trial["round"] = self.rng.randint(0, 9)
            if self.rng.random() < 0.3:
                trial["loss"] = None

    def many(self, document):
        if self.rng.random() < 0.9:
            return self.shuffle(document)
        count = self.rng.choice([10_000, 30_000])
        container, key = self.place(document, lambda value: isinstance(value, list | dict))
        part = self.rng.choice(["{}", "[]", "0", '""', "null"])
        keys = ",".join(f'"{n}":{part}' for n in range(count))
        container[key] = self.rng.choice(
            [f"@raw:[{','.join([part] * count)}]@", f"@raw:{{{keys}}}@"]
        )
        return None

    def flip(self, data):
        made = bytearray(data)
        for _ in range(self.rng.randint(1, 8)):
            made[self.rng.randrange(len(made))] ^= 1 << self.rng.randrange(8)
        return bytes(made)

    def foreign(self, data):
        at = self.rng.randrange(len(data))
        odd = [b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\x00"]
        return data[:at] + self.rng.choice(odd) + data[at + self.rng.randint(0, 3) :]

    def mark(self, data):
        marks = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"PK\x03\x04", b"%PDF"]
        text = data.decode()
        return self.rng.choice([self.rng.choice(marks) + data, text.encode("utf-16"), data[::-1]])

    def truncate(self, data):
        return data[: self.rng.randrange(len(data))]

    def concatenate(self, data):
        other = originals()[self.rng.choice(list(originals()))].encode()
        return data + self.rng.choice([b"", b"\n", b",", b"\x00"]) + other

    def cut_out(self, data):
        first, last = sorted(self.rng.randrange(len(data)) for _ in range(2))
        return data[:first] + data[last:]

    def noise(self, _):
        return self.rng.randbytes(self.rng.choice([0, 1, 2, 10, 100, 4096]))

    def tokens(self, _):
        parts = [*"[]{},:\"'\\ \n0-e.", "null", "true", '"schema_version"', "1", '"kind"', "NaN"]
        return "".join(self.rng.choices(parts, k=self.rng.randint(1, 60))).encode()


_TREES = {
    name: getattr(Damage, name)
    for name in (
        "drop", "double", "retype", "numbers", "strings", "names", "nulls", "literals", "nest",
        "double_key", "version", "swap", "splice", "shuffle", "outcomes", "many",
    )
}  # fmt: skip
BYTES = {
    name: getattr(Damage, name)
    for name in (
        "flip", "foreign", "mark", "truncate", "concatenate", "cut_out", "noise", "tokens",
    )
}  # fmt: skip
KINDS = (*_TREES, "several", *BYTES)


def _copy(value):
    # What is shared would change in all places, and could come to hold itself.
    return json.loads(json.dumps(value))


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _places(node):
    pairs = enumerate(node) if isinstance(node, list) else node.items()
    for key, value in pairs:
        yield node, key
        if isinstance(value, list | dict):
            yield from _places(value)


def _mend(document):
    """The recipe's hash belongs to it again, if it is one: what else is wrong comes to light."""
    try:
        recipe = Recipe.model_validate(document["recipe"])
    except (ValueError, KeyError):
        return
    if "recipe_hash" in document:
        document["recipe_hash"] = recipe.digest()


_RAW = re.compile(r'"@raw:(.*?)@"')


def _text(document):
    # What stands for a literal was written as a string.
    return _RAW.sub(lambda m: json.loads(f'"{m.group(1)}"'), json.dumps(document))
