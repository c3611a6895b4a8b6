"""``ffprof estimate -- COMMAND``: scripts of users, run as they are on the null device."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from command import ffprof, started
from null_device import built_or_skip
from torch.cuda._memory_viz import trace_plot


@pytest.fixture(scope="module", autouse=True)
def device():
    return built_or_skip()


PLAIN = """
import sys, torch, torchvision
from torch.utils.data import DataLoader, Dataset

class Images(Dataset):
    def __len__(self):
        return 80
    def __getitem__(self, at):
        return torch.zeros(3, 64, 64), at % 10

def train(batch):
    model = torchvision.models.resnet18(num_classes=10).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for images, labels in DataLoader(Images(), batch_size=batch, num_workers=2):
        loss = torch.nn.functional.cross_entropy(model(images.cuda()), labels.cuda())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("loss", loss.item())

if __name__ == "__main__":
    try:
        train(int(sys.argv[2]))
    finally:
        peaks = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        open(sys.argv[1], "w").write("%d %d" % peaks)
"""


def answered(code, *words):
    done = ffprof("estimate", "--format", "json", *words)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout, parse_constant=lambda word: pytest.fail(word)), done.stderr


def script(folder, text, name="train.py"):
    path = folder / name
    path.write_text(text)
    return path


def left_running(path):
    found = []
    for one in psutil.process_iter():
        try:
            if one.status() != psutil.STATUS_ZOMBIE and str(path) in " ".join(one.cmdline()):
                found.append(one)
        except psutil.Error:
            pass
    return found


def leftovers():
    places = [Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))]
    return {path for place in places for path in place.glob("ffprof-script-*")}


def nothing_more_than(before):
    """Whether nothing new is left; what other tests have there at the moment goes soon."""
    until = time.monotonic() + 60
    while leftovers() - before and time.monotonic() < until:
        time.sleep(0.1)
    return not leftovers() - before


def test_a_training_script_as_it_is(tmp_path, device):
    path, told = script(tmp_path, PLAIN), tmp_path / "told"
    before = leftovers()
    found, printed = answered(
        0, "--strict", "--card", "RTX 4060", "--snapshot", tmp_path / "memory.pickle", "--",
        "python", path, told, "16",
    )  # fmt: skip
    assert (found["status"], found["fit"], found["steps"]) == ("fits", "fits", 3)
    assert found["command"] == ["python", str(path), str(told), "16"]
    assert "loss 0.0" in printed  # what the script prints is no part of the answer
    # What the script asks for itself, at its end: the peaks of all its steps.
    allocated, reserved = map(int, told.read_text().split())
    assert max(found["allocated_peak_bytes"], found["cold_allocated_peak_bytes"]) == allocated
    assert max(found["reserved_peak_bytes"], found["cold_reserved_peak_bytes"]) == reserved
    assert found["cold_allocated_peak_bytes"] <= found["allocated_peak_bytes"]
    low, high = found["process_range_bytes"]
    assert reserved < low < high < found["budget_bytes"]
    # What it read, and where.
    (read,) = found["reads"]
    assert (read["count"], found["values_read"], found["conditional"]) == (2, 2, True)
    assert read["place"]["file"] == str(path)
    assert read["place"]["text"] == 'print("loss", loss.item())'
    assert not read["decides_sizes"]
    # What holds the memory: sums agree, and resnet18 with 10 classes has 11,181,642 parameters.
    held = found["peak"]["by_category"]
    parts = sum(held.values()) + found["peak"]["slack_bytes"]
    assert parts == found["allocated_peak_bytes"]
    for category in ("parameters", "optimizer state"):
        assert held[category] == 4 * 11_181_642
    assert 0 < held["gradients"] <= 4 * 11_181_642
    by_line = {one["place"]["text"]: one["by_category"] for one in found["peak"]["lines"]}
    made = by_line["model = torchvision.models.resnet18(num_classes=10).cuda()"]
    assert made["parameters"] == 4 * 11_181_642
    # By module: each its own parameters and their state; their sum is the same.
    modules = {one["module"]: one["by_category"] for one in found["peak"]["modules"]}
    assert modules["layer4.1.conv2"]["parameters"] == 4 * 512 * 512 * 9
    assert modules["layer4.1.conv2"]["optimizer state"] == 4 * 512 * 512 * 9
    assert modules["conv1"]["activations"] >= 4 * 16 * 64 * 32 * 32
    assert modules["layer1.0.bn1"]["other"] >= 2 * 4 * 64  # its running statistics
    assert sum(sum(one.values()) for one in modules.values()) == sum(held.values())
    assert found["coverage"]["share"] == 1
    assert found["versions"]["torch"]
    snapshot = pickle.loads((tmp_path / "memory.pickle").read_bytes())
    assert "Active Memory Timeline" in trace_plot(snapshot)
    frames = [f for event in snapshot["device_traces"][0] for f in event.get("frames", ())]
    assert str(path) in {one["filename"] for one in frames}
    assert not left_running(path)
    assert nothing_more_than(before)


def test_watching_changes_nothing(tmp_path):
    """The same script on the same device with nobody watching: the same bytes."""
    from ffprof.hardware.cards import find_card
    from ffprof.nulldevice import NullDevice, environment

    text = PLAIN.replace("return 80", "return 48")
    path, alone, watched = script(tmp_path, text), tmp_path / "alone", tmp_path / "watched"
    device = NullDevice.of_card(find_card("RTX 4060"))
    subprocess.run(
        [sys.executable, path, alone, "16"],
        env=os.environ | environment(device, tmp_path / "device"),
        check=True,
        capture_output=True,
    )
    # All three steps, the last of them with its operators traced.
    answered(0, "--steps", "3", "--card", "RTX 4060", "--", "python", path, watched, "16")
    assert watched.read_text() == alone.read_text()


MIXED = """
import torch
from torch import nn
first, second = (nn.Linear(256, 256).cuda() for _ in range(2))
optimizers = [torch.optim.Adam(one.parameters()) for one in (first, second)]
scaler = torch.amp.GradScaler("cuda")
while True:
    with torch.autocast("cuda", torch.float16):
        loss = second(first(torch.zeros(8, 256, device="cuda"))).float().sum()
    scaler.scale(loss).backward()
    for one in optimizers:
        scaler.step(one)
    scaler.update()
    for one in optimizers:
        one.zero_grad()
"""


def test_mixed_precision_and_two_optimizers(tmp_path):
    found, _ = answered(0, "--steps", "2", "--", "python", script(tmp_path, MIXED))
    assert (found["steps"], found["status"]) == (2, "fits")
    held = found["peak"]["by_category"]
    assert held["parameters"] == 2 * 4 * (256 * 256 + 256)
    # PyTorch's own look for overflow is told, and makes nothing conditional.
    assert found["reads"]
    assert {one["library"] for one in found["reads"]} == {"torch/amp/grad_scaler.py"}
    assert not found["conditional"]


TOO_LARGE = """
import torch
def forward():
    kept = []
    for number in range(100):
        kept.append(torch.empty((number + 1) * 2**30, dtype=torch.uint8, device="cuda:1"))
model = torch.nn.Linear(2, 2).cuda()
optimizer = torch.optim.SGD(model.parameters())
forward()
optimizer.step()
"""


def test_out_of_memory_names_the_line_and_the_card(tmp_path):
    path = script(tmp_path, TOO_LARGE)
    found, printed = answered(11, "--gpu-mem", "8GB", "--cards", "2", "--", "python", path)
    assert (found["status"], found["fit"]) == ("out of memory", "does not fit")
    out = found["ran_out"]
    assert out["message"].startswith("CUDA out of memory. Tried to allocate 4.00 GiB")
    assert (out["place"]["file"], out["place"]["line"]) == (str(path), 6)
    assert out["place"]["function"] == "forward"
    assert out["asked_bytes"] == 4 * 2**30
    assert (found["cards"], out["device"]) == (2, 1)
    first, second = found["by_device"]
    assert first["cold_allocated_peak_bytes"] == 2 * 512  # a weight and a bias
    assert second["cold_allocated_peak_bytes"] == out["allocated_bytes"]
    assert found["cold_allocated_peak_bytes"] == out["allocated_bytes"]
    assert "torch.OutOfMemoryError" in printed
    # What is held then: all that was kept, made by that line.
    (held, *_) = found["peak"]["lines"]
    assert held["place"]["line"] == 6
    assert sum(held["by_category"].values()) == 2**30 * (out["allocated_bytes"] // 2**30)


def test_a_script_that_fails_and_one_that_never_steps(tmp_path):
    path = script(tmp_path, "import torch\nx = torch.zeros(3, device='cuda')\nx @ x[:2]\n")
    found, _ = answered(12, "--", "python", path)
    assert found["status"] == "failed" and found["fit"] is None
    assert found["message"].startswith("RuntimeError: ")
    assert found["failed_at"]["line"] == 3
    path = script(tmp_path, "import torch\nx = torch.zeros(2**20, device='cuda')\n")
    done = ffprof("estimate", "--", "python", path)
    assert done.returncode == 13
    assert "Incomplete. It ended before an optimizer of torch.optim took a step" in " ".join(
        done.stdout.split()
    )
    assert "4.00 MiB" in done.stdout


def test_what_needs_no_torch_is_answered_without(tmp_path):
    found, printed = answered(12, "--", "bash", "-c", "echo no data; exit 7")
    assert found["message"] == "exit status 7: no data"
    assert "no data" in printed
    found, _ = answered(13, "--", "python", "-c", "print(1)")
    assert "without importing torch" in found["message"]


def test_a_script_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)', sys.argv[0]],"
        " start_new_session=True)\n"
        "time.sleep(99)\n"
    )
    path, before = script(tmp_path, code), leftovers()
    found, _ = answered(13, "--time-limit", "1.5", "--", "python", path)
    assert found["status"] == "incomplete"
    assert found["message"] == "its time limit was over before it imported torch"
    assert not left_running(path)
    assert nothing_more_than(before)
    # Nor after Ctrl-C.
    command = started("estimate", "--", "python", path)
    until = time.monotonic() + 20
    while len(left_running(path)) < 2 and time.monotonic() < until:  # the script and its child
        time.sleep(0.1)
    command.send_signal(2)
    command.wait(20)
    assert not left_running(path)
    assert nothing_more_than(before)


SIZED = """
import argparse, torch
options = argparse.ArgumentParser()
options.add_argument("--batch-size", type=int)
batch = options.parse_args().batch_size
if batch > 40:
    raise ValueError("more than the data set has")
model = torch.nn.Linear(2**20, 2, device="cuda")
optimizer = torch.optim.SGD(model.parameters())
while True:
    x = torch.zeros(batch, 64, 2**20, device="cuda")  # 256 MiB each
    model(x).sum().backward()
    optimizer.step()
    del x
"""


def test_the_largest_value_that_fits_and_the_growth(tmp_path):
    path, plot = script(tmp_path, SIZED), tmp_path / "growth.svg"
    command = ("--", "python", path, "--batch-size")
    found, printed = answered(0, "--gpu-mem", "8GB", "--largest", "--batch-size", *command, "16")
    n = found["largest"]
    assert (found["first_failing"], found["proven"], found["grown"]) == (
        n + 1,
        True,
        "--batch-size",
    )
    assert found["command"] == ["python", str(path), "--batch-size", "{}"]
    statuses = {one["value"]: one["status"] for one in found["tried"]}
    assert statuses[n] == found["at_largest"]["status"] == "fits"
    assert statuses[n + 1] in ("too close to call", "out of memory")
    assert found["at_largest"]["command"][-1] == str(n)
    # 256 MiB a value: what is surely left, of 7.6 GiB, is 5 to 7 GiB.
    assert 20 <= n <= 28
    assert len(statuses) <= 5
    assert "--batch-size 16: running" in printed
    # The same by a sweep, which goes beyond the card and beyond what the script takes.
    drawn = ["--plot", plot] if importlib.util.find_spec("matplotlib") else []
    grown, printed = answered(
        0, "--gpu-mem", "8GB", "--sweep", "--batch-size=4,40,41", *drawn, *command, "{}"
    )
    rows = {one["value"]: one for one in grown["rows"]}
    assert [one["status"] for one in rows.values()] == ["fits", "out of memory", "failed"]
    more = rows[40]["allocated_peak_bytes"] - rows[4]["allocated_peak_bytes"]
    assert more == pytest.approx(36 * 2**28, rel=0.01)
    assert rows[41]["allocated_peak_bytes"] is None
    assert rows[41]["message"] == "ValueError: more than the data set has"
    assert 0.9 < grown["allocated_exponent"] <= 1
    assert "memory was short" in printed
    assert not drawn or b"<svg" in plot.read_bytes()


def test_braces_without_a_question_are_the_commands_own():
    found, _ = answered(12, "--", "bash", "-c", "echo {} $0; exit 7", "{}")
    assert found["message"] == "exit status 7: {} {}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--largest", "--batch-size"], "--largest --batch-size: there is no {} in the command"),
        (["--sweep", "b=1,2"], "--sweep b: there is no {} in the command"),
        (["--multiple-of", "8"], "--multiple-of is about --largest"),
        (["--plot", "x.png"], "--plot draws a --sweep"),
        (["--largest", "b", "--sweep", "b=1,2"], "cannot be combined"),
        (["--against", "bp"], "--against is about workloads, not about a command"),
    ],
)
def test_what_is_asked_of_a_command_wrongly_is_one_line(words, said):
    done = ffprof("estimate", *words, "--", "python", "train.py")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line
