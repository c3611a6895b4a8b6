"""Rules about room: the host's memory, swap, shared memory, the disk, and limits on them."""

from __future__ import annotations

from ffprof.hardware.doctor.facts import Facts
from ffprof.hardware.doctor.finding import Judgement, Unknown, bad, note, ok, unknown, warn
from ffprof.units import GIB, MIB, format_bytes

# A trial imports PyTorch (about 0.5 GiB) and holds a model, batches and the checks' copies.
TRIAL_BYTES = 2 * GIB
SWAP_BYTES = 64 * MIB  # less of it is what the kernel puts away at leisure
SHM_BYTES = 256 * MIB  # a worker's queue of a few batches of images; containers begin with 64 MiB
ROOMY_SHM_BYTES = GIB
RESULT_BYTES = 100 * MIB  # a long audit is a few MiB


def ram(facts: Facts) -> Judgement | Unknown:
    """Memory that a trial can have."""
    total, free = facts.host.ram_bytes, facts.host.ram_available_bytes
    if total is None or free is None:
        return unknown("/proc/meminfo does not say")
    seen = f"{format_bytes(free)} of {format_bytes(total)} available"
    if free < TRIAL_BYTES:
        return warn(
            seen,
            "trials are killed by the kernel, or swap and are timed with it",
            "end what holds memory",
            "ps -eo rss,pid,comm --sort=-rss | head",
        )
    return ok(seen)


def swap(facts: Facts) -> Judgement | Unknown:
    """Memory that has been put on the disk."""
    total, used = facts.host.swap_bytes, facts.host.swap_used_bytes
    if total is None or used is None:
        return unknown("/proc/meminfo does not say")
    if used >= SWAP_BYTES:
        return note(
            f"{format_bytes(used)} in use",
            "what a step needs may lie on the disk: that step takes longer",
            "bring it back into memory before you measure",
            "sudo swapoff -a && sudo swapon -a",
        )
    return ok("none" if total == 0 else f"{format_bytes(used)} of {format_bytes(total)} in use")


def shared_memory(facts: Facts) -> Judgement | Unknown:
    """Room for what data-loading workers hand over."""
    total, free = facts.host.shm_bytes, facts.host.shm_free_bytes
    if total is None or free is None:
        return unknown("there is no /dev/shm")
    seen = f"{format_bytes(free)} of {format_bytes(total)} free in /dev/shm"
    why = "data-loading workers hand batches over through it, and die with a bus error when full"
    do = "enlarge it; start a container with --shm-size=2g"
    command = "sudo mount -o remount,size=2G /dev/shm"
    if free < SHM_BYTES:
        return warn(seen, why, do, command)
    if free < ROOMY_SHM_BYTES:
        return note(seen, why, do, command)
    return ok(seen)


def memory_limit(facts: Facts) -> Judgement | Unknown:
    """The memory limit of the control group (container, service, batch job)."""
    limit, used = facts.host.memory_limit_bytes, facts.host.memory_used_bytes
    total = facts.host.ram_bytes
    if limit is None or (total is not None and limit >= total):
        return ok("none")
    seen = f"{format_bytes(limit)}, of which {format_bytes(used)} in use"
    if limit - (used or 0) < TRIAL_BYTES:
        # Cached files count as used and are freed, so this may be too careful.
        return warn(
            seen,
            "the kernel kills a trial that goes beyond it",
            "raise the limit (docker run --memory, systemd MemoryMax, the batch job's request)",
        )
    return note(seen, "trials are killed there, not where the machine's memory ends")


def disk(facts: Facts) -> Judgement | Unknown:
    """Room for results."""
    output = facts.output
    if output.problem:
        return bad(
            output.problem,
            "the result file is written after every trial",
            "choose another folder with --out",
        )
    if output.free_bytes is None:
        return unknown("the file system does not say")
    seen = f"{format_bytes(output.free_bytes)} free for {output.folder}/"
    if output.free_bytes < RESULT_BYTES:
        return warn(
            seen,
            "the result file is written after every trial; a full disk ends the audit",
            "make room, or choose another folder with --out",
            "df -h .",
        )
    return ok(seen)


RULES = {
    "ram": ram,
    "swap": swap,
    "shared-memory": shared_memory,
    "memory-limit": memory_limit,
    "disk": disk,
}
