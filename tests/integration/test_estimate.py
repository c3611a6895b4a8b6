"""``ffprof estimate`` in real processes."""

import importlib.util
import json
import os
import pickle

import pytest
from command import ffprof, only_record
from torch.cuda._memory_viz import segsum, trace_plot

SMOKE = ["estimate", "--preset", "smoke"]


def answered(*words):
    done = ffprof(*SMOKE, *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, parse_constant=lambda word: pytest.fail(word))


def test_it_says_what_an_estimated_audit_says(tmp_path):
    rows = answered("--workloads", "bp,dtg-ff-streamed-accum")
    done = ffprof(
        "run", "--preset", "smoke", "--workloads", "bp,dtg-ff-streamed-accum", "--device",
        "estimate", "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path)
    assert [row["workload"] for row in rows] == list(record.plan.workloads)
    for row in rows:
        (trial,) = [t for t in record.trials if t.workload == row["workload"]]
        assert row["memory"] == trial.memory.model_dump(mode="json")
        assert row["throughput"] == trial.throughput.model_dump(mode="json")
        facts = record.ledger[row["workload"]].facts
        for name in ("useful_flops", "recomputed_flops"):
            assert row[name] == facts[name]
        assert sum(row["flops_by_operator"].values()) == (
            row["useful_flops"] + row["recomputed_flops"]
        )
        assert row["card"] == record.budget.card
        peak = row["peak"]
        for held in ([peak["by_category"]], [one["by_category"] for one in peak["layers"]]):
            total = sum(size for one in held for size in one.values())
            assert total + peak["slack_bytes"] == peak["allocated_bytes"]
        assert peak["allocated_bytes"] == row["memory"]["allocated_peak_bytes"]
        moment = peak["at_reserved"]
        gap = moment["fragments"]["stuck_bytes"] + moment["fragments"]["cached_bytes"]
        assert moment["reserved_bytes"] - moment["allocated_bytes"] == gap


def test_several_are_a_table_and_one_is_explained_with_a_snapshot_that_torch_reads(tmp_path):
    done = ffprof(*SMOKE, "--workloads", "bp,bp-accum", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "By module" not in done.stdout and not list(tmp_path.iterdir())
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = ffprof(
        *SMOKE, "--workloads", "bp", "--no-workspaces", "--snapshot", "bp.pickle", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "without workspaces" in done.stdout
    for word in ("when most is reserved", "By category", "By module", "By line", "Largest single"):
        assert word in done.stdout
    assert "workspace " not in done.stdout.split("By category")[1]
    assert [file.name for file in tmp_path.iterdir()] == ["bp.pickle"]
    taken = pickle.loads((tmp_path / "bp.pickle").read_bytes())
    assert f"segments: {len(taken['segments'])}" in segsum(taken)
    assert "<html" in trace_plot(taken)
    asked = sum(e["size"] for e in taken["device_traces"][0] if e["action"] == "alloc")
    freed = sum(e["size"] for e in taken["device_traces"][0] if e["action"] == "free_completed")
    assert asked - freed == sum(segment["requested_size"] for segment in taken["segments"])


def test_a_budget_that_is_too_small_is_an_answer():
    rows = answered("--workloads", "bp", "--gpu-mem", "270MB", "--batch", 1024, "--width", 4)
    (row,) = rows
    assert row["card"] is None and row["throughput"] is None
    assert row["fit"]["answer"] == "does not fit" and row["fit"]["ran_out"]["phase"] == "build"
    assert row["outcome"] == "oom" and "estimated to run out of memory" in row["message"]


def test_two_workloads_are_told_apart_layer_by_layer():
    made = answered("--workloads", "bp", "--against", "dtg-ff-streamed")
    ours, theirs = made["ours"]["peak"], made["theirs"]["peak"]
    more = sum(d["ours_bytes"] - d["theirs_bytes"] for d in made["differences"])
    slack = ours["slack_bytes"] - theirs["slack_bytes"]
    assert more + slack == ours["allocated_bytes"] - theirs["allocated_bytes"]
    kept = {
        d["module"]
        for d in made["differences"]
        if d["category"] == "activation" and d["ours_bytes"] > d["theirs_bytes"]
    }
    assert {"backbone.blocks.1.conv", "backbone.blocks.1.norm"} <= kept


def test_the_largest_fits_and_the_next_does_not():
    # Of which context and libraries take most; larger images need fewer questions.
    budget = ["--gpu-mem", "1500MB", "--image-size", "128"]
    found = answered("--workloads", "bp,bp-accum", "--largest", "micro-batch", *budget)
    for one in found:
        assert 1 <= one["largest"] < 65_536 and len(one["tried"]) < 30
        tried = {t["size"]: t for t in one["tried"]}
        assert one["first_failing"] == one["largest"] + 1 and not one["proven"]
        assert tried[one["largest"]]["fit"] == "fits"
        assert tried[one["first_failing"]]["fit"] != "fits"
    # Asked by itself it answers the same.
    whole = found[0]
    sizes = ["--batch", whole["batch"], "--micro-batch", whole["largest"]]
    (again,) = answered("--workloads", "bp", *sizes, *budget)
    there = next(t for t in whole["tried"] if t["size"] == whole["largest"])
    assert again["memory"]["reserved_peak_bytes"] == there["reserved_bytes"]
    assert again["memory"]["process_range_bytes"] == there["process_range_bytes"]
    assert again["fit"]["answer"] == there["fit"] == "fits"


def test_depth_costs_one_method_memory_and_not_the_other(tmp_path):
    plot = tmp_path / "depth.png"
    drawn = ["--plot", plot] if importlib.util.find_spec("matplotlib") else []
    words = ["--workloads", "bp,dtg-ff-streamed", "--sweep", "depth=16,4,8", *drawn]
    whole, streamed = answered(*words)
    assert whole["values"] == [4, 8, 16]
    assert [row["backbone"] for row in whole["rows"]] == ["flat-4-64", "flat-8-64", "flat-16-64"]
    assert whole["activations_exponent"] > 0.85
    assert abs(streamed["activations_exponent"]) < 0.1
    if drawn:
        from PIL import Image

        with Image.open(plot) as image:
            image.load()
            assert image.width > 800 and len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_without_matplotlib_a_plot_is_refused_before_anything_is_traced(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'matplotlib' else find(name, *a)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    words = ["--sweep", "batch=8,16", "--plot", tmp_path / "x.png"]
    done = ffprof(*SMOKE, *words, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "pip install" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--workloads", "nobody"],
        ["--preset", "nothing"],
        ["--workloads", "bp,bp-accum", "--snapshot", "x.pickle"],
        ["--workloads", "bp", "--against", "bp"],
        ["--workloads", "bp,bp-accum", "--against", "dtg-ff"],
        ["--gpu-mem", "8GB", "--card", "RTX 4060"],
        ["--allocator", "sideways:True"],
        ["--batch", "7", "--micro-batch", "2"],
        ["--sweep", "batch=8"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_one_line(words, tmp_path):
    done = ffprof(*SMOKE, *words, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("ffprof: error: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_of_ones_own_is_estimated_and_what_cannot_be_is_told(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from ffprof import register_step\n\n\n"
        "@register_step(images=8)\n"
        "def good(device):\n"
        "    model = nn.Linear(64, 64).to(device)\n"
        "    data = torch.randn(8, 64, device=device)\n\n"
        "    def step():\n"
        "        model(data).sum().backward()\n\n"
        "    return step\n\n\n"
        "@register_step(images=8)\n"
        "def bad(device):\n"
        "    data = torch.randn(8, 64, device=device)\n\n"
        "    def step():\n"
        "        return 1 if data.sum().item() > 0 else 0\n\n"
        "    return step\n"
    )
    own = ["--workload-file", tmp_path / "mine.py", "--workloads"]
    rows = {row["workload"]: row for row in answered(*own, "good,bad")}
    assert rows["good"]["outcome"] == "ok" and rows["good"]["micro_batch"] == 8
    assert rows["good"]["peak"]["by_category"]["parameter"] == 4 * 65 * 64
    assert rows["bad"]["outcome"] == "refused" and rows["bad"]["memory"] is None
    assert "mine.py" in rows["bad"]["message"]
    done = ffprof(*SMOKE, *own, "bad")
    assert done.returncode == 3 and "nothing could be estimated" in done.stderr
    done = ffprof(*SMOKE, *own, "good", "--largest", "batch")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "--largest batch: good has no size 'batch'; give its build an argument" in done.stderr


SIZED = """
import torch

def build(device, batch, seq=8, width=32):
    words = torch.nn.Embedding(50, width).to(device)
    data = torch.randint(50, (batch, seq))

    def step():
        words(data.to(device)).square().mean().backward()
        words.weight.grad = None

    return step
"""


def test_a_step_of_ones_own_has_sizes(tmp_path):
    (tmp_path / "sized.py").write_text(SIZED)
    own = ["--workload-file", tmp_path / "sized.py", "--workloads", "sized"]
    (row,) = answered(*own, "--batch", "16")
    assert (row["batch"], row["micro_batch"]) == (16, 16)
    data = row["peak"]["by_category"]["data"]
    assert data == 16 * 8 * 8
    (growth,) = answered(*own, "--sweep", "batch=4,32")
    data = [one["peak"]["by_category"]["data"] for one in growth["rows"]]
    assert (growth["axis"], growth["values"], data) == ("batch", [4, 32], [8 * 4 * 8, 8 * 32 * 8])
    (growth,) = answered(*own, "--batch", "16", "--sweep", "seq=4,16")
    data = [one["peak"]["by_category"]["data"] for one in growth["rows"]]
    assert (growth["axis"], growth["values"], data) == ("seq", [4, 16], [8 * 16 * 4, 8 * 16 * 16])
    (found,) = answered(*own, "--batch", "16", "--largest", "seq", "--gpu-mem", "8GB")
    sizes = {one["size"]: one["fit"] for one in found["tried"]}
    assert found["grown"] == "seq" and found["largest"] > 1000
    assert sizes[found["largest"]] == "fits"
    assert found["largest"] == 65_536 or sizes[found["first_failing"]] != "fits"
    assert len(found["tried"]) <= 8
    done = ffprof(*SMOKE, *own, "--sweep", "sequence=4,8")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "sized has no size 'sequence'; its build takes batch, seq, width" in done.stderr
