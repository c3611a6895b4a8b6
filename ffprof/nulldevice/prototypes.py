"""The declarations of CUDA's libraries, read from what the preprocessor makes of their headers."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What a function of each library returns, and how it says that something is not supported.
STATUSES = {
    "cudaError_t": "cudaErrorNotSupported",
    "CUresult": "CUDA_ERROR_NOT_SUPPORTED",
    "cublasStatus_t": "CUBLAS_STATUS_NOT_SUPPORTED",
    "cudnnStatus_t": "CUDNN_STATUS_NOT_SUPPORTED",
    "cusparseStatus_t": "CUSPARSE_STATUS_NOT_SUPPORTED",
    "cusolverStatus_t": "CUSOLVER_STATUS_NOT_SUPPORTED",
    "cufftResult": "CUFFT_NOT_SUPPORTED",
    "curandStatus_t": "CURAND_STATUS_INTERNAL_ERROR",
    "ncclResult_t": "ncclInvalidUsage",
}
_ATTRIBUTES = re.compile(
    r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)|\[\[.*?\]\]"
)
_DECLARATION = re.compile(
    rf"\b({'|'.join(STATUSES)})\s+(\w+)\s*\(((?:[^(){{}};]|\([^(){{}};]*\))*)\)\s*;"
)
_DEFAULT = re.compile(r"\s*=.*$", re.DOTALL)
_NAME = re.compile(r"(\w+)\s*(\[[^\]]*\])?\s*$")
_WORDS = {
    "const", "unsigned", "signed", "struct", "enum", "int", "long", "short", "char", "float",
    "double", "void", "bool", "volatile",
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One parameter: its declaration with a name, its type's text, and that name."""

    text: str
    type: str
    name: str

    @property
    def is_output(self) -> bool:
        """Whether the function may write through it: a pointer to what is not const."""
        return self.type.endswith("*") and not re.match(r"(const\b.*|.*\bconst\s*)\*$", self.type)


@dataclass(frozen=True)
class Prototype:
    """One function that returns a status."""

    status: str
    name: str
    parameters: tuple[Parameter, ...]


def parse(preprocessed: str) -> dict[str, Prototype]:
    """Every function that returns a status of ``STATUSES``, by its name."""
    text = _ATTRIBUTES.sub(" ", preprocessed)
    return {
        name: Prototype(status, name, _parameters(inside))
        for status, name, inside in _DECLARATION.findall(text)
    }


def _parameters(text: str) -> tuple[Parameter, ...]:
    parts = [_DEFAULT.sub("", " ".join(part.split())) for part in _split(text)]
    if parts in ([""], ["void"]):
        return ()
    return tuple(_parameter(part, f"a{i}") for i, part in enumerate(parts))


def _split(text: str) -> list[str]:
    """At the commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _parameter(text: str, unnamed: str) -> Parameter:
    if "(" in text:  # a pointer to a function: its name is inside
        found = re.search(r"\(\s*\*\s*(\w+)\s*\)", text)
        return Parameter(text, text, found[1] if found else unnamed)
    found = _NAME.search(text)
    before = text[: found.start()].strip() if found else ""
    # One word alone is a type without a name, as is what ends in a word of the language.
    if found is None or not before or before in ("const", "struct", "enum") or found[1] in _WORDS:
        return Parameter(f"{text} {unnamed}", text, unnamed)
    array = "*" if found[2] else ""
    return Parameter(text, before + array, found[1])
