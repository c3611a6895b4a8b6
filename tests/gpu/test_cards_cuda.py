"""Which card the GPU of this machine is; skipped without one."""

import json
import time

import pytest
import torch
from command import ffprof

from ffprof.hardware.cards import agrees, recognise
from ffprof.hardware.doctor.readers.nvml import read_nvml

pytestmark = pytest.mark.gpu


def test_cuda_and_nvml_tell_the_same_card_and_its_total_is_about_the_profiles():
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    gpu = next((one for one in read_nvml().gpus if one.uuid == uuid), None)
    if gpu is None:
        pytest.skip("CUDA's GPU is not among NVML's")
    offered = torch.cuda.mem_get_info(0)[1]
    assert offered <= gpu.total_bytes  # what every profile is held to
    card = recognise(gpu.name, gpu.total_bytes, offered)
    assert recognise(torch.cuda.get_device_properties(0).name, None, offered) == card
    done = ffprof("doctor", "--device", "cuda", "--format", "json")
    found = {f["topic"]: f for f in json.loads(done.stdout)["findings"]}["card"]
    if card is None:
        assert (found["state"], "no profile" in found["seen"]) == ("note", True)
    else:
        assert found["state"] == ("ok" if agrees(card, offered) else "note")
        assert card.name in found["seen"]


def test_the_list_is_quick_on_a_machine_with_a_gpu():
    started = time.monotonic()
    done = ffprof("cards")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 10
    names = {gpu.name for gpu in read_nvml().gpus}
    assert all(f"his machine's {name}" in " ".join(done.stdout.split()) for name in names)
