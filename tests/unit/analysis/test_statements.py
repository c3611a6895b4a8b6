"""Every kind of question, on records that are made by hand, and every word of agreement."""

from datetime import UTC, datetime, timedelta

import pytest
import records
import studies

from ffprof.analysis.statements.answer import (
    Source,
    percent_agreement,
    points_agreement,
    ratio_agreement,
)
from ffprof.analysis.statements.table import answer_paper, answer_statement, open_commands
from ffprof.records.learning import Task
from ffprof.records.statement import (
    Accuracy,
    Command,
    Cost,
    Depth,
    Granularity,
    Lead,
    Paper,
    Reversal,
    Statement,
    Unsupported,
    Widening,
)

MIB = records.MIB
BIG = Command(verb="learn", options={"data": "digits", "augmentation": False})
SMALL = Command(verb="learn", options={"data": "digits", "samples": 9})
START = datetime(2026, 1, 2, tzinfo=UTC)


def statement(question, **more):
    fields = {"id": "one", "words": "a statement", "figure": "1", "commands": (BIG,)}
    return Statement(question=question, **{**fields, "small": (SMALL,), **more})


def answered(question, *found, **more):
    """The answer by records, which are named a.json, b.json, ... and made a day after another."""
    sources = [
        Source(
            name=f"{letter}.json",
            record=record.model_copy(update={"created": START + timedelta(days=at)}),
        )
        for at, (letter, record) in enumerate(zip("abcdef", found, strict=False))
    ]
    paper = Paper(
        title="A paper", source="", statements=(statement(question, **more),), reservation=""
    )
    return answer_paper(paper, sources)[0].answer


def on(data, study):
    """The study on other data; digests are checked when a record is read, not when it is copied."""
    classes = {"cifar10": 10, "cifar100": 100}.get(data, study.recipe.classes)
    recipe = study.recipe.model_copy(update={"data": data, "classes": classes})
    return study.model_copy(update={"recipe": recipe})


def of(table, data="cifar10", **more):
    return on(data, studies.of_percents(table, **{"noise": 0.05, **more}))


ACCURACY = Accuracy(workload="ff", data="cifar10", percent=91.8)
LEAD = Lead(ahead="bp", behind="ff", data="cifar10", points=2.4)


@pytest.mark.parametrize(("reads", "word"), [(91.8, "agrees"), (90.0, "lower"), (93.0, "higher")])
def test_an_accuracy_against_the_papers(reads, word):
    answer = answered(ACCURACY, of({"ff": reads}))
    assert answer.agreement == word
    assert answer.figure.startswith(f"{reads:.1f} ± ")
    assert answer.evidence == "measured (cpu)"
    assert answer.sources == ("a.json",)
    assert answer.finished
    assert "vgg8, 4 epochs" in answer.sentence


def test_few_seeds_and_wide_intervals_tell_nothing():
    assert answered(ACCURACY, of({"ff": 91.8}, seeds=2)).agreement == "cannot tell"
    assert percent_agreement(91.8, 91.0, 3.0, least=False)[0] == "cannot tell"
    assert percent_agreement(75.0, 76.0, 0.5, least=True) == ("agrees", "above it")
    assert percent_agreement(75.0, 75.2, 0.5, least=True)[0] == "cannot tell"
    assert percent_agreement(75.0, 70.0, 0.5, least=True)[0] == "lower"


@pytest.mark.parametrize(
    ("lead", "word"),
    [
        (2.4, "agrees"),
        (1.0, "same sign, smaller"),
        (4.0, "same sign, larger"),
        (-1.0, "contradicts"),
        (0.0, "cannot tell"),
    ],
)
def test_a_lead_against_the_papers(lead, word):
    answer = answered(LEAD, of({"bp": 90.0 + lead, "ff": 90.0}))
    assert answer.agreement == word
    assert "reads" in answer.sentence


def test_the_words_on_points_hold_their_intervals():
    assert points_agreement(2.4, -0.2, 1.0) == (
        "cannot tell", "which is ahead; if it leads, by less than the 2.4 points"
    )  # fmt: skip
    assert points_agreement(2.4, -0.2, 3.0)[1] == "which is ahead"
    assert points_agreement(2.4, 0.2, 2.0)[1] == "less than the 2.4 points by at least 0.40"


def test_a_lead_of_too_few_seeds_has_a_figure_and_no_sign():
    answer = answered(LEAD, of({"bp": 92.0, "ff": 90.0}, seeds=2))
    assert answer.agreement == "cannot tell"
    assert answer.figure == "+1.98"


def test_the_order_of_workloads_in_a_study_does_not_matter():
    answer = answered(LEAD, of({"ff": 90.0, "bp": 91.0}))
    assert answer.agreement == "same sign, smaller"
    assert answer.figure.startswith("+1.0")


def test_other_data_are_told_and_figures_on_them_are_not_comparable():
    found = of({"bp": 92.0, "ff": 90.0}, data="fashion-mnist")
    assert answered(LEAD, found).agreement == "not run"
    answer = answered(LEAD, found, stand_ins=("fashion-mnist",))
    assert answer.agreement == "not comparable"
    assert answer.stand_in == "fashion-mnist"
    assert answer.sentence.startswith("with fashion-mnist in place of cifar10: ")


def test_own_data_go_before_newer_stand_ins_and_the_newest_wins():
    own, newer = of({"ff": 91.8}), of({"ff": 90.0})
    other = of({"ff": 80.0}, data="fashion-mnist")
    more = {"stand_ins": ("fashion-mnist",)}
    assert answered(ACCURACY, own, other, **more).sources == ("a.json",)
    assert answered(ACCURACY, own, newer, **more).sources == ("b.json",)
    assert answered(ACCURACY, newer, own, **more).sources == ("b.json",)


def test_a_newer_study_that_trained_less_does_not_displace_one():
    whole, hasty = of({"ff": 91.8}), of({"ff": 50.0})
    epochs = [run.model_copy(update={"epochs": run.epochs[-1:]}) for run in hasty.runs]
    hasty = hasty.model_copy(update={"runs": tuple(epochs)})
    assert answered(ACCURACY, whole, hasty).sources == ("a.json",)
    assert answered(ACCURACY, hasty, whole).sources == ("b.json",)


def test_a_part_of_the_data_is_not_comparable_and_comes_after_all_of_it():
    tasks = (Task(classes=10, samples=500),)
    part = of({"ff": 91.8}, tasks=tasks)
    answer = answered(ACCURACY, part)
    assert answer.agreement == "not comparable"
    assert "500 of its images" in answer.sentence
    assert answered(ACCURACY, of({"ff": 91.8}), part).sources == ("a.json",)
    classes = of({"ff": 91.8}, data="cifar100", tasks=(Task(classes=10),))
    assert (
        "10 of its classes"
        in answered(Accuracy(workload="ff", data="cifar100", percent=1.0), classes).sentence
    )


def test_an_unfinished_study_says_so_and_comes_after_a_finished_one():
    runs = [studies.run("ff", 0.918 + 0.0001 * seed, seed=seed) for seed in range(3)]
    unfinished = on("cifar10", studies.study(runs, seeds=(0, 1, 2, 3)))
    answer = answered(ACCURACY, unfinished)
    assert not answer.finished
    assert answered(ACCURACY, of({"ff": 90.0}), unfinished).sources == ("a.json",)


KS = (2, 4, 8, 16)


def over_classes(leads, data="cifar100", noise=0.02):
    """A study over KS in which bp is ahead of ff by these points."""
    table = {"bp": [50.0 + one for one in leads], "ff": [50.0] * len(KS)}
    tasks = tuple(Task(classes=k) for k in KS)
    return on(data, studies.of_percents(table, noise=noise, tasks=tasks, swept="classes"))


@pytest.mark.parametrize(
    ("leads", "word", "figure"),
    [
        ((1, 2, 3, 4), "agrees", "widens"),
        ((4, 3, 2, 1), "contradicts", "narrows"),
        ((-1, -2, -3, -4), "contradicts", "widens"),  # the other one's lead
        ((2, 2, 2, 2), "contradicts", "steady"),
        ((-2, -1, 1, 2), "same sign", "changes sign"),
        ((2, 1, -1, -2), "contradicts", "changes sign"),
    ],
)
def test_a_lead_over_the_classes(leads, word, figure):
    question = Widening(ahead="bp", behind="ff", data="cifar100")
    answer = answered(question, over_classes(leads))
    assert (answer.agreement, answer.figure) == (word, figure)


def test_noise_hides_a_slope_and_a_study_without_classes_answers_nothing():
    question = Widening(ahead="bp", behind="ff", data="cifar100")
    assert answered(question, over_classes((1, 2, 1, 2), noise=3.0)).agreement == "cannot tell"
    assert answered(question, of({"bp": 1.0, "ff": 2.0}, data="cifar100")).agreement == "not run"
    # A word may be told of other data, and says so.
    found = over_classes((1, 2, 3, 4), data="fashion-mnist")
    answer = answered(question, found, stand_ins=("fashion-mnist",))
    assert (answer.agreement, answer.stand_in) == ("agrees", "fashion-mnist")


@pytest.mark.parametrize(
    ("synthetic", "real", "word", "figure"),
    [
        ((-1, -2, -3, -4), (1, 2, 3, 4), "agrees", "reverses"),
        ((-2, -2, -2, -2), (1, 2, 3, 4), "same sign", "reverses"),
        ((1, 2, 3, 4), (1, 2, 3, 4), "contradicts", "does not"),
        ((-1, -2, -3, -4), (-1, -2, -3, -4), "contradicts", "does not"),
        ((-1, -2, -3, -4), None, "cannot tell", "?"),
    ],
)
def test_a_sign_on_two_data_sets(synthetic, real, word, figure):
    question = Reversal(ahead="bp", behind="ff", synthetic="teacher", real="cifar100")
    found = [over_classes(synthetic, data="teacher")]
    found += [] if real is None else [over_classes(real)]
    answer = answered(question, *found)
    assert (answer.agreement, answer.figure) == (word, figure)
    assert answer.finished is (real is not None)
    assert "on teacher, " in answer.sentence and "on cifar100, " in answer.sentence


def test_a_stand_in_for_the_real_half_goes_before_no_real_half():
    question = Reversal(ahead="bp", behind="ff", synthetic="teacher", real="cifar100")
    found = [over_classes((-1, -2, -3, -4), data="teacher")]
    found.append(over_classes((1, 2, 3, 4), data="fashion-mnist"))
    answer = answered(question, *found, stand_ins=("fashion-mnist",))
    assert (answer.agreement, answer.stand_in) == ("agrees", "fashion-mnist")
    assert answer.sources == ("a.json", "b.json")


def test_figures_have_the_decimals_that_their_intervals_allow():
    answer = answered(LEAD, of({"bp": 60.0, "ff": 50.0}, noise=15.0, seeds=3))
    assert all("." not in part for part in answer.figure.split(" ± ")), answer.figure


@pytest.mark.parametrize(
    ("fine", "coarse", "word", "figure"),
    [
        (5.0, 1.0, "agrees", "wider"),
        (1.0, 5.0, "contradicts", "narrower"),
        (2.0, 2.0, "cannot tell", "unsure"),
    ],
)
def test_coarse_labels_against_fine_ones(fine, coarse, word, figure):
    tasks = (Task(classes=100), Task(classes=20, labels="coarse"))
    table = {"bp": [50.0 + fine, 70.0 + coarse], "ff": [50.0, 70.0]}
    found = of(table, data="cifar100", tasks=tasks, swept="labels")
    answer = answered(Granularity(ahead="bp", behind="ff", data="cifar100"), found)
    assert (answer.agreement, answer.figure) == (word, figure)
    few = of(table, data="cifar100", tasks=tasks, swept="labels", seeds=2)
    few_answer = answered(Granularity(ahead="bp", behind="ff", data="cifar100"), few)
    assert few_answer.agreement == "cannot tell"
    assert "2 seeds are too few" in few_answer.sentence


def audit(sizes, *, speeds=None, claims=(), rounds=3, **more):
    trials = [
        records.trial(name, number, memory=size, speed=(speeds or {}).get(name, 100.0))
        for number in range(rounds)
        for name, size in sizes.items()
    ]
    return records.record(trials, claims=claims, **more)


MEMORY = records.claim("ff", "bp", "memory")
SPEED = records.claim("ff", "bp", "throughput")


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        (200, "agrees"),
        (300, "same sign, larger"),
        (150, "same sign, smaller"),
        (50, "contradicts"),
        (100, "contradicts"),  # the two do not differ
    ],
)
def test_memory_of_two_rows(ours, word):
    question = Cost(metric="memory", workload="ff", baseline="bp", preset="test", ratio=2.0)
    answer = answered(question, audit({"ff": ours * MIB, "bp": 100 * MIB}, claims=[MEMORY]))
    assert answer.agreement == word
    assert answer.figure == f"{ours / 100:.2f}x"
    assert "100 MiB" in answer.sentence


def test_speed_of_two_rows_needs_rounds_enough():
    question = Cost(metric="throughput", workload="ff", baseline="bp", preset="test", ratio=0.5)
    more = {"speeds": {"ff": 50.0, "bp": 100.0}, "claims": [SPEED]}
    sizes = {"ff": 100 * MIB, "bp": 100 * MIB}
    assert answered(question, audit(sizes, **more)).agreement == "cannot tell"
    assert answered(question, audit(sizes, rounds=9, **more)).agreement == "agrees"
    assert ratio_agreement(0.5, 1.2, surely=True)[0] == "contradicts"
    assert ratio_agreement(0.5, 0.2, surely=True)[0] == "same sign, larger"
    assert ratio_agreement(0.5, 0.8, surely=True)[0] == "same sign, smaller"


def test_a_row_that_does_not_fit_has_a_sign_and_no_ratio():
    question = Cost(metric="memory", workload="ff", baseline="bp", preset="test", ratio=2.0)
    trials = [records.trial("ff", 0, outcome="oom"), records.trial("bp", 0)]
    answer = answered(question, records.record(trials, claims=[MEMORY]))
    assert (answer.agreement, answer.figure) == ("same sign", "does not fit")


def test_audits_of_another_preset_answer_nothing():
    question = Cost(metric="memory", workload="ff", baseline="bp", preset="large", ratio=2.0)
    found = audit({"ff": 200 * MIB, "bp": 100 * MIB}, claims=[MEMORY])
    assert answered(question, found).agreement == "not run"
    assert answered(question, found, stand_ins=("test",)).agreement == "not comparable"


def test_claims_that_hold_are_counted():
    other = records.claim("ff2", "bp", "memory")
    question = Unsupported(claims=(MEMORY.id, other.id), preset="test")
    sizes = {"ff": 200 * MIB, "bp": 100 * MIB, "ff2": 300 * MIB}
    claims = [MEMORY, other]
    answer = answered(question, audit(sizes, claims=claims))
    assert (answer.agreement, answer.figure) == ("agrees", "none of 2")
    answer = answered(question, audit({**sizes, "ff2": 50 * MIB}, claims=claims))
    assert (answer.agreement, answer.figure) == ("agrees in part", "1 of 2")
    assert "but ff2 takes 0.50x" in answer.sentence
    smaller = {**sizes, "ff": 50 * MIB, "ff2": 50 * MIB}
    assert answered(question, audit(smaller, claims=claims)).agreement == "contradicts"
    alike = dict.fromkeys(sizes, MIB)  # too small to tell
    assert answered(question, audit(alike, claims=claims)).agreement == "cannot tell"


@pytest.mark.parametrize(("grows", "word"), [(1, "agrees"), (9, "contradicts")])
def test_growth_with_depth_needs_two_audits_that_differ_in_nothing_else(grows, word):
    question = Depth(workload="ff", baseline="bp")
    shallow = audit({"ff": 50 * MIB, "bp": 50 * MIB}, backbone="flat-4-8")
    deep = audit({"ff": (50 + 4 * grows) * MIB, "bp": 90 * MIB}, backbone="flat-8-8")
    answer = answered(question, shallow, deep)
    assert answer.agreement == word
    assert answer.figure == f"{10 * grows} %"
    assert answer.sources == ("a.json", "b.json")
    assert "from 4 to 8 blocks, ff grows by" in answer.sentence
    assert answered(question, shallow).agreement == "not run"
    wider = audit({"ff": 50 * MIB, "bp": 90 * MIB}, backbone="flat-8-16")
    assert answered(question, shallow, wider).agreement == "not run"
    other_batch = audit({"ff": 50 * MIB, "bp": 90 * MIB}, backbone="flat-8-8", batch=16)
    assert answered(question, shallow, other_batch).agreement == "not run"


def commands_of(answers, **more):
    return [str(one.command) for one in open_commands(answers, **more)]


def test_what_is_settled_is_not_run_again():
    def lines(question, *found, **more):
        sources = [Source(name="a.json", record=one) for one in found]
        paper = Paper(
            title="", source="", statements=(statement(question, **more),), reservation=""
        )
        return answer_paper(paper, sources)

    assert commands_of(lines(ACCURACY)) == ["ffprof learn --data digits --no-augmentation"]
    assert commands_of(lines(ACCURACY), small=True) == ["ffprof learn --data digits --samples 9"]
    assert commands_of(lines(ACCURACY, of({"ff": 91.8}))) == []
    other = lines(ACCURACY, of({"ff": 91.8}, data="digits"), stand_ins=("digits",))
    assert commands_of(other) != []
    assert commands_of(other, small=True) == []
    cost = Cost(metric="memory", workload="ff", baseline="bp", preset="test", ratio=2.0)
    on_a_processor = lines(cost, audit({"ff": 9 * MIB, "bp": 5 * MIB}, claims=[MEMORY]))
    assert commands_of(on_a_processor) != []
    assert commands_of(on_a_processor, small=True) == []


def test_a_command_for_several_statements_is_run_once_and_the_most_telling_first():
    other = Command(verb="run", options={"preset": "small"})
    statements = (
        statement(ACCURACY, id="a", rank=3),
        statement(LEAD, id="b", rank=2),
        statement(LEAD, id="c", rank=1, commands=(other,)),
    )
    paper = Paper(title="", source="", statements=statements, reservation="")
    found = open_commands(answer_paper(paper, []))
    assert [[s.id for s in one.statements] for one in found] == [["c"], ["b", "a"]]


def test_what_a_table_has_no_room_for_is_refused():
    with pytest.raises(ValueError, match="more text"):
        statement(LEAD, words="x" * 32)
    with pytest.raises(ValueError, match="same id"):
        Paper(title="", source="", statements=(statement(LEAD),) * 2, reservation="")
    assert answer_statement(statement(LEAD), []).agreement == "not run"
