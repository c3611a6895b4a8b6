"""Audits by PyTorch's own CUDA code on a null device of the card (docs/null_device.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ffprof.errors import NullDeviceError, UsageError
from ffprof.experiments.options import Options
from ffprof.experiments.script.request import ScriptRequest, target_of
from ffprof.hardware.cards import own_cards, recognise
from ffprof.nulldevice import NullDevice, is_in_use
from ffprof.nulldevice.relaunch import continue_on
from ffprof.records.audit import Record


def on_null_device(options: Options, written: Mapping[str, Any]) -> Options:
    """The options of an audit on the null device, once this process is on it.

    Where it is not yet, this does not return: the command is begun again there.

    Args:
        options: what was requested.
        written: the options on the command line, by the name of their parameter.

    Raises:
        UsageError: the engine was named for something else, or with what it cannot have.
        NullDeviceError: the device cannot be built.
    """
    if options.device not in ("auto", "estimate"):
        raise UsageError(
            f"--engine null is for --device estimate, and --device is {options.device}",
            "leave one of them out",
        )
    if options.display:
        raise UsageError(
            "--display and --engine null: nothing but the trial uses a null device",
            "leave --display out, or use --engine trace",
        )
    if not is_in_use():
        asked = ScriptRequest(
            command=("ffprof",),
            gpu_mem=options.gpu_mem,
            card=options.card,
            card_files=options.card_files,
        )
        continue_on(target_of(asked).device)
    # Peaks repeat, and there is no speed: a round says all.
    rounds = options.rounds if "rounds" in written else 1
    return replace(options, device="cuda", rounds=rounds)


def on_device_of(record: Record, path: Path, card_files: Sequence[Path] = ()) -> None:
    """Begin this command again on the null device that an audit was made on.

    Returns where that was none, or where this process is on one.

    Args:
        record: the audit, to be resumed or to be made again.
        path: its file.
        card_files: profiles of cards of the user's own.

    Raises:
        NullDeviceError: the device cannot be made again.
    """
    if record.machine.null_device and not is_in_use():
        continue_on(_device_of(record, path, card_files))


def all_on_device_of(
    records: Sequence[tuple[Path, Record]], card_files: Sequence[Path] = ()
) -> None:
    """``on_device_of`` for a result, or for several that are to be made again together.

    Raises:
        NullDeviceError: the device cannot be made again, or others are not made on it.
    """
    null = [path for path, record in records if record.machine.null_device]
    if null and len(records) > 1 and not is_in_use():
        raise NullDeviceError(
            f"{null[0]} was made on a null device, and is not made again together with others",
            f"check it by itself: --baseline {null[0]}",
        )
    for path, record in records:
        on_device_of(record, path, card_files)


def _device_of(record: Record, path: Path, card_files: Sequence[Path]) -> NullDevice:
    machine, requested = record.machine, record.budget.requested
    name, total = (machine.gpu or "").removeprefix("NVIDIA "), machine.gpu_total_bytes
    if record.budget.card is None and name == f"a GPU of {requested}":
        return target_of(ScriptRequest(command=("ffprof",), gpu_mem=requested)).device
    own = own_cards(card_files)
    card = recognise(name, None, total, own) or recognise(name, None, None, own)
    if card is None or total is None:
        raise NullDeviceError(
            f"{path} was made on a null device, {name}, which is no card that is known here",
            "give its profile with --card-file, or make a new result",
        )
    return NullDevice.of_card(card, total_bytes=total, nvml_bytes=max(total, card.nvml_total_bytes))
