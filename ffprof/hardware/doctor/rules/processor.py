"""Rules about the processors: how fast they run, how many there are, and who else uses them."""

from __future__ import annotations

from ffprof.hardware.doctor.facts import Facts
from ffprof.hardware.doctor.finding import Judgement, Unknown, note, ok, unknown, warn

BUSY_CORES = 0.25  # of one processor, taken by others together
BUSY_LOAD = 0.5  # load average as a share of the processors
STEAL = 0.02
SLOW_CLOCK_SECONDS = 1e-6  # a step of 5 ms reads the clock twice
# Clock sources that are read without entering the kernel.
_FAST_SOURCES = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "xen")
# In these drivers' active mode, "powersave" is the governor that follows the load.
_SELF_GOVERNED = ("intel_pstate", "amd-pstate-epp")
_SET_PERFORMANCE = (
    "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
)


def programs(facts: Facts) -> Judgement | Unknown:
    """Other programs that keep processors busy."""
    activity, cpus = facts.activity, facts.host.cpus or 1
    if activity.busy is None:
        return unknown("/proc shows no processes")
    taken = sum(program.cores for program in activity.busy)
    names = ", ".join(f"{p.name} ({p.pid}) {p.cores:.2f}" for p in activity.busy[:3])
    load = f"load {activity.load:.2f} on {cpus} CPUs" if activity.load is not None else ""
    if taken >= BUSY_CORES:
        return warn(
            f"{taken:.2f} CPUs taken by {names}" + (f"; {load}" if load else ""),
            "they take time and caches from the trials, and not equally from all",
            "measure when they have ended",
            "top -b -n 1 -o %CPU | head -n 15",
        )
    if activity.load is not None and activity.load >= BUSY_LOAD * cpus:
        return note(
            f"{load}, but nothing busy is seen now",
            "something has just ended, or neighbours that this container does not show are at work",
            "wait a minute and look again",
            "uptime",
        )
    return ok(f"nothing busy besides ffprof{f'; {load}' if load else ''}")


def governor(facts: Facts) -> Judgement | Unknown:
    """How the kernel chooses the processor's frequency."""
    host = facts.host
    if not host.governors:
        return unknown("the kernel shows no frequency control")
    names = ", ".join(host.governors)
    seen = f"{names} ({host.frequency_driver})" if host.frequency_driver else names
    if host.frequency_cap is not None and host.frequency_cap < 0.99:
        return warn(
            f"{seen}, limited to {host.frequency_cap:.0%} of the highest frequency",
            "throughput is lower than this processor's usual one",
            "lift the limit",
            "cat /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq | "
            "sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq",
        )
    slow = "powersave" in host.governors and host.frequency_driver not in _SELF_GOVERNED
    if slow or host.energy_preference == "power":
        return warn(
            seen if slow else f"{seen}, energy preference: power",
            "the processor is kept at low frequency: throughput is lower and varies",
            "choose the governor performance while measuring",
            _SET_PERFORMANCE,
        )
    if host.governors != ("performance",):
        return note(
            seen,
            "the frequency follows the load: first steps after a pause are slower",
            "choose the governor performance while measuring",
            _SET_PERFORMANCE,
        )
    return ok(seen)


def turbo(facts: Facts) -> Judgement | Unknown:
    """Frequencies above the nominal one, as long as temperature allows."""
    if facts.host.turbo is None:
        return unknown("the kernel does not say")
    if facts.host.turbo:
        return note(
            "on",
            "speed depends on temperature; rounds are interleaved so that all rows share it",
            "for figures that repeat on another day, switch it off while measuring",
            "if [ -e /sys/devices/system/cpu/intel_pstate/no_turbo ]; then "
            "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo; "
            "else echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost; fi",
        )
    return ok("off")


def virtual_machine(facts: Facts) -> Judgement | Unknown:
    """A hypervisor below, and the time that it gives to others."""
    steal = facts.activity.steal
    if steal is not None and steal >= STEAL:
        return warn(
            f"{steal:.1%} of processor time went to other machines (steal)",
            "trials are slowed down by neighbours that cannot be seen from here",
            "measure at another time, or on a machine of your own; take more rounds",
        )
    if facts.host.hypervisor is None:
        return unknown("the kernel does not say")
    if facts.host.hypervisor:
        stolen = "" if steal is None else f"; {steal:.1%} of its time stolen just now"
        return note(
            f"a virtual machine{stolen}",
            "neighbours may change speed at any time; frequencies cannot be seen from here",
            "take 5 rounds or more, and quote ratios rather than rates",
        )
    return ok("no hypervisor")


def battery(facts: Facts) -> Judgement | Unknown:
    """Mains or battery."""
    if facts.host.on_battery is None:
        return unknown("no battery")
    if facts.host.on_battery:
        return warn(
            "running on battery",
            "laptops lower the clocks of processor and GPU on battery, more so as it empties",
            "plug it in",
        )
    return ok("on mains")


def cores(facts: Facts) -> Judgement | Unknown:
    """Processors that trials may use."""
    host = facts.host
    if host.cpus is None:
        return unknown("the kernel does not say")
    threads = host.usable_cpus
    seen = f"{host.cpus} CPUs"
    if host.physical_cpus and host.physical_cpus < host.cpus:
        seen = f"{host.cpus} CPUs on {host.physical_cpus} cores"
    if host.cpu_quota is not None and host.cpu_quota < threads - 1e-9:
        fitting = max(1, int(host.cpu_quota))
        return warn(
            f"{seen}; the control group may use {host.cpu_quota:g}, trials take {threads} threads",
            "the kernel stops all threads for the rest of each period: step times jump",
            f"give trials fewer threads (ffprof run --threads {fitting}), or lift the quota "
            "(docker run --cpus)",
        )
    if host.allowed_cpus is not None and host.allowed_cpus < host.cpus:
        return note(
            f"{seen}, of which this process may use {host.allowed_cpus}",
            f"trials take {threads} threads; a shell started elsewhere may be allowed more",
            "check taskset, the batch job or the container if that is not intended",
            "taskset -cp $$",
        )
    return ok(f"{seen}; trials take {threads} thread{'s' if threads > 1 else ''}")


def threads(facts: Facts) -> Judgement | Unknown:
    """PyTorch's own idea of the number of threads."""
    torch = facts.child.torch
    if torch is None:
        return unknown("torch does not start")
    ours = facts.host.usable_cpus
    if torch.threads != ours:
        return note(
            f"torch takes {torch.threads} by itself, ffprof sets {ours}",
            "your own training may run at another speed than a trial",
            f"to measure with torch's number: ffprof run --threads {torch.threads}",
        )
    return ok(f"torch takes {torch.threads}, as trials do")


def timer(facts: Facts) -> Judgement | Unknown:
    """The clock that steps are timed with."""
    host = facts.host
    cost, resolution = host.timer_cost_seconds, host.timer_resolution_seconds
    if cost is None or resolution is None:
        return unknown("not read")
    source = f" ({host.clocksource})" if host.clocksource else ""
    seen = f"{cost * 1e9:.0f} ns a reading, resolution {resolution * 1e9:.0f} ns{source}"
    slow_source = bool(host.clocksource) and host.clocksource not in _FAST_SOURCES
    if slow_source or cost > SLOW_CLOCK_SECONDS or resolution > SLOW_CLOCK_SECONDS:
        return note(
            seen,
            "a slow clock adds to every timed step; it shows in steps below a millisecond only",
            "use the clock source tsc if the kernel trusts it",
            "cat /sys/devices/system/clocksource/clocksource0/available_clocksource",
            "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
        )
    return ok(seen)


RULES = {
    "programs": programs,
    "governor": governor,
    "turbo": turbo,
    "virtual-machine": virtual_machine,
    "battery": battery,
    "cores": cores,
    "threads": threads,
    "timer": timer,
}
