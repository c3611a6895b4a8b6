"""A process that looks at a GPU as an audit's parent does, and prints what it learned as JSON.

Arguments: uuid, the child's pid, how many looks. Look 0 of the stub's table is for the facts,
look 1 the baseline, the others are the child's; they are 0.1 s apart by the fake clock, the
baseline at 0.0. The timed phase is all of the child's looks.
"""

import json
import sys
from dataclasses import asdict

from ffprof.instruments.nvml import NvmlError, Watch, disturbances, open_gpu


class Clock:
    """Goes on by a tenth of a second whenever it is asked."""

    asked = -1

    def __call__(self) -> float:
        self.asked += 1
        return self.asked / 10


def main(uuid: str, pid: int, looks: int) -> dict:
    """Everything that can be said."""
    try:
        gpu = open_gpu(uuid, Clock())
        facts = gpu.facts()
        baseline = gpu.sample()
    except NvmlError as error:
        return {"error": type(error).__name__, "reason": str(error)}
    watch, samples = Watch(pid, baseline, facts=facts), []
    for _ in range(looks):
        try:
            samples.append(gpu.sample())
        except NvmlError as error:
            watch.failed(error)
        else:
            watch.take(samples[-1])
    gpu.close()
    gpu.close()
    conditions = watch.conditions(0.05, 1e9)
    energy, remark = watch.energy(0.1, looks / 10, 10, 20.0)
    return {
        "facts": asdict(facts),
        "samples": [asdict(one) for one in samples],
        "conditions": conditions.model_dump(),
        "disturbances": disturbances(conditions),
        "device": [watch.device_peak_bytes, watch.device_reason()],
        "process": [watch.process_peak_bytes, watch.process_source, watch.process_reason()],
        "energy": energy and energy.model_dump(),
        "remark": remark,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
