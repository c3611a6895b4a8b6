"""A file that contradicts itself says so before anything else, in every command that reads it."""

import json

import pytest
from calibrations import calibrated, noisy_audit
from frontiers import capacity, frontier, point, tried
from records import MIB, claim, record, trial

import ffprof
from ffprof.analysis.contradictions import HEADLINE, alarms, checks_of, conclusions
from ffprof.analysis.frontier.standings import settle
from ffprof.cli.main import main
from ffprof.experiments.reproduction import reproduction_of
from ffprof.records.store import load_any, read_any, save

SIZES = {"a": 300, "b": 100}


def judged():
    trials = [trial(name, n, memory=size * MIB) for n in (0, 1) for name, size in SIZES.items()]
    return record(trials, claims=[claim("a", "b", "memory")])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "audit-a.json"
    save(judged(), path)
    return path


def edited(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def peaks(value):
    def change(document):
        for one in document["trials"]:
            if one["workload"] == "a":
                one["memory"]["live_tensor_peak_bytes"] = value

    return change


def said(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, words)))
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def test_a_file_as_it_was_written_agrees_with_itself(path, capsys):
    assert alarms(read_any(path)) == ()
    assert [one.holds for one in checks_of(read_any(path))] == [True, True, True, True]
    code, out, _ = said(capsys, "verify", path)
    assert code == 0 and "it agrees with itself" in " ".join(out.split())


@pytest.mark.parametrize("words", [(), ("--judge",)])
def test_edited_peaks_are_on_the_first_line(path, capsys, words):
    edited(path, peaks(10 * MIB))
    code, out, _ = said(capsys, "report", path, *words)
    assert code == 0 and out.splitlines()[0] == HEADLINE
    told = " ".join(out.split())
    assert "its digest is not that of what it holds" in told
    assert "verdict on a-b-memory is 'higher' (not supported), and its trials give 'lower'" in told
    code, out, _ = said(capsys, "verify", path)
    assert code == 2 and "IT CONTRADICTS ITSELF" in " ".join(out.split())


def test_programs_are_told_beside_the_record(path, capsys):
    stored = json.loads(path.read_text())["digest"]
    edited(path, peaks(10 * MIB))
    _, out, err = said(capsys, "report", path, "-f", "json")
    assert HEADLINE in err and json.loads(out)["digest"] == stored
    code, out, _ = said(capsys, "verify", path, "-f", "json")
    found = json.loads(out)
    assert (code, found["holds"]) == (2, False)
    assert [one["status"] for one in found["checks"]] == ["failed", "passed", "passed", "failed"]
    with pytest.warns(UserWarning, match="was changed after ffprof wrote it"):
        ffprof.load(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ratio": 0.3}, "has the figures 0.3"),
        ({"finding": "lower", "supported": True}, "is 'lower'"),
        ({"sentence": "a takes 0.30x: supported"}, "reads 'a takes"),
        ({"baseline": "c"}, "has the baseline c"),
        ({"claim": "x"}, "is on no claim"),
    ],
)
def test_every_part_of_a_verdict_is_judged_again(path, changes, told):
    edited(path, lambda document: document["verdicts"][0].update(changes))
    assert told in " ".join(conclusions(load_any(path)))


def test_a_run_that_was_stopped_has_no_verdicts_and_contradicts_nothing(path):
    edited(path, lambda document: document.update(verdicts=[]))
    assert conclusions(load_any(path)) == ()


def test_standings_of_a_frontier_are_judged_again():
    made = settle(frontier("frontier", points=(point("a", 8), point("a", 4))))
    assert conclusions(made) == ()
    worse = made.points[0].model_copy(update={"on_frontier": not made.points[0].on_frontier})
    (told,) = conclusions(made.model_copy(update={"points": (worse, *made.points[1:])}))
    assert f"point {worse.id} has on frontier" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"largest": 7}, "a: micro batch 7 is said to be the largest, and it was not tried"),
        ({"largest": 7}, "a: micro batch 7 is said to be the largest, and 8 ran, too"),
        ({"largest": 9, "first_failing": None}, "9 is said to be the largest, and it did not fit"),
        ({"first_failing": 12}, "a: 12 is said not to fit, and it was not tried"),
    ],
)
def test_the_largest_sizes_of_a_search_follow_from_what_was_tried(changes, told):
    assert conclusions(frontier()) == ()
    other = capacity(proven=False, message="why", **changes)
    assert any(told in line for line in conclusions(frontier(capacities=(other,))))


def test_a_search_by_estimates_is_held_against_their_answers():
    near = (
        tried(8, fit="fits", evidence="estimated"),
        tried(9, evidence="estimated", fit="too close to call"),
    )
    made = capacity(proven=False, message="why", tried=near)
    assert conclusions(frontier(capacities=(made,))) == ()
    told = conclusions(
        frontier(capacities=(made.model_copy(update={"largest": 9, "first_failing": None}),))
    )
    assert told == ("a: micro batch 9 is said to be the largest, and it did not fit",)


def test_what_a_calibration_finds_follows_from_its_intervals():
    made = calibrated(noisy_audit())
    assert conclusions(made) == ()
    arm = made.arms[0].model_copy(
        update={"ratio": 1.5, "low": 1.4, "high": 1.6, "finding": "same", "because": ""}
    )
    assert "says faster" in conclusions(made.model_copy(update={"arms": (arm,)}))[0]


@pytest.fixture
def new(tmp_path):
    (tmp_path / "new").mkdir()
    save(judged(), tmp_path / "new" / "audit-b.json")
    return tmp_path / "new" / "audit-b.json"


def test_an_impossible_peak_passes_no_gate(path, new, capsys):
    edited(new, lambda document: (peaks(0)(document), document.pop("digest")))
    words = ("--baseline", path, "--current", new, "--throughput", "off")
    code, out, _ = said(capsys, "check", *words)
    assert code == 4 and "not possible: 0 B" in " ".join(out.split())
    assert "improved" not in out


def test_nothing_passes_with_a_file_that_was_changed(path, new, capsys):
    edited(new, lambda document: document.update(notes=["x"]))
    words = ("check", "--baseline", path, "--current", new, "--throughput", "off")
    code, out, _ = said(capsys, *words)
    assert code == 4 and out.startswith(HEADLINE)
    before = path.read_bytes()
    code, out, err = said(capsys, *words, "--update-baseline")
    assert code != 0 and "not updated" in out + err and path.read_bytes() == before
    _, out, _ = said(capsys, "compare", path, new)
    assert out.startswith(HEADLINE)


def test_a_result_held_against_itself_passes_and_says_so(tmp_path, capsys):
    rounds = [trial(n, r, speed=100.0 + 40 * (r % 2)) for r in range(5) for n in ("a", "b", "c")]
    path = tmp_path / "audit-a.json"
    save(record(rounds), path)
    code, out, _ = said(capsys, "check", "--baseline", path, "--current", path)
    assert code == 0 and "is the baseline itself (same digest)" in " ".join(out.split())
    code, out, _ = said(capsys, "compare", path, path)
    assert code == 0 and "both are the same result" in out and "relative speed: 3 same" in out


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("ffprof frontier --rounds 3", "ffprof frontier --rounds 3"),
        ("ffprof frontier ; rm -rf ~", "ffprof frontier ';' rm -rf '~'"),
        ("ffprof frontier; rm -rf ~", ""),
        ("rm -rf ~", ""),
        ("ffprof 'frontier", ""),
        ("ffprof.run(preset='small')", "ffprof.run(preset='small')"),
        ("ffprof.run(preset=__import__('os').system('x'))", ""),
        ("ffprof.run(1)(x=2)", ""),
    ],
)
def test_a_command_that_was_typed_runs_nothing_else(command, told):
    made = frontier("frontier").model_copy(update={"command": command})
    assert reproduction_of(made).command == told


def test_the_command_of_an_audit_is_made_from_its_record():
    made = judged()
    recipe = made.recipe.model_copy(update={"preset": "small", "batch": 128, "threads": 3})
    found = reproduction_of(made.model_copy(update={"recipe": recipe})).command
    assert found.startswith("ffprof run --device cpu --preset small --workloads a,b --rounds 2")
    assert "--batch 128" in found and "--threads 3" in found


def test_the_command_of_a_null_device_begins_on_it():
    made = judged()
    machine = made.machine.model_copy(update={"null_device": True})
    made = made.model_copy(update={"machine": machine, "evidence": "emulated"})
    found = reproduction_of(made).command
    assert found.startswith("ffprof run --device estimate --engine null --preset")
