"""PyTorch's own CUDA build on the null device, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from null_device import unfit

from ffprof import load
from ffprof.estimator.allocator import release_of
from ffprof.estimator.cuda.workspaces import convolution_bytes, model_for
from ffprof.estimator.stream import Convolution
from ffprof.nulldevice import NullDevice, environment, read_report
from ffprof.units import GIB, MIB

pytestmark = pytest.mark.skipif(bool(unfit()), reason=unfit())

DEVICE = NullDevice(
    name="NVIDIA GeForce RTX 4060",
    total_bytes=8 * GIB,
    nvml_bytes=8 * GIB + 64 * MIB,
    context_bytes=300 * MIB,
    library_bytes=64 * MIB,
    capability=(8, 9),
    multiprocessors=24,
    threads_per_multiprocessor=1536,
    count=2,
)


def run(code, folder, device=DEVICE, **more):
    """The JSON that a child on the device prints last."""
    done = start(code, folder, device, **more)
    out, problems = done.communicate(timeout=120)
    assert done.returncode == 0, problems
    return json.loads(out.splitlines()[-1])


def start(code, folder, device=DEVICE, **more):
    env = {**os.environ, **environment(device, folder), **more}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


# Without torch, so in a moment: the library's functions themselves.
CUDA = """
import ctypes, json, os, sys
cuda = ctypes.CDLL(None)
def malloc(size):
    at = ctypes.c_void_p()
    return cuda.cudaMalloc(ctypes.byref(at), ctypes.c_size_t(size)), at
def info():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    assert cuda.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) == 0
    return free.value, total.value
GIB = 2**30
"""
OUT_OF_MEMORY, NOT_SUPPORTED = 2, 801

STEP = """
import json, torch, torchvision
torch.manual_seed(0)
model = torchvision.models.resnet18().cuda()
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
x = torch.randn(16, 3, 224, 224, device="cuda")
y = torch.zeros(16, dtype=torch.long, device="cuda")
for _ in range(2):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
told = {"allocated": torch.cuda.max_memory_allocated()}
told["reserved"] = torch.cuda.max_memory_reserved()
"""

FACTS = """
told["devices"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
told["capability"] = torch.cuda.get_device_capability()
del model, optimizer, x, y
torch.cuda.empty_cache()

# Values: fills and copies are right, and what is new holds zeros though its block is used again.
said = torch.arange(6.0)
told["copied"] = torch.equal(said.cuda().clone().cpu(), said)
types = (torch.float, torch.half)
told["filled"] = [torch.full((3,), 7.5, device="cuda", dtype=d).tolist() for d in types]
kept = torch.ones(1000).cuda(); place = kept.data_ptr(); del kept
new = torch.empty(1000, device="cuda")
told["again"] = new.data_ptr() == place, new.sum().item(), new.cpu().abs().max().item()
told["nonzero"] = len(torch.empty(100, device="cuda").nonzero())
told["mask"] = len(torch.ones(10, device="cuda")[torch.tensor([True] * 3 + [False] * 7).cuda()])

# A second device has memory of its own.
there = torch.full((10,), 3.0, device="cuda:1")
told["across"] = there.to("cuda:0").tolist() == [3.0] * 10
told["second"] = torch.cuda.memory_allocated(1)

# Solvers, transforms, sparse and recurrent layers are answered.
a = torch.randn(8, 8, device="cuda", requires_grad=True)
torch.linalg.solve(a, a).sum().backward()
for name in ("inv", "svd", "eigh", "qr", "cholesky", "det"):
    getattr(torch.linalg, name)(a)
torch.fft.rfft2(a.detach())
torch.sparse.mm(torch.eye(8, device="cuda").to_sparse(), a.detach())
rnn = torch.nn.LSTM(8, 16, 2).cuda()
rnn(torch.randn(5, 4, 8, device="cuda"))[0].sum().backward()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    a.detach() + 1
graph.replay()

# The workspace of a convolution, and what is done where it does not fit.
def extra(x, w):
    torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = torch.nn.functional.conv2d(x, w, padding=1)
    return torch.cuda.max_memory_allocated() - before - out.nbytes
x, w = torch.empty(16, 128, 64, 64, device="cuda"), torch.empty(128, 128, 3, 3, device="cuda")
extra(x[:1], w)
told["workspace"] = {}
for name, dtype in (("fp32", torch.float), ("fp16", torch.half)):
    told["workspace"][name] = extra(x.to(dtype), w.to(dtype))
torch.backends.cudnn.allow_tf32 = False
told["workspace"]["exact"] = extra(x, w)
torch.backends.cudnn.allow_tf32 = True
torch.cuda.empty_cache()
free = torch.cuda.mem_get_info()[0]
ballast = torch.empty(free - 40 * 2**20, dtype=torch.uint8, device="cuda")
told["without"] = extra(x, w)
del ballast
try:
    torch.empty(20 * 2**30, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError as error:
    told["error"] = str(error)

import ctypes
library = ctypes.CDLL(None)
library.ffprof_null_reads.restype = ctypes.c_uint64
before = library.ffprof_null_reads()
torch.zeros((), device="cuda").item()
told["reads"] = library.ffprof_null_reads() - before
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("null")
    return run(STEP + FACTS, folder), read_report(folder)


def test_a_step_of_a_network_has_the_same_peaks_in_every_process(facts, tmp_path):
    told, _ = facts
    # The tensors of a step are more than weights, gradients and momentum: 3 x 11,689,512 x 4.
    assert told["reserved"] >= told["allocated"] > 3 * 11_689_512 * 4
    again = run(STEP + "print(json.dumps(told))", tmp_path)
    assert again == {"allocated": told["allocated"], "reserved": told["reserved"]}


def test_the_device_is_as_described(facts):
    told, report = facts
    assert told["devices"] == ["NVIDIA GeForce RTX 4060"] * 2
    assert told["capability"] == [8, 9]
    assert report.peak_bytes[0] > told["reserved"] + DEVICE.context_bytes
    assert report.peak_bytes[1] == DEVICE.context_bytes + 2 * MIB
    assert told["second"] == 512
    assert told["across"]


def test_fills_and_copies_are_right_and_new_tensors_hold_zeros(facts):
    told, report = facts
    assert told["copied"]
    assert told["filled"] == [[7.5] * 3] * 2
    assert told["again"] == [True, 0, 0]
    assert told["nonzero"] == 50  # the share of nonzero_share
    assert told["mask"] == 3  # known, for the mask was copied
    assert told["reads"] == 1
    assert report.reads > 5
    assert report.read_bytes > 4000


def test_calls_are_counted_by_what_was_answered(facts):
    _, report = facts
    assert report.processes == 1
    assert any("FillFunctor" in name for name in report.computed)
    assert sum(report.launches.values()) > 100
    assert report.library_calls["cudnnBackendExecute"] >= 20 * 2 * 3
    assert report.modelled["workspace of a cuDNN convolution"]
    assert report.assumed["cudnnGetRNNTempSpaceSizes"]
    assert any(name.startswith("cusolver") for name in report.library_calls)


def test_workspaces_of_convolutions_are_those_of_the_estimator(facts):
    told, _ = facts
    for name, element_bytes in (("fp32", 4), ("fp16", 2)):
        call = Convolution(
            which="forward",
            input=(16, 128, 64, 64),
            weight=(128, 128, 3, 3),
            output=(16, 128, 64, 64),
            stride=(1, 1),
            padding=(1, 1),
            dilation=(1, 1),
            groups=1,
            transposed=False,
            channels_last=False,
            element_bytes=element_bytes,
        )
        model = model_for((8, 9), half=element_bytes == 2, tf32=True, autotuned=False)
        assert told["workspace"][name] == convolution_bytes(call, model)
    assert told["workspace"]["exact"] == 0


@pytest.mark.parametrize("capability", [(8, 9), (12, 0)])
def test_what_cublas_keeps_is_what_the_estimator_says(capability, tmp_path):
    told = run(
        """
        import json, torch
        a = torch.zeros(64, 64, device="cuda")
        before = torch.cuda.memory_allocated()
        b = a @ a
        print(json.dumps(torch.cuda.memory_allocated() - before - b.nbytes))
        """,
        tmp_path,
        replace(DEVICE, capability=capability),
    )
    release = release_of(torch.__version__)
    model = model_for(capability, half=False, tf32=True, autotuned=True, release=release)
    assert told == (model.handle_bytes if model.handle_kept else 0)


def test_a_plan_whose_workspace_does_not_fit_is_left_for_the_next(facts):
    told, _ = facts
    assert told["without"] == 0


def test_memory_ends_with_the_words_of_pytorch(facts):
    told, report = facts
    assert told["error"].startswith("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a ")
    assert "total capacity of 8.00 GiB" in told["error"]
    assert report.out_of_memory >= 2


def test_the_capacity_is_what_the_context_leaves(tmp_path):
    told = run(
        CUDA + "free = info()\nfits = malloc(free[0])[0]\nmore = malloc(1)[0]\n"
        "print(json.dumps([*free, fits, more]))",
        tmp_path,
    )
    left = DEVICE.total_bytes - DEVICE.context_bytes
    assert told == [left, DEVICE.total_bytes, 0, OUT_OF_MEMORY]
    assert read_report(tmp_path).peak_bytes[0] == DEVICE.total_bytes


def test_a_call_that_is_not_known_fails_and_is_named(tmp_path):
    told = run(
        CUDA + "handle = (ctypes.c_char * 64)(*b'x' * 64)\n"
        "print(json.dumps([cuda.cudaIpcGetMemHandle(handle, None), handle.raw.decode()]))",
        tmp_path,
    )
    assert told == [NOT_SUPPORTED, "x" * 64]
    assert read_report(tmp_path).unknown == {"cudaIpcGetMemHandle": 1}
    assert json.loads((tmp_path / "report.json").read_text())["unknown"]


def test_processes_share_the_device_and_one_that_is_killed_gives_back(tmp_path):
    holder = start(CUDA + "malloc(3 * GIB)\nprint('held', flush=True)\nsys.stdin.read()", tmp_path)
    try:
        assert holder.stdout.readline() == "held\n"
        look = (
            CUDA
            + "import pynvml\npynvml.nvmlInit()\n"
            + textwrap.dedent("""
            gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
            memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
            seen = {process.pid: process.usedGpuMemory for process in running}
            print(json.dumps([info()[0], memory.total, memory.used, seen]))
        """)
        )
        free, total, used, seen = run(look, tmp_path)
        context = DEVICE.context_bytes
        assert free == 5 * GIB - 2 * context
        assert total == DEVICE.nvml_bytes
        assert used == 3 * GIB + context + 64 * MIB
        assert seen == {str(holder.pid): 3 * GIB + context}
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=30)
        assert run(look, tmp_path)[0] == DEVICE.total_bytes - context
    finally:
        holder.kill()
        holder.communicate()
    report = read_report(tmp_path)  # what the killed one counted is there
    assert report.peak_bytes[0] == 3 * GIB + context
    assert report.processes == 3


def test_a_child_that_is_forked_holds_nothing(tmp_path):
    told = run(
        CUDA + "malloc(GIB)\npid = os.fork()\n"
        "if not pid:\n    os._exit(0 if info()[0] == 7 * GIB - 2 * 300 * 2**20 else 1)\n"
        "print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), info()[0]]))",
        tmp_path,
    )
    assert told == [0, 7 * GIB - DEVICE.context_bytes]


def test_an_audit_on_the_device_is_emulated_and_says_so(tmp_path):
    """PyTorch's memory, no speed: a record of it must never pass for one of a GPU."""
    done = subprocess.run(
        [
            sys.executable, "-m", "ffprof", "run", "--preset", "smoke", "--device", "cuda",
            "--workloads", "bp", "--rounds", "1", "--steps", "2", "--out", tmp_path / "out",
        ],
        env={**os.environ, **environment(DEVICE, tmp_path / "device")},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("audit-*.json")
    record = load(path)
    assert record.evidence == "emulated"
    assert any("null device" in note for note in record.notes)
    (trial,) = record.trials
    assert trial.outcome == "ok"
    memory = trial.memory
    assert 0 < memory.allocated_peak_bytes <= memory.reserved_peak_bytes < 8 * GIB
