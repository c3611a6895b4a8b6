"""The trials of a record as a pandas table, for notebooks and further analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffprof.records.audit import Record, Trial

if TYPE_CHECKING:
    import pandas as pd


def trials_frame(record: Record) -> pd.DataFrame:
    """One row a trial; columns keep the record's names, units included.

    Nested fields are joined with a dot (``memory.live_tensor_peak_bytes``). The evidence label is
    a column of its own, so that tables of different evidence can be concatenated honestly.
    """
    import pandas as pd

    return pd.json_normalize([_flat(trial) for trial in record.trials])


def _flat(trial: Trial) -> dict[str, Any]:
    return trial.model_dump(mode="json", exclude={"memory": {"unread"}})
