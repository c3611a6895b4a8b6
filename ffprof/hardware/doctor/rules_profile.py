"""The rule about the GPU's profile."""

from __future__ import annotations

from ffprof.hardware.doctor.facts import Facts
from ffprof.hardware.doctor.finding import Judgement, Unknown, note, ok
from ffprof.hardware.doctor.rules_gpu import card_of
from ffprof.hardware.recognise import AGREES, agrees, recognise
from ffprof.units import format_bytes


def card(facts: Facts) -> Judgement | Unknown:
    """Which profile this GPU is, and whether CUDA offers what the profile says."""
    gpu = card_of(facts)
    if isinstance(gpu, Unknown):
        return gpu
    torch = facts.child.torch
    offered = torch.total_bytes if torch and torch.cuda else None
    found = recognise(gpu.name, gpu.total_bytes, offered)
    if found is None:
        total = "" if gpu.total_bytes is None else f" of {format_bytes(gpu.total_bytes)}"
        return note(
            f"{gpu.name}{total}: no profile of it",
            "measured as any other; nothing can be estimated for it by its name",
            "write one with the figures of your card, and name it with --card-file",
            "ffprof cards --template > my_card.toml",
        )
    if offered is None:
        return ok(f"{found.name}; what CUDA offers on it is not known here")
    said, seen = format_bytes(found.cuda_total_bytes), format_bytes(offered)
    if not agrees(found, offered):
        return note(
            f"{found.name}: CUDA offers {seen}, its profile says {said}",
            f"more than {AGREES:.0%} apart: what fits the budget of this name may not fit here, or "
            "the other way round; measured audits take what CUDA offers",
            "for estimates, name a profile of your own with what is offered here: --card-file",
            "ffprof cards --template > my_card.toml",
        )
    return ok(f"{found.name}; CUDA offers {seen}, its profile says {said}")


RULES = {"card": card}
