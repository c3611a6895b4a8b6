"""What modules hold, rolled up to few rows that make the whole."""

from ffprof.records.script import HeldByModule
from ffprof.report.estimate.modules import OUTSIDE, rolled_up


def held(**sizes):
    return [
        HeldByModule(module=name.replace("_", "."), by_category={"activations": size})
        for name, size in sizes.items()
    ]


def sizes(rows):
    return {row.path: row.total_bytes for row in rows}


PARTS = held(a_0_conv=5, a_0_norm=3, a_0=1, a_1_conv=2, b=4)


def test_whoever_holds_most_is_taken_apart():
    assert sizes(rolled_up(PARTS, 2)) == {"a": 11, "b": 4}
    assert sizes(rolled_up(PARTS, 3)) == {"a.0": 9, "b": 4, "a.1.conv": 2}
    assert sizes(rolled_up(PARTS, 5)) == {
        "a.0.conv": 5, "b": 4, "a.0.norm": 3, "a.1.conv": 2, "a.0 (itself)": 1,
    }  # fmt: skip
    assert [row.path for row in rolled_up(PARTS, 3)] == [
        "a.0",
        "b",
        "a.1.conv",
    ]  # the largest first


def test_all_rows_make_the_whole():
    parts = [*PARTS, HeldByModule(by_category={"other": 7})]
    for most in range(2, 9):
        found = rolled_up(parts, most)
        assert len(found) <= most
        assert sum(sizes(found).values()) == 22
        assert sizes(found)[OUTSIDE] == 7


def test_more_models_than_rows_are_one():
    many = held(**{f"net{number}": 10 - number for number in range(8)})
    assert sizes(rolled_up(many, 3)) == {"net0": 10, "net1": 9, "6 others": 33}
    assert rolled_up([]) == []


def layer(number, size=100, **more):
    sizes = {"attention": size, "norm": 1} | more
    return [
        HeldByModule(module=f"layer.{number}.{name}", by_category={"activations": held})
        for name, held in sizes.items()
    ]


def test_numbered_blocks_that_hold_alike_are_one_row_that_can_be_taken_apart():
    parts = [part for number in range(12) for part in layer(number, 100 + number % 2)]
    (row,) = rolled_up(parts, 1)
    assert (row.path, row.count, row.total_bytes) == ("layer[0:12]", 12, 1218)
    few = rolled_up(parts, 2)
    assert {r.path: (r.count, r.total_bytes) for r in few} == {
        "layer[0:12].attention": (12, 1206),
        "layer[0:12].norm": (12, 12),
    }


def test_a_block_that_is_another_one_stays_apart():
    parts = [*layer(0), *layer(1), *layer(2, 300), *layer(3), *layer(5)]
    found = {row.path: row.count for row in rolled_up(parts, 4)}
    assert found == {"layer[0:2]": 2, "layer.2": 1, "layer.3": 1, "layer.5": 1}
    other = [*layer(0), *layer(1, mlp=1)]
    assert {row.path for row in rolled_up(other, 2)} == {"layer.0", "layer.1"}
