"""Facts of machines for the doctor: a healthy one with a GPU, and changes to it."""

from dataclasses import replace

from ffprof.hardware.doctor.facts import (
    ActivityFacts,
    ChildFacts,
    Facts,
    GpuFacts,
    HostFacts,
    NullDeviceFacts,
    NvmlFacts,
    OutputFacts,
    SoftwareFacts,
    TorchFacts,
)
from ffprof.units import GIB

UUID = "GPU-11111111-2222-3333-4444-555555555555"
HEALTHY = Facts(
    software=SoftwareFacts(
        python=(3, 12, 1),
        ffprof="0.1.0",
        installed={"torch": "2.14.1+cu130", "torchvision": "0.29.1", "nvidia-ml-py": "13.600"},
        required={"torch": "2.11", "torchvision": "0.26", "nvidia-ml-py": "12.560"},
        torchvision_wants="==2.14.1",
    ),
    child=ChildFacts(
        torch=TorchFacts(
            version="2.14.1+cu130",
            cuda_build="13.0",
            threads=4,
            cuda=True,
            gpu="NVIDIA GeForce RTX 4060",
            gpu_uuid=UUID,
            free_bytes=int(7.3 * GIB),
            total_bytes=int(7.63 * GIB),
        ),
        server_seconds=3.7,
        trial_seconds=0.04,
    ),
    null_device=NullDeviceFacts(folder="/cache/nulldevice", step_seconds=0.3),
    nvml=NvmlFacts(
        driver="580.65.06",
        driver_cuda=(13, 0),
        gpus=(
            GpuFacts(
                index=0,
                uuid=UUID,
                name="NVIDIA GeForce RTX 4060",
                total_bytes=8 * GIB,
                used_bytes=GIB // 8,
                processes=(),
                persistence=True,
                mig=False,
                ecc=False,
                compute_mode=0,
                display=False,
                clock=210,
                max_clock=3105,
                set_clock=1830,
                default_clock=1830,
                throttle=1,
                temperature=41,
                slowdown_temperature=93,
                power_limit=115.0,
                default_power_limit=115.0,
            ),
        ),
    ),
    host=HostFacts(
        nvidia_module=True,
        nvidia_devices=("nvidia-uvm", "nvidia0", "nvidiactl"),
        nvidia_on_pci=1,
        ram_bytes=32 * GIB,
        ram_available_bytes=28 * GIB,
        swap_bytes=8 * GIB,
        swap_used_bytes=0,
        shm_bytes=16 * GIB,
        shm_free_bytes=16 * GIB,
        cpus=8,
        allowed_cpus=8,
        physical_cpus=4,
        usable_cpus=4,
        governors=("performance",),
        frequency_driver="intel_pstate",
        energy_preference="performance",
        frequency_cap=1.0,
        turbo=False,
        hypervisor=False,
        on_battery=False,
        clocksource="tsc",
        timer_resolution_seconds=1e-9,
        timer_cost_seconds=5e-8,
    ),
    activity=ActivityFacts(busy=(), load=0.1, steal=0.0),
    output=OutputFacts(folder="audits", free_bytes=100 * GIB),
    environment={"PATH": "/usr/bin"},
    overridden=frozenset({"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}),
)
NO_GPU = {
    "nvml": {"problem": "NVML Shared Library Not Found", "driver": None, "gpus": ()},
    "host": {"nvidia_module": False, "nvidia_devices": (), "nvidia_on_pci": 0},
    "torch": {"cuda": False, "reason": "Found no NVIDIA driver on your system."},
}


def machine(**changes):
    """HEALTHY with fields replaced; ``gpu``, ``torch`` and the parts by name, the rest as is."""
    facts = HEALTHY
    for part, fields in changes.items():
        if part == "gpu":
            gpu = replace(facts.nvml.gpus[0], **fields)
            facts = replace(facts, nvml=replace(facts.nvml, gpus=(gpu,)))
        elif part == "torch":
            torch = fields and replace(HEALTHY.child.torch, **fields)
            facts = replace(facts, child=replace(facts.child, torch=torch))
        elif isinstance(fields, dict) and part != "environment":
            facts = replace(facts, **{part: replace(getattr(facts, part), **fields)})
        else:
            facts = replace(facts, **{part: fields})
    return facts
