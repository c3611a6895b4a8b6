"""What spoils the figures of a trial on a GPU. The only place that says where the line is."""

from __future__ import annotations

from ffprof.records.trial import GpuConditions

SLOWED_SHARE = 0.1  # of the timed samples
CLOCK_SHARE = 0.75  # of the default clock
CAPPED_SHARE = 0.5  # of the timed samples: then the power limit explains a low clock
_NAMED = 4  # foreign processes by name; the others are counted


def disturbances(conditions: GpuConditions | None) -> tuple[str, ...]:
    """One line for each thing that spoiled the trial; nothing if nothing did.

    A power cap alone is usual under full load, and a process that only draws is noted in the
    record: neither is one. What the driver does not tell cannot be one.
    """
    if conditions is None:
        return ()
    found = []
    if conditions.lost:
        found.append(f"the GPU was lost ({conditions.lost})")
    share = conditions.slowed_share
    if share is not None and share > SLOWED_SHARE:
        reasons = ", ".join(conditions.slowdowns)
        found.append(f"slowed down in {100 * share:.0f} % of the timed samples: {reasons}")
    clock, default = conditions.clock_mhz, conditions.default_clock_mhz
    # Under its power limit a card runs as slowly as it must: that is no disturbance.
    capped = (conditions.power_capped_share or 0) > CAPPED_SHARE
    if clock is not None and default and clock < CLOCK_SHARE * default and not capped:
        found.append(
            f"clock at {clock:.0f} MHz, less than {100 * CLOCK_SHARE:.0f} % of its {default:.0f}"
        )
    if conditions.foreign:
        named = ", ".join(conditions.foreign[:_NAMED])
        more = len(conditions.foreign) - _NAMED
        rest = f" and {more} more" if more > 0 else ""
        found.append(f"other processes computed on the GPU: {named}{rest}")
    return tuple(found)
