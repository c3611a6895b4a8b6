import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from records import claim, recipe

from ffprof.records.recipe import Claim, Recipe
from ffprof.workload import find_preset, preset_names


def test_equal_recipes_have_equal_digests_and_only_they():
    assert recipe().digest() == recipe().digest()
    assert recipe(seed=1).digest() != recipe().digest()
    assert recipe(claims=(claim("a", "b", "memory"),)).digest() != recipe().digest()


def test_digests_of_recipes_without_file_data_are_what_they_were():
    # Computed before recipes had data_root, data_fingerprint and data_workers.
    assert recipe().digest() == "ad189fd82590e847de3707d046defe7f8dc6f3e3009fc8e50455838251c4a392"


def test_the_digest_knows_the_data_but_not_its_place():
    there = {"data": "cifar10", "data_root": "/a", "data_fingerprint": "f", "data_workers": 2}
    digest = recipe(**there).digest()
    assert recipe(**there | {"data_root": "/b"}).digest() == digest
    assert recipe(**there | {"data_fingerprint": "g"}).digest() != digest
    assert recipe(**there | {"data_workers": 0}).digest() != digest


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 2**62), st.floats(0.01, 16))
def test_a_recipe_survives_json(batch, micro, seed, width):
    if batch % micro:
        with pytest.raises(ValidationError, match="does not divide"):
            recipe(batch=batch, micro_batch=micro)
        return
    made = recipe(batch=batch, micro_batch=micro, seed=seed, width=width)
    assert Recipe.model_validate_json(made.model_dump_json()) == made
    assert Recipe.model_validate_json(made.model_dump_json()).digest() == made.digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": 7},
        {"width": 0},
        {"width": float("nan")},
        {"batch": 0},
        {"precision": "fp8"},
        {"unknown": 1},
        {"warmup_steps": 1},
        {"seed": -1},
    ],
)
def test_what_is_not_a_recipe_is_refused(changes):
    with pytest.raises(ValidationError):
        recipe(**changes)


def test_a_claims_direction_belongs_to_its_metric():
    with pytest.raises(ValidationError, match="direction"):
        Claim(id="x", challenger="a", baseline="b", metric="memory", direction="at_least")


def test_presets_are_what_the_documentation_says():
    presets = {name: find_preset(name) for name in preset_names()}
    assert presets.keys() == {"smoke", "small", "cifar", "imagenet100"}
    small, big = presets["small"], presets["imagenet100"]
    assert (small.default_for, big.default_for) == ("cpu", "cuda")
    told = {
        name: (p.recipe.image_size, p.recipe.backbone, p.recipe.batch, p.recipe.micro_batch)
        for name, p in presets.items()
    }
    assert told["small"] == (32, "vgg8", 64, 16)
    assert told["cifar"] == (32, "vgg8", 128, 32)
    assert told["imagenet100"] == (224, "vgg11", 64, 16)
    assert small.recipe.width == 0.25
    assert (small.recipe.data, big.recipe.data) == ("digits", "synthetic")
    assert big.recipe.classes == 100
    assert all(p.recipe.preset == name for name, p in presets.items())
    assert {c.challenger for c in small.recipe.claims} == {
        "dtg-ff",
        "dtg-ff-streamed",
        "dtg-ff-streamed-accum",
    }
    assert all(len(p.recipe.claims) == 6 for p in presets.values())
