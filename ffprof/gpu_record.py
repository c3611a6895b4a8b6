"""What the record says of the GPU during one trial: debit, energy, and how it was.

Part of the record of a trial (``ffprof.trial_record``), whose rules about units and nulls it keeps.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ffprof.record_part import Bytes, Count, Name, Part, Seconds, Size, Text

DebitSource = Literal["NVML, this process", "NVML, the only process", "free memory of the device"]


class Debit(Part):
    """What a process takes of the GPU beside PyTorch's allocator, and the limit set for it.

    ``context_bytes`` as soon as the context exists, ``step_bytes`` after the first whole optimizer
    step, ``end_bytes`` after the last one. ``counted_bytes`` is what was left out of the budget:
    the larger of what was known of this workload before and what the card's own process is
    estimated to take; ``slack_bytes`` more were kept back. ``exceeded_bytes`` is how far the
    process went beyond the card's memory, by these figures or by NVML's.
    """

    context_bytes: Bytes
    step_bytes: Bytes | None = None
    end_bytes: Bytes | None = None
    source: DebitSource
    counted_bytes: Bytes | None = None
    slack_bytes: Bytes = 0
    limit_bytes: Bytes | None = None  # of the allocator; None: it was not limited
    exceeded_bytes: Bytes = 0


class GpuConditions(Part):
    """What NVML saw of the GPU while a trial ran; of clocks and throttling, in the timed phase.

    ``slowdowns`` are reasons that slow a GPU down, with ``slowed_share`` the part of the samples
    that had one; ``power_capped_share`` had the power limit's, which is usual under full load.
    ``clock_mhz`` is the median of the SM clock, ``default_clock_mhz`` what the card runs at by
    default. ``foreign`` names the processes of others that compute, ``foreign_graphics`` those
    that only draw. ``process_source`` says how the process figure was told apart. What the driver
    does not tell is null, its reason in ``unread``.
    """

    samples: Count
    timed_samples: Count = 0
    slowdowns: tuple[Text, ...] = ()
    slowed_share: float | None = None
    power_capped_share: float | None = None
    clock_mhz: float | None = None
    clock_low_mhz: float | None = None
    default_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_celsius: float | None = None  # the highest
    power_watts: float | None = None  # mean of the timed phase
    foreign: tuple[Text, ...] = ()
    foreign_graphics: tuple[Text, ...] = ()
    foreign_peak_bytes: Bytes | None = None
    process_source: DebitSource | None = None
    lost: Text = ""  # how the GPU was lost, if it was
    unread: dict[Name, Text] = Field(default_factory=dict)


class Energy(Part):
    """Energy of the GPU over the timed phase; what it would take idle is in it.

    ``joules`` is the counter's where there is one, else power integrated over time. ``gap`` is
    how far the integral is from the counter, as a share of it. ``idle_watts`` was taken before the
    audit, with nothing on the GPU. The host's energy is not in it.
    """

    joules: Annotated[float, Field(ge=0)]
    images: Size
    seconds: Seconds
    source: Literal["counter", "power"]
    counter_joules: float | None = None
    integrated_joules: float | None = None
    gap: float | None = None
    idle_watts: float | None = None

    @property
    def joules_per_image(self) -> float:
        """Over all timed steps."""
        return self.joules / self.images
