"""The arguments of Python calls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import ffprof
from ffprof.arguments import checked, words_of
from ffprof.errors import UsageError


@checked
def call(
    names: str | Sequence[str] | None = None,
    *,
    epochs: int = 20,
    rate: float | None = None,
    labels: Literal["fine", "coarse"] = "fine",
    files: Sequence[str | Path] = (),
    out: str | Path | None = None,
    progress: bool = False,
):
    return dict(locals())


def test_what_fits_is_handed_on():
    assert call()["epochs"] == 20
    got = call(["a", "b"], epochs=3, rate=1, files=("a.py", Path("b.py")))
    assert got["names"] == ["a", "b"]
    assert (got["epochs"], got["rate"], got["files"]) == (3, 1.0, ("a.py", Path("b.py")))


def test_numbers_of_numpy_become_plain_ones():
    got = call(epochs=np.int64(3), rate=np.float32(0.5))
    assert (type(got["epochs"]), type(got["rate"])) == (int, float)


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": 5},
        {"names": [5]},
        {"epochs": "many"},
        {"epochs": 2.5},
        {"epochs": None},
        {"epochs": True},
        {"epochs": "3"},
        {"rate": "high"},
        {"labels": "medium"},
        {"files": "a.py"},
        {"files": 5},
        {"out": 5},
    ],
)
def test_what_does_not_fit_is_one_line_that_names_it(wrong):
    with pytest.raises(UsageError) as raised:
        call(**wrong)
    (name,) = wrong
    assert f"call({name}=" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_name_that_there_is_not_is_pythons_own_error():
    with pytest.raises(TypeError, match="epoch"):
        call(epoch=3)


@pytest.mark.parametrize("function", ["run", "compare", "check", "learn"])
def test_every_function_checks_its_arguments(function):
    required = {"compare": ("a", "b"), "check": ("a",)}.get(function, ())
    name = {"run": "rounds", "compare": "baseline", "check": "rounds", "learn": "epochs"}[function]
    with pytest.raises(UsageError) as raised:
        getattr(ffprof, function)(*required, **{name: object()})
    assert f"{function}({name}=" in str(raised.value)


def test_a_call_is_written_as_it_was_made():
    asked = call("a", epochs=3, labels="coarse", out="there", progress=True)
    assert words_of(call, asked) == "ffprof.call(names='a', epochs=3, labels='coarse')"
