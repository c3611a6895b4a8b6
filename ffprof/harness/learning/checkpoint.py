"""The state of a run between two epochs, in a file: what training goes on from after a kill.

Written whole or not at all. It holds everything that the next step depends on, so that a resumed
run ends with the same digits on a CPU.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ffprof.errors import DataError, StoreError
from ffprof.harness.optimizer import Update
from ffprof.records.files import replacement
from ffprof.records.learning import Epoch
from ffprof.workload import Trainable

Schedulers = Sequence[torch.optim.lr_scheduler.LRScheduler]


def save_checkpoint(
    path: Path,
    digest: str,
    module: Trainable,
    update: Update,
    schedulers: Schedulers,
    epochs: Sequence[Epoch],
) -> None:
    """Write it.

    Raises:
        StoreError: it cannot be written.
    """
    state = {
        "digest": digest,
        "epochs": [epoch.model_dump_json() for epoch in epochs],
        "module": module.state_dict(),
        "update": update.state(),
        "schedulers": [one.state_dict() for one in schedulers],
        "random": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }
    whole = io.BytesIO()  # torch complains of a full disk in words of its own
    torch.save(state, whole)
    try:
        with replacement(path) as file:
            file.write(whole.getbuffer())
    except OSError as error:
        raise StoreError(
            f"the checkpoint {path} cannot be written: {error.strerror or error}",
            "make room, and go on with --resume",
        ) from error


def load_checkpoint(
    path: Path, digest: str, module: Trainable, update: Update, schedulers: Schedulers
) -> tuple[Epoch, ...]:
    """Put a run into the state of a file, and return the epochs that led there; none without one.

    Raises:
        DataError: it cannot be read, or is of another run.
    """
    try:
        # Tensors and plain values only: a file is no program.
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state["digest"] != digest:
            raise DataError(f"{path} is a checkpoint of another recipe", "remove it")
        module.load_state_dict(state["module"])
        update.load_state(state["update"])
        for scheduler, kept in zip(schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(kept)
        torch.set_rng_state(state["random"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"])
        return tuple(Epoch.model_validate_json(text) for text in state["epochs"])
    except FileNotFoundError:
        return ()
    except (
        OSError,
        EOFError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise DataError(
            f"the checkpoint {path} is damaged, or of another version ({type(error).__name__})",
            "remove it: its run then starts again",
        ) from error
