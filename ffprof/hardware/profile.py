"""A profile of a card: a TOML file, one a card, with the source of every figure.

The files of hw_profiles/ and those of ``--card-file`` have one form, described in docs/cards.md.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ffprof.errors import UsageError, one_line
from ffprof.hardware.card import Card, Confidence, sizeless_key
from ffprof.units import GIB, MIB, parse_size

MAX_BYTES = 64 * 1024  # ten times the largest of ours
_FIX = "docs/cards.md describes the fields; ffprof cards --template prints a profile that is valid"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable text")
    return text


Line = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
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

    name: Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_printable)]
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

    @field_validator("name")
    @classmethod
    def _can_be_asked_for(cls, name: str) -> str:
        if not sizeless_key(name):
            raise ValueError("must have a letter or digit beside a size and words such as RTX")
        return name

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
    if name not in ("name", "size", "stands_for_class", "confidence", "sources")
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
