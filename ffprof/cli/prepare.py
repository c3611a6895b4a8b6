"""From options to requests: probe the machine, choose what to measure and what to estimate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

from ffprof.audit.request import Request
from ffprof.cli.choose import choose_workloads
from ffprof.cli.known_noise import with_known_noise
from ffprof.cli.options import Options, asked_budget
from ffprof.cli.own_files import Chosen, choose_with_files, read_sources
from ffprof.cli.request import Kind, Start, asked_recipe, request_for
from ffprof.cli.starting import say, started
from ffprof.errors import DeviceError
from ffprof.estimator.target import check_room, with_display
from ffprof.hardware.machine import Probe
from ffprof.harness.data.discovery import complete, look_at
from ffprof.harness.data.source import parse_data
from ffprof.records.files import prepare_folder, writing


@contextmanager
def prepare(options: Options) -> Iterator[tuple[Request, ...]]:
    """The requests that are ready to run, in order, as long as this context lasts.

    Without a GPU, and unless told otherwise, there are two: the recipe that was asked for is
    estimated for the card, and the preset for a processor is measured here.

    Raises:
        FfprofError: anything that makes the audit impossible, before anything is written.
    """
    with begun(options) as (start, kinds):
        requests = tuple(
            with_known_noise(request_for(kind, start, paired=len(kinds) > 1)) for kind in kinds
        )
        if not options.dry_run:
            prepare_folder(options.out)
        with ExitStack() as locks:
            for request in () if options.dry_run else requests:
                locks.enter_context(writing(request.path))
            yield requests


@contextmanager
def begun(options: Options) -> Iterator[tuple[Start, tuple[Kind, ...]]]:
    """Everything that was asked for, looked up, and what kinds of evidence it leads to.

    Raises:
        FfprofError: something cannot be meant, or is not there.
    """
    words = options.workloads
    sources = read_sources(options.workload_files)
    # What is in a file is known only once it was loaded, and that needs a process.
    named = () if sources else choose_workloads("core" if words is None else words)
    data_words = None if options.data is None else parse_data(options.data)
    asked = asked_budget(options.gpu_mem, options.card, options.card_files)
    if options.device != "cpu":
        check_room(with_display(asked.budget) if options.display else asked.budget, asked.card)
    # What is wrong with the recipe is said before a process is started for the probe.
    seen = look_at(data_words, options.download)
    first = asked_recipe(options, named, "cpu" if options.device == "cpu" else "cuda", seen)
    with started(first, dry_run=options.dry_run) as (server, found):
        chosen = Chosen(workloads=named, files=())
        if sources:
            chosen = choose_with_files(words, sources, server, options.time_limit)
        kinds = _kinds(options, found)
        data = None
        if seen:
            look_only = options.dry_run or kinds[0] == "estimate"
            data = complete(seen, server, options.download, say, look_only=look_only)
        start = Start(
            options=options, chosen=chosen, data=data, asked=asked, found=found, server=server
        )
        yield start, kinds


def _kinds(options: Options, found: Probe) -> tuple[Kind, ...]:
    asked = options.device
    if asked == "cuda" and not found.cuda:
        raise DeviceError(
            f"--device cuda: {found.reason}",
            f"use --device cpu{' or estimate' if options.estimates else ''}, or check the NVIDIA "
            "driver",
        )
    if asked != "auto":
        return (cast(Kind, asked),)
    if found.cuda:
        return ("cuda",)
    return ("estimate", "cpu") if options.estimates else ("cpu",)
