"""Rules about the GPU that trials run on: its profile, and its state."""

from __future__ import annotations

from collections.abc import Callable

from ffprof.hardware.budget import budget_for
from ffprof.hardware.cards import AGREES, agrees, recognise
from ffprof.hardware.doctor.facts import Facts, GpuFacts, GpuProcess
from ffprof.hardware.doctor.finding import Judgement, Unknown, bad, note, ok, unknown, warn
from ffprof.hardware.doctor.rules.driver import card_of
from ffprof.instruments.nvml.sample import POWER_CAP, SLOWDOWNS
from ffprof.units import format_bytes

CLASS = "8GB"
ENOUGH = 0.9  # of the budget; a context of our own takes part of the rest
HOT_DEGREES = 80  # where the GPU does not tell where it slows down
NEAR_SLOWDOWN_DEGREES = 10
# The power cap counts here: an idle GPU should not reach it.
_SLOWED = {POWER_CAP: "power cap", **SLOWDOWNS}
_EXCLUSIVE_THREAD, _PROHIBITED, _EXCLUSIVE_PROCESS = 1, 2, 3

CardRule = Callable[[Facts, GpuFacts], Judgement | Unknown]


def gpu_memory(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """Free memory against a card of the class that audits are about."""
    torch = facts.child.torch
    total, free = card.total_bytes, None
    if torch and torch.total_bytes is not None:
        total, free = torch.total_bytes, torch.free_bytes
    elif total is not None and card.used_bytes is not None:
        free = total - card.used_bytes
    if total is None or free is None:
        return unknown(card.unread.get("memory", "not told"))
    seen = f"{format_bytes(free)} of {format_bytes(total)} free"
    wanted = budget_for(CLASS).limit_bytes or 0
    if free < ENOUGH * min(total, wanted):
        return warn(
            seen,
            "what other processes hold is taken from the budget: trials run out of memory too "
            "early",
            "end what is on the GPU (see gpu-processes)",
            "nvidia-smi",
        )
    if total < ENOUGH * wanted:
        return note(
            f"{seen}: less than a card sold as {CLASS}",
            "it is measured as it is; nothing can be said about the larger card",
        )
    return ok(seen)


def gpu_processes(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """Other processes on the GPU."""
    if card.processes is None:
        return unknown(card.unread.get("processes", "not told"))
    if not card.processes:
        return ok("none")
    seen = ", ".join(_process(p) for p in card.processes[:4])
    if len(card.processes) > 4:
        seen += f" and {len(card.processes) - 4} more"
    why = "they take memory from the budget and time from the trials"
    if all(process.graphics for process in card.processes):
        return note(f"the desktop: {seen}", why, "log out of it, or put it on another GPU")
    return warn(seen, why, "wait until they have ended, or choose another GPU", "nvidia-smi")


def gpu_process_memory(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """The driver reports how much memory a process holds."""
    if card.processes is None:
        return note(
            f"not reported by the driver: {card.unread.get('processes', 'no reason given')}",
            "the NVML peak of a trial's process is left empty; the allocator's peaks are not",
        )
    if any(process.used_bytes is None for process in card.processes):
        return note(
            "processes are listed without their memory (WSL, Windows or a container)",
            "the NVML peak of a trial's process is left empty; the allocator's peaks are not",
        )
    return ok("reported by the driver")


def display(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """A screen hangs on the GPU."""
    if card.display is None:
        return unknown(card.unread.get("display", "not told"))
    if card.display:
        return note(
            "a display is driven by this GPU",
            "drawing takes memory from the budget and time from the trials",
            "measure without a desktop, use the processor's own graphics, or give --display",
            "sudo systemctl isolate multi-user.target  # ends the desktop and all in it",
        )
    return ok("none on this GPU")


def gpu_clocks(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """The clock that was set against the GPU's default."""
    now = f"{card.clock} MHz now" if card.clock is not None else "not told now"
    most = f", {card.max_clock} MHz at most" if card.max_clock is not None else ""
    if card.set_clock is None or card.default_clock is None:
        if card.clock is None:
            return unknown(card.unread.get("clock", "not told"))
        return ok(f"{now}{most}; an idle GPU clocks down")
    if card.set_clock != card.default_clock:
        lower = card.set_clock < card.default_clock
        return warn(
            f"set to {card.set_clock} MHz, the default is {card.default_clock} MHz",
            f"throughput is {'lower' if lower else 'higher'} than this card's usual one",
            "reset the applications clocks",
            f"sudo nvidia-smi -i {card.uuid} -rac",
        )
    return ok(f"default {card.default_clock} MHz, {now}{most}")


def gpu_throttling(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """Reasons for which the GPU is slowed down now."""
    if card.throttle is None:
        return unknown(card.unread.get("throttle", "not told"))
    reasons = [text for bit, text in _SLOWED.items() if card.throttle & bit]
    if reasons:
        return warn(
            f"slowed down: {', '.join(reasons)}",
            "throughput falls while it lasts, and not equally for every trial",
            "let it cool down, check fans, dust, power supply and power limit",
            f"nvidia-smi -i {card.uuid} -q -d PERFORMANCE,TEMPERATURE,POWER",
        )
    return ok("not slowed down")


def gpu_temperature(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """Distance from the temperature at which the GPU slows down."""
    if card.temperature is None:
        return unknown(card.unread.get("temperature", "not told"))
    limit = card.slowdown_temperature
    hot = limit - NEAR_SLOWDOWN_DEGREES if limit else HOT_DEGREES
    seen = f"{card.temperature} °C" + (f", slows down at {limit} °C" if limit else "")
    if card.temperature >= hot:
        return warn(
            seen,
            "it will slow down during the trials",
            "let it cool down; improve the airflow",
            f"nvidia-smi -i {card.uuid} -q -d TEMPERATURE",
        )
    return ok(seen)


def gpu_power(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """The power limit against its default."""
    limit, usual = card.power_limit, card.default_power_limit
    if limit is None or usual is None:
        field = "power_limit" if limit is None else "default_power_limit"
        return unknown(card.unread.get(field, "not told"))
    if limit < 0.99 * usual:
        return warn(
            f"limited to {limit:.0f} W, the default is {usual:.0f} W",
            "the GPU clocks lower under load than this card usually does",
            "restore the default, or quote the limit with your figures",
            f"sudo nvidia-smi -i {card.uuid} -pl {usual:.0f}",
        )
    return ok(f"{limit:.0f} W, default {usual:.0f} W")


def persistence(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """The driver stays loaded between trials."""
    if card.persistence is None:
        return unknown(card.unread.get("persistence", "not told"))
    if card.persistence:
        return ok("on")
    return note(
        "off",
        "the driver resets the GPU between trials: each starts slower, and set clocks are lost",
        "switch it on",
        f"sudo nvidia-smi -i {card.uuid} -pm 1",
    )


def ecc(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """Error correction of the GPU's memory."""
    if card.ecc:
        return note(
            "on",
            "on cards with GDDR memory it takes about a sixteenth of it, and bandwidth",
            "leave it on; quote it when you compare with a card that has none",
        )
    return ok("off" if card.ecc is not None else "this GPU has none")


def compute_mode(facts: Facts, card: GpuFacts) -> Judgement | Unknown:
    """Who may use the GPU."""
    mode = card.compute_mode
    if mode is None:
        return unknown(card.unread.get("compute_mode", "not told"))
    if mode == _PROHIBITED:
        judge = bad if facts.asked == "cuda" else warn
        return judge(
            "prohibited",
            "no process may compute on this GPU",
            "set the default mode",
            f"sudo nvidia-smi -i {card.uuid} -c DEFAULT",
        )
    if mode in (_EXCLUSIVE_THREAD, _EXCLUSIVE_PROCESS):
        return note(
            "exclusive: one process at a time",
            "trials run one at a time, so they get it, unless another program has it: then they "
            "crash",
            "nothing, or set the default mode",
            f"sudo nvidia-smi -i {card.uuid} -c DEFAULT",
        )
    return ok("default")


def _process(process: GpuProcess) -> str:
    name = process.name.split("/")[-1][:40]
    size = "" if process.used_bytes is None else f" {format_bytes(process.used_bytes)}"
    return f"{name} ({process.pid}){size}"


def _on_card(rule: CardRule) -> Callable[[Facts], Judgement | Unknown]:
    def judge(facts: Facts) -> Judgement | Unknown:
        card = card_of(facts)
        return rule(facts, card) if isinstance(card, GpuFacts) else card

    return judge


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


RULES = {
    "card": card,
    "gpu-memory": _on_card(gpu_memory),
    "gpu-processes": _on_card(gpu_processes),
    "gpu-process-memory": _on_card(gpu_process_memory),
    "display": _on_card(display),
    "gpu-clocks": _on_card(gpu_clocks),
    "gpu-throttling": _on_card(gpu_throttling),
    "gpu-temperature": _on_card(gpu_temperature),
    "gpu-power": _on_card(gpu_power),
    "persistence": _on_card(persistence),
    "ecc": _on_card(ecc),
    "compute-mode": _on_card(compute_mode),
}
