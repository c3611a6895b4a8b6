"""What threads do that wait for each other: chosen once, by what other programs take."""

from types import SimpleNamespace

import pytest
from records import recipe

from ffprof.experiments import session
from ffprof.hardware.environment import SLEEP, WAITING
from ffprof.hardware.neighbours import Crowd

SLEEPS = {WAITING: SLEEP}


@pytest.fixture
def others(monkeypatch):
    """What other programs take, which a test sets."""
    taken = [0.0]
    monkeypatch.delenv(WAITING, raising=False)
    monkeypatch.setattr(session, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(
        session, "watch", lambda meanwhile: lambda: Crowd(taken[0], f"busy {meanwhile}")
    )
    return taken


def chosen(threads=2, begun=None):
    return session._waiting(recipe(threads=threads), begun)


def begun(**environment):
    return SimpleNamespace(environment=environment)


@pytest.mark.parametrize(
    ("share", "sleeps"), [(0.0, False), (0.49, False), (0.5, True), (1.0, True)]
)
def test_they_sleep_where_others_take_half_of_the_machine(others, share, sleeps):
    others[0] = share
    assert chosen() == (SLEEPS if sleeps else {}, "busy at the start")


def test_one_thread_waits_for_nobody(others):
    others[0] = 1.0
    assert chosen(threads=1) == ({}, "")


def test_what_the_user_has_set_stands(others, monkeypatch):
    others[0] = 1.0
    monkeypatch.setenv(WAITING, "ACTIVE")
    assert chosen() == ({}, "")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_is_resumed_or_compared_goes_on_as_it_was_begun(others, share):
    others[0] = share
    assert chosen(begun=begun(**SLEEPS)) == (SLEEPS, "")
    assert chosen(begun=begun()) == ({}, "")
    assert chosen(begun=begun(**{WAITING: "what a stranger wrote"})) == ({}, "")


def test_all_trials_of_a_session_have_it():
    made = session.Session(server=None, found=None, variables=dict(SLEEPS))
    assert made.environment(recipe())[WAITING] == SLEEP
    usual = session.Session(server=None, found=None, variables={})
    assert WAITING not in usual.environment(recipe())
