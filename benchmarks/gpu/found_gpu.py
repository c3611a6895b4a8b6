"""What ffprof estimates for the GPU that it runs on, not for a card named in a profile.

Libraries' workspaces depend on the compute capability, so an estimate that is compared with a run
must be made for the GPU of that run.
"""

from ffprof.estimator.overhead import ASSUMED_CUDA, process_overhead
from ffprof.estimator.target import Estimated, Target
from ffprof.estimator.worker import estimate_child
from ffprof.experiments.terms import cuda_of
from ffprof.harness.process.child import run_child


def target_of(found):
    """The whole GPU of a ``Probe``, with its own compute capability."""
    return Target(
        total_bytes=found.gpu_total_bytes,
        overhead=process_overhead(found.capability, cuda=cuda_of(found) or ASSUMED_CUDA),
        capability=found.capability,
    )


def estimate(server, workload, recipe, target, limit_seconds):
    """The ``PeakRow`` of a workload or None, what kept it from that, and the child's ``Ending``."""
    ending = run_child(server, estimate_child, ([(workload, recipe)], target), limit_seconds)
    found = ending.answer(Estimated)
    if isinstance(found, Estimated):
        return found.row, found.row.message, ending
    return None, found.message, ending
