"""How often verdicts are wrong, and how often they find what is there: simulated audits.

The functions under test are those that judge records; they take many audits at once. Every model
draws 15 rounds of 17 rows, of which 16 are judged against the first, as a sceptic would: the same
rounds are looked at after 5, 9 and 15, and one wrong verdict at any look makes the audit wrong.
"""

import numpy as np
import pytest
from noise_models import (
    MODELS,
    bimodal,
    drift,
    heavy_tails,
    normal,
    one_in_five_slow,
    rows_unlike,
    some_rows_of_two_speeds,
)

from ffprof.analysis.statistics.intervals import (
    ZONE,
    absolute_intervals,
    change_intervals,
    paired_intervals,
    relative_to_all,
)
from ffprof.analysis.statistics.looks import ERROR, LOOKS, error_of

pytestmark = pytest.mark.slow

AUDITS, ROWS, ROUNDS = 2500, 17, LOOKS[-1]
EDGE = -np.log(1 - ZONE)
TEN_PERCENT = np.log(0.9)
PAIRS = [(row, 0) for row in range(1, ROWS)]


EACH = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def within(logs):
    """Intervals of one run at each look."""
    error = error_of(len(PAIRS))
    return [paired_intervals(logs[..., :look], PAIRS, error) for look in LOOKS]


def between(before, after, *, absolute=False):
    """Intervals of two runs at each look."""
    speeds = np.linspace(-1, 1, ROWS)[:, None]  # rows are not equally fast
    before, after = before + speeds, after + speeds
    found = []
    for look in LOOKS:
        two = before[..., :look], after[..., :look]
        if absolute:
            found.append(absolute_intervals(*two, error_of(ROWS)))
        else:
            found.append(change_intervals(*relative_to_all(*two), error_of(ROWS)))
    return found


def ever(looks, wrong):
    """In which share of audits anything was wrong at any look."""
    return np.any([wrong(found).any(axis=-1) for found in looks], axis=0).mean()


def differ(found):
    """Faster or slower was said."""
    return (found.middle - found.half > EDGE) | (found.middle + found.half < -EDGE)


def slower(found):
    return found.middle + found.half < -EDGE


def by_the_second(looks, row):
    """In which share of audits a row was called slower at one of the first two looks."""
    return (slower(looks[0]) | slower(looks[1]))[:, row].mean()


def draw(model, seed, audits=AUDITS, rows=ROWS):
    return model(np.random.default_rng(seed), (audits, rows, ROUNDS))


@EACH
def test_false_alarms_within_a_run(model):
    assert ever(within(draw(model, 1)), differ) <= ERROR


@EACH
def test_false_alarms_between_two_runs(model):
    after = draw(model, 3) - 0.4  # a machine a third slower
    if model is rows_unlike:  # a row is as noisy in one run as in the other
        both = model(np.random.default_rng(2), (AUDITS, ROWS, 2 * ROUNDS))
        before, after = both[..., :ROUNDS], both[..., ROUNDS:] - 0.4
    else:
        before = draw(model, 2)
    assert ever(between(before, after), differ) <= ERROR


@EACH
def test_at_the_edge_of_the_zone_nothing_is_called_slower(model):
    """All rows are slower by just what counts as the same: the hardest case."""
    logs = draw(model, 4)
    logs[:, 1:] -= EDGE
    assert ever(within(logs), slower) <= ERROR


@EACH
def test_a_change_beyond_the_zone_is_not_called_the_same(model):
    logs = draw(model, 5)
    logs[:, 1:] -= EDGE * 1.01

    def same(found):
        return (found.middle - found.half >= -EDGE) & (found.middle + found.half <= EDGE)

    assert ever(within(logs), same) <= ERROR


def test_a_change_of_ten_percent_is_found_by_the_second_look():
    logs = draw(normal, 6)
    logs[:, 1] += TEN_PERCENT
    assert by_the_second(within(logs), 0) >= 0.95
    before, after = draw(normal, 7), draw(normal, 8)
    after[:, 1] += TEN_PERCENT
    assert by_the_second(between(before, after), 1) >= 0.95


@pytest.mark.parametrize("rows", [2, 3, 5, 6, 9])
def test_small_audits_keep_both_promises(rows):
    pairs = [(row, 0) for row in range(1, rows)]
    for model in (normal, bimodal(0.1), one_in_five_slow(0.005), drift, heavy_tails(2)):
        logs = draw(model, 9, rows=rows)
        looks = [paired_intervals(logs[..., :n], pairs, error_of(len(pairs))) for n in LOOKS]
        assert ever(looks, differ) <= ERROR
    logs = draw(normal, 10, rows=rows)
    logs[:, 1] += TEN_PERCENT
    looks = [paired_intervals(logs[..., :n], pairs, error_of(len(pairs))) for n in LOOKS]
    assert by_the_second(looks, 0) >= 0.95


@pytest.mark.parametrize("model", [bimodal(0.30, 0.001), one_in_five_slow(0.005), heavy_tails(1)])
def test_what_noise_hides_is_inconclusive_and_not_guessed(model):
    """A change of 10 % under such noise is mostly not found; it is never called the same."""
    logs = draw(model, 11)
    logs[:, 1] += TEN_PERCENT
    (first, second, _) = within(logs)
    assert slower(second)[:, 0].mean() < 0.5
    for found in (first, second):
        assert (found.middle - found.half >= -EDGE)[:, 0].mean() <= ERROR


def test_the_t_interval_of_a_pair_alone_would_not_keep_them():
    """Why rows share what they know of noise: without it both promises are broken."""
    from ffprof.analysis.statistics.intervals import t_quantile

    def alone(logs, look):
        ratios = (logs[:, 1:] - logs[:, :1])[..., :look]
        half = t_quantile(1 - error_of(len(PAIRS)) / 2, np.float64(look - 1))
        return ratios.mean(axis=-1), half * ratios.std(axis=-1, ddof=1) / np.sqrt(look)

    logs = draw(bimodal(0.10), 1)
    alarms = [np.abs(m) - h > EDGE for m, h in (alone(logs, look) for look in LOOKS)]
    assert np.any([a.any(axis=-1) for a in alarms], axis=0).mean() > 2 * ERROR
    logs = draw(normal, 6)
    logs[:, 1] += TEN_PERCENT
    middle, half = alone(logs, 9)
    assert (middle + half < -EDGE)[:, 0].mean() < 0.95


@pytest.mark.parametrize("model", [normal, bimodal(0.10), one_in_five_slow(0.005), drift])
def test_absolute_speeds_of_two_runs(model):
    assert ever(between(draw(model, 12), draw(model, 13), absolute=True), differ) <= ERROR


def test_absolute_speeds_allow_for_a_machine_whose_rounds_differ():
    """Every round has a speed of its own, 10 % apart; the runs met other ones."""
    rng = np.random.default_rng(14)
    rounds = rng.normal(0, 0.1, (2, AUDITS, 1, ROUNDS))
    shift = rng.normal(0, 0.1, (2, AUDITS, 1, 1))
    before, after = (draw(normal, 15 + i) + rounds[i] + shift[i] for i in (0, 1))
    assert ever(between(before, after, absolute=True), differ) <= ERROR
    assert ever(between(before, after), differ) <= ERROR


def test_a_row_alone_of_two_speeds_needs_more_rounds_or_a_calibration():
    """Five rounds meet the same speed once in sixteen audits; no statistic of them can know."""
    logs = draw(some_rows_of_two_speeds(1, 0.1, 0.5), 16)
    first, second, third = within(logs)
    assert ever([first], differ) > ERROR
    assert ever([second, third], differ) <= ERROR
    floors = [0.05**2 if row == 1 else 0.005**2 for row in range(ROWS)]
    error = error_of(len(PAIRS))
    known = [paired_intervals(logs[..., :n], PAIRS, error, floors) for n in LOOKS]
    assert ever(known, differ) <= ERROR


@pytest.mark.parametrize("gap", [0.1, 0.2, 0.4])
def test_a_third_of_the_rows_of_two_speeds_warn_the_others(gap):
    model = some_rows_of_two_speeds(5, gap, 0.5)
    assert ever(within(draw(model, 17)), differ) <= ERROR
    assert ever(between(draw(model, 18), draw(model, 19)), differ) <= ERROR


@pytest.mark.parametrize(
    ("rounds", "noises"),
    [
        ((15, 5), (0.01, 0.1)),
        ((15, 5), (0.005, 0.08)),
        ((5, 15), (0.08, 0.01)),
        ((15, 9), (0.02, 0.06)),
    ],
)
def test_runs_of_unlike_rounds_and_noise(rounds, noises):
    """A quiet long baseline must not hide how noisy the few rounds of a runner are."""
    rng = np.random.default_rng(20)
    runs = [rng.normal(0, s, (AUDITS, ROWS, n)) for n, s in zip(rounds, noises, strict=True)]
    relative = change_intervals(*relative_to_all(*runs), error_of(ROWS))
    assert differ(relative).any(axis=-1).mean() <= ERROR / len(LOOKS)
    absolute = absolute_intervals(*runs, error_of(ROWS))
    assert differ(absolute).any(axis=-1).mean() <= ERROR / len(LOOKS)


@pytest.mark.parametrize(("rows", "changed"), [(3, 1), (5, 2), (7, 3), (17, 8)])
@pytest.mark.parametrize("change", [0.1, -0.1])
def test_rows_that_did_not_change_stay_so_while_fewer_than_half_do(rows, changed, change):
    before, after = np.random.default_rng(21).normal(0, 0.01, (2, AUDITS, rows, 9))
    after[:, :changed] += change
    found = change_intervals(*relative_to_all(before, after), error_of(rows))
    assert differ(found)[:, changed:].any(axis=-1).mean() <= ERROR
    assert differ(found)[:, :changed].mean() >= 0.95
