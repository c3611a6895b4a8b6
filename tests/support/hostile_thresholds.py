"""Damaged files of thresholds, made from a whole one line by line, then byte by byte."""

from hostile_records import BYTES, STRINGS, Damage

WHOLE = """\
[allocated]
gate = true
bytes = "2MiB"
share = 0.005
[reserved]
bytes = 0
share = 0.02
[throughput]
share = 0.05
exclude = 0.2
[budget]
memory = "7.5GiB"
[workloads.one.reserved]
bytes = "1GiB"
[workloads.two.throughput]
gate = false
"""
TOML_VALUES = [
    "0", "-1", "1", "0.5", "-0.0", "1e400", "nan", "-inf", "inf", "true", "1979-05-27", "07:32:00",
    "9" * 400, "9" * 5000, "0x" + "f" * 5000, "1e-400", '""', "[]", "{}", "[[[]]]", "{a = {b = 1}}",
    '"1B"', '"0MiB"', '"-1GiB"', '"999999999999TiB"', '"1e3MiB"', '"2 MiB"', "'''a\nb'''",
    '"\\ud800"', '"\\u001b[2J"', "[1, 'a']", '["one", "one"]', "[" * 1000, "[" * 300 + "]" * 300,
    "", "None", "+1", "{a = " * 200 + "1" + "}" * 200, "1_000", "0o17",
    '"a', "['one'" + ", 'one'" * 10_000 + "]",
]  # fmt: skip
HEADERS = [
    "[x]", "[[allocated]]", "[allocated]", "[workloads.\"\\u001b[2J\"]", "[workloads.one]", "[]",
    "[workloads]", "[" + ".".join("a" * 500) + "]", "[" + ".".join("a" * 20_000) + "]",
    "[workloads.'" + "a" * 5000 + "'.live]", "[throughput.reference]", "[[workloads]]", "[a.]",
]  # fmt: skip


class ThresholdDamage(Damage):
    """Ways to damage a file of thresholds; the same generator damages in the same way."""

    def make(self, kind):
        if kind in BYTES:
            return BYTES[kind](self, WHOLE.encode())
        lines = WHOLE.splitlines()
        for _ in range(self.rng.randint(1, 3)):
            getattr(self, kind)(lines)
        return "\n".join(lines).encode("utf-8", "surrogatepass")

    def values(self, lines):
        at = self.rng.choice([n for n, line in enumerate(lines) if "=" in line])
        value = self.rng.choice(TOML_VALUES)
        lines[at] = f"{lines[at].split('=')[0]}= {value}"

    def keys(self, lines):
        at = self.rng.choice([n for n, line in enumerate(lines) if "=" in line])
        key = self.rng.choice(["share", "gate", "bytes", "memory", f'"{self.string()}"', "a.b"])
        lines[at] = f"{key} ={lines[at].split('=', 1)[1]}"

    def headers(self, lines):
        lines.insert(self.rng.randrange(len(lines)), self.rng.choice(HEADERS))

    def lines(self, lines):
        at = self.rng.randrange(len(lines))
        self.rng.choice([lambda: lines.pop(at), lambda: lines.append(lines[at])])()
        self.rng.shuffle(lines)

    def odd(self, lines):
        lines.insert(self.rng.randrange(len(lines) + 1), self.rng.choice(STRINGS))


THRESHOLD_KINDS = (
    "values", "keys", "headers", "lines", "odd",
    *(kind for kind in BYTES if kind != "concatenate"),
)  # fmt: skip
