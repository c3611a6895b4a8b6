"""Settings of methods: what they may be, and that the builder is called with all of them."""

import pytest

from ffprof.errors import UsageError
from ffprof.workload import Setting, find_workload, workload_names
from ffprof.workload.decorators import register_workload
from ffprof.workload.settings import MOST_SETTINGS, SHARED_SETTINGS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "t max"}, "cannot be the name"),
        ({"name": ""}, "cannot be the name"),
        ({"name": "learning_rate"}, "cannot be the name"),
        ({"low": float("nan")}, "no finite number"),
        ({"high": float("inf")}, "no finite number"),
        ({"default": 9.0}, "has the default 9, and a range from 1 to 4"),
        ({"low": 4.0, "default": 4.0}, "a range from 4 to 4"),
        ({"low": 0.0}, "begins at 0, which has no logarithm"),
    ],
)
def test_impossible_ones_are_refused(changes, said):
    values = {"name": "t", "low": 1.0, "high": 4.0, "default": 2.0}
    Setting(**values)
    with pytest.raises(ValueError, match=said):
        Setting(**values | changes)


def test_a_linear_range_may_begin_at_zero():
    assert Setting(name="t", low=0.0, high=1.0, default=0.0, log=False).low == 0


def test_shipped_methods_have_two_at_most_and_the_schedules_of_a_method_the_same():
    found = {}
    for one in map(find_workload, workload_names()):
        assert len(one.settings) <= MOST_SETTINGS
        assert found.setdefault(one.method, one.settings) == one.settings
        assert not {setting.name for setting in one.settings} & set(SHARED_SETTINGS)


def test_a_tuned_workload_has_other_defaults_and_nothing_else():
    one = find_workload("hinton-ff")
    tuned = one.tuned({"scale": 32.0})
    assert [setting.default for setting in tuned.settings] == [32.0, 0.5**0.5]
    assert one.tuned({}) == one
    for values, said in (({"t": 1.0}, "no setting t"), ({"scale": 1e9}, "default 1e\\+09")):
        with pytest.raises(UsageError, match=said):
            one.tuned(values)


def test_a_method_of_ones_own_may_have_them():
    one = Setting(name="gain", low=0.1, high=10.0, default=1.0)
    register_workload(settings=(one,))(lambda recipe, state, gain: None)
    for settings, said in (
        ((one,) * 2, "two settings have the name gain"),
        ((one,) * 3, "at most 2 settings, not 3"),
        (("gain",), "settings is"),
        ("gain", "settings is"),
    ):
        with pytest.raises(UsageError, match=said):
            register_workload(settings=settings)
