"""One child for many pieces of work: answers in order, and what ends a child costs one piece."""

import os
import time

import pytest

from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending, start_context
from ffprof.harness.process.messages import Failed, Probed
from ffprof.records.trial import Debit, Memory

pytestmark = pytest.mark.slow

PIECE = 0.2  # seconds of sleep for each answer


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
        time.sleep(PIECE)
        sender.send((piece * factor, os.getpid()))


@pytest.fixture(scope="module")
def context():
    """Its server has finished importing, which on a busy machine takes longer than any limit here.

    Each first piece would be charged with it, because it begins before its child is started.
    """
    context = start_context("forkserver")
    answers(context, [1], limit=120.0)
    return context


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
    # By the clock of the parent, which a busy machine may let read one answer late and the next
    # with it: each took something, and together they took what the work takes.
    assert all(ending.seconds > 0 for _, ending in found)
    assert sum(ending.seconds for _, ending in found) >= 3 * PIECE


@pytest.mark.parametrize(
    ("bad", "kind", "said"),
    [("dies", "crashed", "exit status 7"), ("leaves", "crashed", "without an answer"),
     ("hangs", "timeout", "limit")],
)  # fmt: skip
def test_what_ends_a_child_costs_one_piece(context, bad, kind, said):
    limit = 2.0 if bad == "hangs" else 60.0
    found = answers(context, [1, bad, 3, bad], limit=limit)
    assert [n for n, _ in found] == [0, 1, 2, 3]
    assert [ending.kind for _, ending in found] == ["ended", kind, "ended", kind]
    assert said in found[1][1].reason
    assert found[2][1].messages[0][0] == 30


def test_a_failure_that_was_told_is_not_blamed_on_the_next_piece(context):
    found = answers(context, ["fails", 2, "fails", "dies", 5])
    assert [ending.kind for _, ending in found] == ["ended", "ended", "ended", "crashed", "ended"]
    assert found[1][1].messages[0][0] == 20


def test_the_limit_is_that_of_one_piece(context):
    found = answers(context, [1] * 16, limit=3.0)  # longer than that in all
    assert 16 * PIECE > 3.0
    assert [ending.kind for _, ending in found] == ["ended"] * 16
    assert len({ending.messages[0][1] for _, ending in found}) == 1


def test_no_pieces_start_no_child():
    assert answers(None, []) == []


def test_what_is_sent_before_the_limit_is_no_answer_but_its_debit_is_kept():
    debit = Debit(context_bytes=3, source="NVML, this process")
    failed = Failed(outcome="oom", message="m", debit=debit)
    for message in (Probed(memory=Memory(), debit=debit), failed):
        late = Ending(kind="timeout", messages=(message,), reason="stopped after its limit of 1 s")
        found = late.answer(Probed)
        assert (found.outcome, found.debit) == ("timeout", debit)
        assert found.message == "stopped after its limit of 1 s"
    sent = Probed(memory=Memory(), debit=debit)
    assert Ending(kind="crashed", messages=(sent,), reason="SIGABRT").answer(Probed) is sent
