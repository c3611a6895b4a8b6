import io

from frontiers import capacity, frontier, tried
from records import MIB, recipe
from rich.console import Console

from ffprof.report.exporters.markdown import render as markdown
from ffprof.report.exporters.terminal import print_document
from ffprof.report.kinds import document_of

LONG = "dtg-ff-streamed-accum"


def printed(record, width):
    console = Console(width=width, file=io.StringIO())
    print_document(document_of(record), console)
    return console.file.getvalue()


def line(text, workload):
    return next(one for one in text.splitlines() if one.startswith(f"{workload} ")).split()


RUNS = (
    tried(1200, reserved_bytes=7000 * MIB, process_bytes=7900 * MIB),
    tried(1224, "oom"),
    tried(1201, "oom"),
)
MEASURED = frontier(
    recipe=recipe(batch=32, micro_batch=4),
    capacities=(
        capacity("bp"),
        capacity(LONG, largest=1200, first_failing=1201, tried=RUNS, batch=9600, proposed=1190),
        capacity(
            "crashed", largest=0, first_failing=None, proven=False, batch=None, proposed=None,
            tried=(tried(8, "crashed"),), message="the run of 8 gave no result (crashed: \x1b[2J)",
        ),
        capacity(
            "gap", first_failing=12, proven=False, message="between 8 and 12 nothing is proven",
            tried=(tried(8), tried(12, "oom")),
        ),
        capacity(
            "guessed", message="9 was estimated not to fit, not run",
            tried=(tried(8), tried(9, "oom", "estimated", fit="does not fit")),
        ),
        capacity("none", largest=0, first_failing=1, batch=None, tried=(tried(1, "oom"),)),
    ),
)  # fmt: skip


def test_a_line_says_what_is_largest_and_how_it_is_known():
    text = printed(MEASURED, 80)
    assert "Largest micro-batch that fits: preset test, emulated" in text
    assert max(map(len, text.splitlines())) <= 80
    assert line(text, LONG) == [
        LONG, "1200", "9600", "6.84", "GiB", "7.71", "GiB", "1201", "run", "3",
    ]  # fmt: skip
    assert line(text, "gap")[1] == "≥8" and line(text, "gap")[-3:] == ["12", "run", "2"]
    assert line(text, "guessed")[-3:] == ["9", "est.", "1"]
    assert line(text, "crashed")[1:] == ["-"] * 6 + ["1"]
    assert line(text, "none")[1] == "0" and "none: not even 1 fits" in text
    for said in ("between 8 and 12", "estimated not to fit, not run", "gave no result (crashed"):
        assert said in " ".join(text.split())
    assert "\x1b" not in text


def test_what_is_limited_is_said_and_on_the_card_itself_nothing_is():
    def told(evidence="measured", **budget):
        own = MEASURED.budget.model_copy(update=budget)
        made = MEASURED.model_copy(update={"evidence": evidence, "budget": own})
        return " ".join(printed(made, 80).split())

    limited = "CUDA memory limited to 7.81 GiB (8GB, A card), less context and libraries"
    assert limited in told("emulated")
    for evidence in ("measured", "emulated"):  # a null device of the card is emulated
        text = told(evidence, whole_gpu=True)
        assert "A card: CUDA offers 7.81 GiB, context and libraries included; nothing is" in text
        assert "limited to" not in text
    assert "this GPU: CUDA offers" in told(card=None)
    assert "the allocator is limited to what context and libraries leave" in told(spills="WSL")


def test_there_is_more_in_a_wide_terminal_and_markdown_says_the_same():
    text = printed(MEASURED, 140)
    assert line(text, LONG)[-3:] == ["3", "2", "1190"]
    assert max(map(len, text.splitlines())) <= 140
    pages = markdown(document_of(MEASURED))
    assert f"| {LONG} | 1200 | 9600 |" in pages and "\x1b" not in pages
    assert "- gap: between 8 and 12 nothing is proven" in pages


def test_estimates_are_labelled_and_are_no_proof():
    runs = (
        tried(8, evidence="estimated", fit="fits", reserved_bytes=7 * MIB),
        tried(9, evidence="estimated", fit="too close to call"),
    )
    made = frontier(
        evidence="estimated",
        capacities=(capacity("bp", proven=False, tried=runs), capacity("no", proposed=None,
                    largest=0, first_failing=None, proven=False, tried=(), message="untraceable")),
    )  # fmt: skip
    text = printed(made, 80)
    assert "estimated" in text.splitlines()[0] and "nothing was run" in text
    assert line(text, "bp") == [
        "bp", "8", "-", "7.00", "MiB", "9", "too", "close", "to", "call", "2",
    ]  # fmt: skip
    assert "no: untraceable" in text and line(text, "no")[1] == "-"


def test_depth_is_of_the_backbone():
    made = frontier(
        recipe=recipe(backbone="flat-3-16"), capacities=(capacity(grown="depth", batch=8),)
    )
    text = printed(made, 80)
    assert "Largest depth that fits" in text and "flat-N-16" in text
    assert "effective batch 8, micro-batch 4" in text
