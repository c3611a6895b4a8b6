"""A GPU model as its profile describes it: memory, peaks and links, each with its source.

A profile is a TOML file, one a card. The files of hw_profiles/ and those of ``--card-file`` have
one form, described in docs/cards.md; a template of it is filled in for a card that has none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ffprof.errors import UsageError, defused, one_line
from ffprof.records.files import foreign_content
from ffprof.units import GIB, MIB, parse_size

Confidence = Literal["high", "medium", "low"]

# Bytes per second of one lane and direction, after 128b/130b encoding of 8, 16 and 32 GT/s
# (PCI Express Base Specifications 3.0, 4.0 and 5.0).
PCIE_LANE_BYTES_PER_SECOND = {
    generation: transfers * 1e9 * 128 / 130 / 8
    for generation, transfers in ((3, 8), (4, 16), (5, 32))
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU model: what it is sold as, what CUDA offers on it, and how fast it could be.

    Rates are peaks: FLOP/s with a multiply-add counted as two, dense, tensor products with fp32
    accumulation; None where the card has no such units. ``cuda_total_bytes`` is what
    cudaMemGetInfo calls the total, ``nvml_total_bytes`` what NVML and nvidia-smi do. A card whose
    ``class_objection`` is not empty is left out when a size such as 8GB is requested. ``sources``
    has one entry for every figure, under its name in the profile. ``also_called`` are other names,
    such as the driver's. ``origin`` is the user's file that it was read from; empty for the
    profiles that ffprof has.
    """

    name: str
    also_called: tuple[str, ...] = ()
    sold_as_bytes: int
    nvml_total_bytes: int
    cuda_total_bytes: int
    nvml_confidence: Confidence
    cuda_confidence: Confidence
    architecture: str
    chip: str
    year: int
    compute_capability: tuple[int, int]
    sm_count: int
    memory_type: str
    bandwidth_bytes_per_second: float
    fp32_flops: float
    tf32_flops: float | None
    fp16_tensor_flops: float | None
    bf16_tensor_flops: float | None
    tdp_watts: int
    pcie_generation: int
    pcie_lanes: int
    class_objection: str
    sources: Mapping[str, str]
    origin: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """What names of this card come to (``card_key``), its own first."""
        return tuple(dict.fromkeys(card_key(name) for name in (self.name, *self.also_called)))

    @property
    def pcie_bytes_per_second(self) -> float:
        """Peak of its link, one direction."""
        return PCIE_LANE_BYTES_PER_SECOND[self.pcie_generation] * self.pcie_lanes

    @property
    def sm_cycles_per_second(self) -> float:
        """Clock times SMs, as the fp32 peak implies it: what all SMs together can start."""
        return self.fp32_flops / (2 * _fp32_lanes(self.compute_capability))

    @property
    def memory_sources(self) -> tuple[str, ...]:
        """Where the two totals come from, how sure they are, and whose profile says so."""
        totals = (
            f"{key}, confidence {confidence}: {self.sources[key]}"
            for key, confidence in (
                ("nvml_total_bytes", self.nvml_confidence),
                ("cuda_total_bytes", self.cuda_confidence),
            )
        )
        return (*totals, *((f"profile from {self.origin}",) if self.origin else ()))


SIZE = re.compile(r"\s*\b\d+\s*GB$", re.IGNORECASE)  # at the end of a name
_MAKERS_WORDS = re.compile(r"nvidia|geforce|quadro|tesla|jetson|rtx|gtx|gpu|\W", re.ASCII)


def card_key(name: str) -> str:
    """What names of one card have in common.

    Case, blanks and makers' words such as "NVIDIA", "GeForce" or "RTX" do not matter, and
    "Laptop GPU" means mobile.
    """
    return _MAKERS_WORDS.sub("", name.lower().replace("laptop", "mobile"))


def sizeless_key(name: str) -> str:
    """The key of a name without the size at its end, if it has one."""
    return card_key(SIZE.sub("", name))


def _fp32_lanes(capability: tuple[int, int]) -> int:
    """fp32 results an SM gives a cycle (CUDA C++ Programming Guide, arithmetic instructions)."""
    return 64 if capability in ((6, 0), (7, 0), (7, 2), (7, 5), (8, 0)) else 128


MAX_BYTES = 64 * 1024  # ten times the largest of ours
_FIX = "docs/cards.md describes the fields; ffprof cards --template prints a profile that is valid"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable text")
    if defused(text) != text:
        raise ValueError("must not hold what runners of CI jobs obey, such as '::'")
    return text


Line = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_printable)]
Total = Annotated[int, Field(ge=256 * MIB, le=4096 * GIB)]
Rate = Annotated[float, Field(gt=0, le=100_000)]
PlainRate = Annotated[float, Field(gt=0, le=500)]  # TFLOP/s without tensor cores: beyond any card


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Confidences(_Part):
    """How sure the totals are.

    high: read on the card itself in several public logs; medium: read once; low: inferred from
    another card.
    """

    nvml_total_bytes: Confidence
    cuda_total_bytes: Confidence


class Profile(_Part):
    """What a file says of a card, in the units of the names."""

    name: Name
    also_called: Annotated[list[Name], Field(max_length=20)] = []
    size: Annotated[str, Field(alias="class")]
    architecture: Line
    chip: Line
    year: Annotated[int, Field(ge=2006, le=2100)]  # CUDA's first year
    compute_capability: Annotated[str, Field(pattern=r"^[1-9]\d?\.\d$")]
    sm_count: Annotated[int, Field(ge=1, le=2048)]
    nvml_total_bytes: Total
    cuda_total_bytes: Total
    memory_type: Line
    bandwidth_gb_s: Rate
    fp32_tflops: PlainRate
    tf32_tflops: Rate | None = None
    fp16_tensor_tflops: Rate | None = None
    bf16_tensor_tflops: Rate | None = None
    tdp_watts: Annotated[int, Field(ge=1, le=10_000)]
    pcie: Annotated[str, Field(pattern=r"^PCIe [345]\.0 x(1|2|4|8|16)$")]
    stands_for_class: Annotated[str, Field(pattern=r"^no: .{3,300}$")] = ""
    confidence: Confidences
    sources: dict[str, Line]

    @field_validator("name", "also_called")
    @classmethod
    def _can_be_asked_for(cls, names: str | list[str]) -> str | list[str]:
        for name in [names] if isinstance(names, str) else names:
            if not sizeless_key(name):
                raise ValueError("must have a letter or digit beside a size and words such as RTX")
        return names

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, size: str) -> str:
        try:
            found = parse_size(size)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if not GIB <= found <= 4096 * GIB:
            raise ValueError(f"must be 1GB to 4096GB, not {size}")
        return size

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        sold = parse_size(self.size)
        if self.cuda_total_bytes > self.nvml_total_bytes:
            raise ValueError(
                "cuda_total_bytes: is more than nvml_total_bytes; CUDA never offers more than "
                "the driver has"
            )
        for key in ("nvml_total_bytes", "cuda_total_bytes"):
            if not 0.5 * sold <= getattr(self, key) <= 1.05 * sold:
                raise ValueError(f"{key}: is no total of a card sold with {self.size}")
        figures = {name for name in FIGURES if getattr(self, name) is not None}
        missing = [name for name in FIGURES if name in figures - self.sources.keys()]
        if missing:
            raise ValueError(f"sources.{missing[0]}: is missing; say where the figure is from")
        strangers = sorted(self.sources.keys() - figures)
        if strangers:
            raise ValueError(f"sources.{strangers[0]}: is the source of no figure in this file")
        return self


# Every one of them needs a source.
FIGURES = tuple(
    name
    for name in Profile.model_fields
    if name not in ("name", "also_called", "size", "stands_for_class", "confidence", "sources")
)
_WORDS = {"missing": "is missing", "extra_forbidden": "is not a field of a profile"}
_WRITTEN = {
    "compute_capability": 'is written as "8.9"',
    "pcie": 'is written as "PCIe 4.0 x8"; generations 3 to 5 are known',
    "stands_for_class": 'is "no: " and the reason, or left out',
}


def read_profile(path: Path) -> Card:
    """The card that a user's file describes.

    Raises:
        UsageError: it cannot be read, or is not a profile; one line names file and field.
    """
    name = one_line(str(path))
    if len(name) > 1000:
        raise UsageError("a --card-file has a name of over 1000 letters", "give it a shorter one")
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{name} is not a file", "name a TOML file with --card-file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(
            f"{name} cannot be read: {why}", "name a TOML file with --card-file"
        ) from error
    return parse_profile(raw, name, origin=name)


def parse_profile(raw: bytes, name: str, *, origin: str = "") -> Card:
    """The card that the content of a file describes; ``name`` is what errors call the file.

    Raises:
        UsageError: it is not a profile.
    """
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{name} is larger than a profile can be ({MAX_BYTES // 1024} KiB)", _FIX)
    if (found := foreign_content(raw)) is not None and raw.strip():
        raise UsageError(f"{name} {found[0]}", f"{found[1]}; {_FIX}")
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8, as TOML must be", _FIX) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not TOML: {str(error)[:200]}", _FIX) from error
    try:
        return _card(Profile.model_validate(document), origin)
    except ValidationError as error:
        raise UsageError(f"{name}: {_first(error)}", _FIX) from error


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, with the field's name as the file spells it."""
    # A key that is not known is often the misspelt one that is missing: it comes first.
    found = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")[0]
    where = ".".join(str(part)[:80] for part in found["loc"])
    if found["type"] == "value_error":
        text = found["msg"].removeprefix("Value error, ")
        return f"{where}: {text}" if where else text
    said = _WORDS.get(found["type"])
    if found["type"] == "string_pattern_mismatch":
        said = _WRITTEN[where]
    if said is None:
        said = found["msg"].replace("Input should", "should").replace("String", "text")
    if found["type"] not in _WORDS:
        value: Any = found["input"]
        given = repr(value)[:60] if isinstance(value, str | int | float) else "a table or list"
        said = f"{said}, not {given}"
    return f"{where}: {said}"


def _card(profile: Profile, origin: str) -> Card:
    generation, lanes = profile.pcie.removeprefix("PCIe ").split(" x")
    major, minor = profile.compute_capability.split(".")
    return Card(
        name=profile.name,
        also_called=tuple(profile.also_called),
        sold_as_bytes=parse_size(profile.size),
        nvml_total_bytes=profile.nvml_total_bytes,
        cuda_total_bytes=profile.cuda_total_bytes,
        nvml_confidence=profile.confidence.nvml_total_bytes,
        cuda_confidence=profile.confidence.cuda_total_bytes,
        architecture=profile.architecture,
        chip=profile.chip,
        year=profile.year,
        compute_capability=(int(major), int(minor)),
        sm_count=profile.sm_count,
        memory_type=profile.memory_type,
        bandwidth_bytes_per_second=profile.bandwidth_gb_s * 1e9,
        fp32_flops=profile.fp32_tflops * 1e12,
        tf32_flops=_tera(profile.tf32_tflops),
        fp16_tensor_flops=_tera(profile.fp16_tensor_tflops),
        bf16_tensor_flops=_tera(profile.bf16_tensor_tflops),
        tdp_watts=profile.tdp_watts,
        pcie_generation=int(float(generation)),
        pcie_lanes=int(lanes),
        class_objection=profile.stands_for_class.removeprefix("no: "),
        sources=dict(profile.sources),
        origin=origin,
    )


def _tera(rate: float | None) -> float | None:
    return None if rate is None else rate * 1e12


TEMPLATE = """\
# A card of your own, for ffprof run, frontier, estimate and cards: --card-file THIS_FILE
# Every figure below is that of a GeForce RTX 4060, as an example: put in those of your card, and
# say under [sources] where each was read. docs/cards.md describes the fields.

# As NVML and CUDA call it (nvidia-smi -L), so that it is recognised; any other name will do.
name = "My GPU"
# What it is sold with. GPU memory is sold in binary units: 8GB is 8 x 1024^3 bytes.
class = "8GB"
architecture = "Ada Lovelace"
chip = "AD107"
year = 2023
compute_capability = "8.9"  # nvidia-smi --query-gpu=compute_cap --format=csv
sm_count = 24  # torch.cuda.get_device_properties(0).multi_processor_count

# The driver's total: nvidia-smi --query-gpu=memory.total --format=csv prints MiB, times 1048576.
nvml_total_bytes = 8_585_740_288
# What CUDA offers: torch.cuda.mem_get_info()[1]. Budgets are made of this one.
cuda_total_bytes = 8_192_524_288

# Peaks, for estimates of speed: dense, a multiply-add as two operations, tensor cores with fp32
# accumulation. Leave out what the card has no units for.
memory_type = "GDDR6"
bandwidth_gb_s = 272.0
fp32_tflops = 15.11
tf32_tflops = 15.1
fp16_tensor_tflops = 30.2
bf16_tensor_tflops = 30.2
tdp_watts = 115
pcie = "PCIe 4.0 x8"

[confidence]
# high: read on the card itself in several public logs; medium: read once; low: inferred.
nvml_total_bytes = "low"
cuda_total_bytes = "low"

[sources]
# One for every figure above: a page, or how it was read.
architecture = "an example, of a GeForce RTX 4060: say where yours was read"
chip = "an example, of a GeForce RTX 4060: say where yours was read"
year = "an example, of a GeForce RTX 4060: say where yours was read"
compute_capability = "an example, of a GeForce RTX 4060: say where yours was read"
sm_count = "an example, of a GeForce RTX 4060: say where yours was read"
nvml_total_bytes = "an example, of a GeForce RTX 4060: say where yours was read"
cuda_total_bytes = "an example, of a GeForce RTX 4060: say where yours was read"
memory_type = "an example, of a GeForce RTX 4060: say where yours was read"
bandwidth_gb_s = "an example, of a GeForce RTX 4060: say where yours was read"
fp32_tflops = "an example, of a GeForce RTX 4060: say where yours was read"
tf32_tflops = "an example, of a GeForce RTX 4060: say where yours was read"
fp16_tensor_tflops = "an example, of a GeForce RTX 4060: say where yours was read"
bf16_tensor_tflops = "an example, of a GeForce RTX 4060: say where yours was read"
tdp_watts = "an example, of a GeForce RTX 4060: say where yours was read"
pcie = "an example, of a GeForce RTX 4060: say where yours was read"
"""
