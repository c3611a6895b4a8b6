import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import record, trial

from ffprof.estimator import overhead
from ffprof.estimator.overhead import (
    Identity,
    cuda_version,
    identity_of,
    learned_overhead,
    overheads_in,
    process_overhead,
    remember,
)
from ffprof.hardware.cards import known_cards
from ffprof.records.audit import Debit, Memory
from ffprof.records.files import cache_folder
from ffprof.units import GIB, MIB


@pytest.mark.parametrize("card", known_cards(), ids=lambda card: card.name)
@pytest.mark.parametrize("cuda", [(10, 2), (11, 6), (11, 7), (12, 8), (13, 0)])
def test_the_range_is_ordered_and_has_sources(card, cuda):
    found = process_overhead(card.compute_capability, cuda=cuda)
    assert 0 < found.low_bytes < found.likely_bytes < found.high_bytes < 2 * GIB
    assert found.sources
    assert not found.measured


def test_the_range_holds_the_public_readings():
    # torch 2.6+cu124: 106 MiB were left of an RTX 4060, 141 of an RTX 3060 (xMem's raw data)
    for capability, left in (((8, 9), 106), ((8, 6), 141)):
        recent = process_overhead(capability, cuda=(12, 4))
        assert 90 * MIB <= recent.low_bytes <= left * MIB
        assert recent.likely_bytes <= 256 * MIB  # the context of an RTX 3090, four times as wide
        assert recent.high_bytes >= 900 * MIB
    # Blackwell was read at 1020 MiB, and other architectures and older versions at 256 to 430
    assert process_overhead((12, 0), cuda=(12, 8)).high_bytes >= 1020 * MIB
    for capability, cuda in (((8, 6), (12, 1)), ((8, 0), (12, 8)), ((12, 0), (13, 0))):
        assert process_overhead(capability, cuda=cuda).low_bytes >= 256 * MIB
    # torch 1.7.1+cu110 on an RTX 3090: 1644 MiB with a tensor of 156.25
    assert process_overhead((8, 6), cuda=(11, 0)).high_bytes == 1488 * MIB


@pytest.mark.parametrize("capability", [(6, 0), (7, 0), (7, 5), (8, 0), (9, 0), (10, 0), (12, 0)])
@pytest.mark.parametrize("cuda", [(11, 8), (12, 4), (12, 8), (13, 0)])
def test_every_architecture_has_a_range_that_says_what_is_guessed(capability, cuda):
    found = process_overhead(capability, cuda=cuda)
    assert found.low_bytes >= 256 * MIB  # the smallest context that was read on other cards
    assert found.likely_bytes >= 500 * MIB and found.high_bytes <= 2 * GIB
    assert any("github.com" in source for source in found.sources)
    assert any("guessed" in source for source in found.sources)
    # what GeForce cards of Ampere and Ada need less of is not taken for others
    assert found.likely_bytes > 2 * process_overhead((8, 9), cuda=(12, 8)).likely_bytes


def test_lazy_loading_is_what_the_version_does_unless_told():
    old, new = (process_overhead((8, 6), cuda=v) for v in ((11, 6), (11, 7)))
    assert new.likely_bytes < old.likely_bytes
    assert process_overhead((8, 6), cuda=(11, 7), lazy=False) == old
    assert process_overhead((8, 6), cuda=(11, 6), lazy=True) == new


def test_a_display_takes_more():
    without = process_overhead((8, 6), cuda=(12, 4))
    beside = process_overhead((8, 6), cuda=(12, 4), display=True)
    assert beside.likely_bytes - without.likely_bytes == 300 * MIB
    assert beside.low_bytes > without.low_bytes
    assert any("Wayland" in source for source in beside.sources)


def test_newer_architectures_do_not_take_less():
    likely = [
        process_overhead(c, cuda=(12, 1)).likely_bytes for c in ((3, 5), (6, 1), (8, 6), (12, 0))
    ]
    assert likely == sorted(likely)


def test_versions_are_parsed():
    assert cuda_version("12.8") == (12, 8)
    assert cuda_version("13") == (13, 0)
    assert cuda_version("11.7.1") == (11, 7)
    with pytest.raises(ValueError, match="invalid literal"):
        cuda_version("None")


# ---- what is learned


def cuda_trial(number, *, process=None, reserved=5 * GIB, cold=None, outcome="ok", **more):
    memory = Memory(
        process_peak_bytes=process, reserved_peak_bytes=reserved, cold_reserved_peak_bytes=cold
    )
    return trial("a", number, outcome=outcome, device="cuda", evidence="measured").model_copy(
        update={"memory": memory, **more}
    )


def audit(trials, *, driver="580.10", gpu="NVIDIA GeForce RTX 4060"):
    made = record([trial("a", 0)])
    versions = {"torch": "2.14.1", "torch build": "2.14.1+cu130", "cuda build": "13.0"}
    machine = made.machine.model_copy(update={"gpu": gpu, "driver": driver, "versions": versions})
    return made.model_copy(
        update={
            "trials": tuple(trials),
            "machine": machine,
        }
    )


IDENTITY = Identity(
    gpu="NVIDIA GeForce RTX 4060", driver="580.10", torch="2.14.1+cu130", cuda="13.0"
)


def test_what_an_audit_measured_replaces_the_range(tmp_path):
    figures = (600 * MIB, 650 * MIB, 640 * MIB)
    made = audit([cuda_trial(n, process=5 * GIB + f) for n, f in enumerate(figures)])
    assert identity_of(made.machine) == IDENTITY
    assert learned_overhead(IDENTITY, tmp_path) == (None, "")
    assert remember(made, tmp_path) == ""
    found, note = learned_overhead(IDENTITY, tmp_path)
    assert note == ""
    assert found.measured
    assert (found.low_bytes, found.likely_bytes, found.high_bytes) == (
        600 * MIB,
        640 * MIB,
        650 * MIB,
    )
    assert "3 trials" in found.sources[0]
    assert [p.suffix for p in tmp_path.iterdir()] == [".json"]


def test_audits_add_up_and_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(overhead, "_KEPT", 3)
    for figure in (900, 500, 600, 700):
        remember(audit([cuda_trial(0, process=5 * GIB + figure * MIB)]), tmp_path)
    found, _ = learned_overhead(IDENTITY, tmp_path)
    assert (found.low_bytes, found.high_bytes) == (500 * MIB, 700 * MIB)


def test_every_gpu_driver_and_build_is_by_itself(tmp_path):
    remember(audit([cuda_trial(0, process=6 * GIB)]), tmp_path)
    remember(audit([cuda_trial(0, process=7 * GIB)], driver="590.01"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert learned_overhead(IDENTITY, tmp_path)[0].likely_bytes == GIB
    for change in ({"gpu": "other"}, {"driver": "1"}, {"torch": "2.15"}, {"cuda": "12.8"}):
        other = Identity(**{**vars_of(IDENTITY), **change})
        assert learned_overhead(other, tmp_path) == (None, "")


def vars_of(identity):
    return {name: getattr(identity, name) for name in ("gpu", "driver", "torch", "cuda")}


def test_only_cuda_trials_that_ended_well_teach():
    fine = cuda_trial(0, process=6 * GIB)
    assert overheads_in(audit([fine])) == (GIB,)
    assert overheads_in(audit([cuda_trial(0, process=6 * GIB, outcome="oom")])) == ()
    assert overheads_in(audit([cuda_trial(0, process=6 * GIB, device="cpu")])) == ()
    assert overheads_in(audit([cuda_trial(0, process=None)])) == ()
    assert overheads_in(audit([cuda_trial(0, process=4 * GIB)])) == ()  # cannot be
    # the allocator's peak was before warm-up ended, and so was the process's
    assert overheads_in(audit([cuda_trial(0, process=6 * GIB, cold=int(5.5 * GIB))])) == (GIB // 2,)


def test_the_debit_of_a_trial_says_it_best():
    debit = Debit(
        context_bytes=300 * MIB,
        step_bytes=650 * MIB,
        end_bytes=640 * MIB,
        source="NVML, this process",
    )
    told = cuda_trial(0, process=7 * GIB, debit=debit)
    assert overheads_in(audit([told])) == (650 * MIB,)
    # The context alone is not what a training process takes.
    only = debit.model_copy(update={"step_bytes": None, "end_bytes": None})
    assert overheads_in(audit([cuda_trial(0, process=7 * GIB, debit=only)])) == ()


def test_a_record_without_a_gpu_teaches_nothing(tmp_path):
    assert remember(record([trial("a", 0)]), tmp_path) == ""
    assert remember(audit([cuda_trial(0, process=6 * GIB)], driver=None), tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


GOOD = {"version": 1, "identity": vars_of(IDENTITY), "overhead_bytes": [MIB]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 20_000,
        b"{}",
        b"null",
        b" " * 100_000,
        json.dumps(GOOD | {"version": 2}).encode(),
        json.dumps(GOOD | {"overhead_bytes": []}).encode(),
        json.dumps(GOOD | {"overhead_bytes": [-5]}).encode(),
        json.dumps(GOOD | {"overhead_bytes": [True]}).encode(),
        json.dumps(GOOD | {"overhead_bytes": ["1"]}).encode(),
        json.dumps(GOOD | {"overhead_bytes": [2**50]}).encode(),
        json.dumps(GOOD | {"overhead_bytes": [1e9]}).encode(),
        json.dumps(GOOD | {"overhead_bytes": [1] * 5000}).encode(),
        json.dumps(GOOD | {"identity": vars_of(IDENTITY) | {"gpu": "x"}}).encode(),
    ],
)
def test_a_damaged_file_is_ignored_with_a_note_and_mended(tmp_path, content):
    made = audit([cuda_trial(0, process=6 * GIB)])
    remember(made, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    found, note = learned_overhead(IDENTITY, tmp_path)
    assert found is None
    assert "damaged" in note
    assert "\n" not in note
    assert remember(made, tmp_path) == ""
    assert learned_overhead(IDENTITY, tmp_path)[0].likely_bytes == GIB


@given(st.binary(max_size=300))
def test_no_content_makes_it_fail(content):
    values, note = [], ""
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"ffprof-test-{os.getpid()}.json"
    path.write_bytes(content)
    try:
        values, note = overhead._read(path, IDENTITY)
    finally:
        path.unlink()
    assert (values == []) and note


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path):
    (tmp_path / "file").write_text("")
    note = remember(audit([cuda_trial(0, process=6 * GIB)]), tmp_path / "file" / "ffprof")
    assert "not stored" in note


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    made = audit([cuda_trial(0, process=6 * GIB)])
    remember(made, tmp_path)

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert "No space left" in remember(made, tmp_path)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1
    assert learned_overhead(IDENTITY, tmp_path)[0].likely_bytes == GIB


def test_the_cache_is_where_the_user_keeps_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ffprof"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "ffprof"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ffprof"


def test_a_resumed_audit_remembers_its_new_trials_only(tmp_path, monkeypatch):
    from ffprof.experiments.audit.looks import remember_new

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = audit([cuda_trial(0, process=6 * GIB)])
    after = audit([cuda_trial(0, process=6 * GIB), cuda_trial(1, process=7 * GIB)])
    assert remember_new(after, before) == ""
    assert learned_overhead(IDENTITY)[0].likely_bytes == 2 * GIB
