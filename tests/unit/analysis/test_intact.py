"""Files whose figures are used without being printed first."""

import json

import pytest
import records

from ffprof.analysis.contradictions import require_as_written
from ffprof.errors import RecordError
from ffprof.experiments.paper.plan import find_sources
from ffprof.records.audit import Record
from ffprof.records.store import read_any, save


@pytest.fixture
def edited(tmp_path):
    path = tmp_path / "audit-a.json"
    save(records.record([records.trial("bp", 0)]), path)
    require_as_written(read_any(path))
    assert [source.name for source in find_sources([tmp_path])[0]] == [path.name]
    document = json.loads(path.read_text())
    document["trials"][0]["memory"]["live_tensor_peak_bytes"] //= 4
    path.write_text(json.dumps(document))
    return path


def test_what_was_changed_is_not_used(edited):
    with pytest.raises(RecordError, match="was changed after it was written, so it is not used"):
        require_as_written(read_any(edited))
    found, notes = find_sources([edited.parent])
    assert not found
    told = f"{edited} was changed after it was written, so it is not used"
    assert notes == [f"passed over: {told}"]


@pytest.mark.parametrize("evidence", ["measured", "measured (cpu)", "estimated"])
def test_a_null_device_has_emulated_figures_only(evidence):
    made = records.record([records.trial("bp", 0, evidence=evidence)], evidence=evidence)
    machine = made.machine.model_copy(update={"null_device": True})
    with pytest.raises(ValueError, match="of a null device"):
        Record.model_validate({**made.model_dump(), "machine": machine})
