"""``ffprof estimate MODEL`` in real processes."""

import json
import os
import pickle
import re

import pytest
import torch
import torchvision
from command import ffprof
from torch.nn import functional as F

import ffprof as api

SMALL = ["torchvision:resnet18", "--image-size", "64"]
BERT = {
    "model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128, "vocab_size": 1000,
    "max_position_embeddings": 128,
}  # fmt: skip


def answered(*words):
    done = ffprof("estimate", *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def peaks(row):
    memory = row["memory"]
    return memory["allocated_peak_bytes"], memory["reserved_peak_bytes"]


def by_hand(model, feed):
    """A build as one would write it."""

    def build(device):
        module = model().train().to(device)
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
        forward = feed(module, device)

        def step():
            loss = forward()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step

    found = api.estimate(build, workspaces="none")
    return found.allocated_peak_bytes, found.reserved_peak_bytes


def images(batch, size):
    def feed(module, device):
        fed = torch.randn(batch, 3, size, size, device=device)
        labels = torch.randint(0, 1000, (batch,), device=device)
        return lambda: F.cross_entropy(module(fed), labels)

    return feed


def test_a_model_by_its_name_is_the_step_that_one_would_write(tmp_path):
    words = ["torchvision:resnet18", "--batch", "8", "--card", "RTX 3070", "--no-workspaces"]
    (row,) = answered(*words)
    assert peaks(row) == by_hand(torchvision.models.resnet18, images(8, 224))
    assert (row["workload"], row["backbone"]) == ("torchvision:resnet18",) * 2
    assert (row["batch"], row["micro_batch"], row["image_size"]) == (8, 8, 224)
    assert row["fit"]["answer"] == "fits" and row["throughput"]["images_per_second"] > 0
    snapshot = tmp_path / "resnet.pickle"
    done = ffprof("estimate", *words, "--precision", "bf16", "--snapshot", snapshot)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert f"resnet18 of torchvision {torchvision.__version__}, 1000 classes" in told
    assert "random images: batch 8, 3x224x224, bf16, contiguous, adamw" in told
    assert "By module" in told and "layer4.1.conv2" in told
    assert pickle.loads(snapshot.read_bytes())["segments"]


def test_its_sizes_are_swept_and_searched():
    (growth,) = answered(*SMALL[:1], "--batch", "4", "--sweep", "image-size=64,128")
    assert [row["image_size"] for row in growth["rows"]] == [64, 128]
    (alone,) = answered(*SMALL, "--batch", "4")
    assert peaks(growth["rows"][0]) == peaks(alone)
    (growth,) = answered(*SMALL, "--sweep", "batch=4,16")
    assert [row["batch"] for row in growth["rows"]] == [4, 16]
    assert peaks(growth["rows"][0]) == peaks(alone)
    (found,) = answered(*SMALL, "--largest", "batch", "--gpu-mem", "2GB")
    fits = {tried["size"]: tried["fit"] for tried in found["tried"]}
    assert fits[found["largest"]] == "fits" and fits[found["first_failing"]] != "fits"


def test_a_model_of_timm():
    timm = pytest.importorskip("timm")
    (row,) = answered("timm:resnet18", "--batch", "4", "--image-size", "96", "--no-workspaces")
    assert peaks(row) == by_hand(lambda: timm.create_model("resnet18"), images(4, 96))


@pytest.fixture
def bert(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    return f"hf:{tmp_path}"


def test_a_model_of_transformers(bert, tmp_path):
    from transformers import AutoConfig, AutoModelForMaskedLM

    def made():
        return AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(tmp_path))

    def feed(module, device):
        ids, labels = (torch.randint(0, 1000, (4, 96), device=device) for _ in range(2))
        return lambda: module(input_ids=ids, labels=labels).loss

    (row,) = answered(bert, "--batch", "4", "--seq", "96", "--no-workspaces")
    assert peaks(row) == by_hand(made, feed)
    (growth,) = answered(bert, "--batch", "4", "--no-workspaces", "--sweep", "seq=32,96,256")
    assert [one["outcome"] for one in growth["rows"]] == ["ok", "ok", "refused"]
    assert "it has 128 positions" in growth["rows"][2]["message"]
    assert peaks(growth["rows"][1]) == peaks(row)
    done = ffprof("estimate", bert, "--largest", "seq")
    told = " ".join(done.stdout.split())
    assert "random tokens: batch 8, seq N, fp32, adamw" in told
    assert "img/s counts sequences" in told
    assert re.search(r" 128 +8 .* 129 +refused ", done.stdout)


def test_adapters_take_less_than_the_whole_model(bert):
    pytest.importorskip("peft")
    whole, adapted = (
        answered(bert, "--precision", "bf16", *more)[0] for more in ([], ["--lora", "4"])
    )
    state = [one["peak"]["by_category"].get("optimizer state", 0) for one in (whole, adapted)]
    assert state[1] < state[0] / 10
    # What is frozen is held in two bytes, and nowhere in four.
    parameters = [one["peak"]["by_category"]["parameter"] for one in (whole, adapted)]
    assert parameters[1] < 0.6 * parameters[0]
    assert (whole["method"], adapted["method"]) == ("backprop", "lora")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["torchvision:resnt18"], ["no model 'resnt18'", "did you mean resnet18"]),
        (["torchvision:raft_small"], ["does not classify images", "build(device)"]),
        (["torchvison:resnet18"], ["is no model", "did you mean torchvision?"]),
        (["hf:"], ["'hf:' names no model"]),
        (["hf:./nowhere"], ["hf:./nowhere: there is no such file", "config.json"]),
        (["hf:gpt2", "x"], ["hf:gpt2 is a model, and 'x' stands behind it"]),
        (["hf:gpt2", "--", "python", "t.py"], ["'python' stands behind it"]),
        (["torchvision:resnet18", "--workloads", "bp"], ["--workloads does not go with a model"]),
        (["torchvision:resnet18", "--workload-file", "x.py"], ["--workload-file does not go"]),
        (["torchvision:resnet18", "--preset", "smoke"], ["--preset does not go with a model"]),
        (["torchvision:resnet18", "--width", "2"], ["--width does not go with a model"]),
        (["torchvision:resnet18", "--micro-batch", "2"], ["--micro-batch does not go"]),
        (["torchvision:resnet18", "--against", "bp"], ["--against does not go with a model"]),
        (["torchvision:resnet18", "--steps", "4"], ["--steps does not go with a model"]),
        (["torchvision:resnet18", "--lora", "4"], ["--lora is about models of hf:"]),
        (["torchvision:resnet18", "--seq", "4"], ["takes images, and has no seq"]),
        (["torchvision:resnet18", "--largest", "seq"], ["has no size 'seq'; its build takes"]),
        (["torchvision:resnet18", "--largest", "depth"], ["--largest depth", "has no size"]),
        (["torchvision:resnet18", "--batch", "0"], ["--batch 0 is not possible"]),
        (["--seq", "8"], ["--seq is about a model", "hf:gpt2"]),
        (["--lora", "8", "--workloads", "bp"], ["--lora is about a model"]),
        (["--seq", "8", "--", "python", "t.py"], ["--seq is about a model"]),
    ],
)
def test_what_cannot_be_meant_is_one_line(words, said):
    done = ffprof("estimate", *words)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("ffprof: error: ")
    for part in said:
        assert part in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"model_type": "bert"', "is not JSON"),
        ("[]", "is no config of a model"),
        ('{"hidden_size": 8}', "names no model_type"),
        ('{"model_type": "brt"}', "is not known to transformers"),
        ('{"model_type": "whisper", "architectures": ["WhisperModel2"]}', "no standard step"),
    ],
)
def test_a_config_that_is_no_models_is_one_line(content, said, tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(content)
    done = ffprof("estimate", f"hf:{tmp_path}")
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("ffprof: error: ") and said in line


def test_a_name_that_is_not_there_without_a_network(tmp_path):
    pytest.importorskip("transformers")
    offline = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        offline.pop(name, None)
    done = ffprof("estimate", "hf:some/bert", env=offline)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert "hf:some/bert is not in the hub's cache, and HF_HUB_OFFLINE is set" in line
    # The cache as the hub's client lays it out.
    kept = tmp_path / "hub" / "models--some--bert"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (kept / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (kept / "snapshots" / ("0" * 40) / "config.json").write_text(json.dumps(BERT))
    done = ffprof("estimate", "hf:some/bert", "--seq", "16", "--format", "json", env=offline)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["workload"], row["outcome"]) == ("hf:some/bert", "ok")


def test_a_size_that_cannot_be_built_is_told_with_the_reason():
    done = ffprof("estimate", "torchvision:vit_b_16", "--image-size", "100")
    assert done.returncode == 3 and "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert "it cannot be built for images of 100x100 (AssertionError: Input shape ind" in line
