"""One child for many pieces of work: answers in order, and what ends a child costs one piece."""

import os
import time

import pytest

from ffprof.audit.messages import Failed
from ffprof.audit.process import start_context
from ffprof.audit.series import run_series


def worker(sender, pieces, factor):
    for piece in pieces:
        if piece == "dies":
            os._exit(7)
        if piece == "hangs":
            time.sleep(60)
        if piece == "leaves":
            return
        if piece == "fails":
            sender.send(Failed(outcome="crashed", message="told"))
            raise RuntimeError
        time.sleep(0.2)
        sender.send((piece * factor, os.getpid()))


@pytest.fixture(scope="module")
def context():
    return start_context("forkserver")


def answers(context, pieces, limit=20.0):
    found = []

    def answered(number, ending):
        found.append((number, ending))

    run_series(context, worker, pieces, limit, answered, (10,))
    return found


def test_answers_come_in_order_from_one_child(context):
    found = answers(context, [1, 2, 3])
    assert [n for n, _ in found] == [0, 1, 2]
    assert [ending.messages[0][0] for _, ending in found] == [10, 20, 30]
    assert len({ending.messages[0][1] for _, ending in found}) == 1
    assert all(0.1 < ending.seconds < 10 for _, ending in found)


@pytest.mark.parametrize(
    ("bad", "kind", "said"),
    [("dies", "crashed", "exit status 7"), ("leaves", "crashed", "no answer"),
     ("hangs", "timeout", "limit")],
)  # fmt: skip
def test_what_ends_a_child_costs_one_piece(context, bad, kind, said):
    found = answers(context, [1, bad, 3, bad], limit=2.0)
    assert [n for n, _ in found] == [0, 1, 2, 3]
    assert [ending.kind for _, ending in found] == ["ended", kind, "ended", kind]
    assert said in found[1][1].reason
    assert found[2][1].messages[0][0] == 30


def test_a_failure_that_was_told_is_not_blamed_on_the_next_piece(context):
    found = answers(context, ["fails", 2, "fails", "dies", 5])
    assert [ending.kind for _, ending in found] == ["ended", "ended", "ended", "crashed", "ended"]
    assert found[1][1].messages[0][0] == 20


def test_the_limit_is_that_of_one_piece(context):
    found = answers(context, [1] * 6, limit=1.0)  # longer than that in all
    assert [ending.kind for _, ending in found] == ["ended"] * 6


def test_no_pieces_start_no_child():
    assert answers(None, []) == []
