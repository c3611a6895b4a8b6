"""What may become a baseline, and what must be said of it."""

import pytest
from gated import cpu, disturbed, estimated, gpu, unread, with_outcome, with_outcomes, without_trial
from records import MIB

from ffprof.analysis.gates.thresholds import Thresholds
from ffprof.errors import UnmeasuredError
from ffprof.experiments.check.baselines import require_measured, warnings_on

PEAKS = {"allocated_peak_bytes": MIB, "reserved_peak_bytes": 2 * MIB}
RULES = Thresholds()


def without(made, *fields):
    for field in fields:
        made = unread(made, "one", field)
    return made


@pytest.mark.parametrize(
    "made",
    [
        cpu(3),
        gpu(PEAKS, 2),
        estimated(),
        estimated(outcome="oom", fit="does not fit"),
        with_outcome(cpu(2), "two", "oom"),
        # A processor has no such peaks, and a GPU is not asked for live tensors.
        without(cpu(), "allocated_peak_bytes", "reserved_peak_bytes"),
        without(gpu(PEAKS), "live_tensor_peak_bytes", "process_peak_bytes"),
    ],
)
def test_what_has_all_that_is_judged_is_a_baseline(made):
    require_measured(made, RULES)
    assert warnings_on(made) == ()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (with_outcome(cpu(), "two", "crashed"), "two was not measured (crashed)"),
        (without_trial(cpu(2), "two", 1), "1 trial of the new result is missing"),
        (
            without_trial(without_trial(cpu(3), "two", 1), "one", 2),
            "2 trials of the new result are missing",
        ),
        (with_outcomes(cpu(3), "two", ["ok", "oom", "ok"]), "2 of 3 ok, 1 of 3 oom"),
        (without(cpu(), "live_tensor_peak_bytes"), "one has no figure of memory: the peak of live"),
        (without(gpu(PEAKS), "allocated_peak_bytes"), "the allocated peak was not read"),
        (without(gpu(PEAKS), "reserved_peak_bytes"), "the reserved peak was not read"),
        (without(estimated(), "allocated_peak_bytes"), "the allocated peak was not read"),
    ],
)
def test_what_would_leave_the_next_check_blind_is_refused(made, said):
    with pytest.raises(UnmeasuredError) as refused:
        require_measured(made, RULES)
    assert said in str(refused.value)


def test_a_figure_that_is_not_judged_may_be_absent():
    rules = Thresholds.model_validate({"workloads": {"one": {"live": {"gate": False}}}})
    require_measured(without(cpu(), "live_tensor_peak_bytes"), rules)
    with pytest.raises(UnmeasuredError):
        require_measured(unread(cpu(), "two", "live_tensor_peak_bytes"), rules)


def test_disturbed_trials_are_warned_of():
    (said,) = warnings_on(disturbed(cpu(3), "two", 1))
    assert "of two" in said
