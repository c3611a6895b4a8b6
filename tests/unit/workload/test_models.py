"""Models by their names: what words mean, what libraries tell, and the standard step."""

import json
import pickle
import re

import pytest
import torch
import torchvision
from records import recipe
from torch import nn
from torch.nn import functional as F

import ffprof
from ffprof.errors import FfprofError, RefusedError, UsageError
from ffprof.harness.process.failures import telling, told_of
from ffprof.records.recipe import Optimizer
from ffprof.workload.models import is_model, may_be_model, parse_model
from ffprof.workload.models.library import describe
from ffprof.workload.models.package import imported
from ffprof.workload.models.training import Network, standard_step
from ffprof.workload.models.vision import _loss
from ffprof.workload.signature import sizes_of, takes_batch
from ffprof.workload.user_file import address, addressed

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("word", "meant", "near"),
    [
        ("hf:gpt2", True, True),
        ("timm:", True, False),
        ("torchvision:vit_b_16", True, True),
        ("torchvison:resnet18", False, True),
        ("HF:gpt2", False, True),
        ("python", False, False),
        ("hf", False, False),
        ("train:it", False, False),
        ("./hf:gpt2", False, False),
        ("", False, False),
    ],
)
def test_a_word_is_a_model_by_its_library(word, meant, near):
    assert is_model(word) is meant
    assert may_be_model(word) is near


@pytest.mark.parametrize(
    ("word", "lora", "told"),
    [
        ("hf:", None, "'hf:' names no model; write one behind hf:"),
        ("hf:a\x1bb", None, "names no model"),
        ("tim:resnet50", None, "'tim:resnet50' is no model; did you mean timm?"),
        ("resnet50", None, "'resnet50' is no model; write hf:, timm:, torchvision: and its name"),
        ("timm:resnet50", 8, "--lora is about models of hf:, not of timm:; leave it out"),
        ("hf:gpt2", 0, "a rank of 0; give one of 1 to 65,536"),
        ("hf:./nowhere", None, "hf:./nowhere: there is no such file"),
        ("hf:nowhere.json", None, "hf:nowhere.json: there is no such file"),
    ],
)
def test_what_names_no_model_is_told(word, lora, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_model(word, lora)


def test_a_config_on_disk_is_known_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "small-bert"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"there is no config\.json in it"):
        parse_model("hf:./small-bert")
    # A folder that happens to be there does not hide a name of the hub.
    assert parse_model("hf:small-bert").config == ""
    (folder / "config.json").write_text("{}")
    for word in ("hf:./small-bert", "hf:small-bert", f"hf:{folder}", f"hf:{folder}/config.json"):
        found = parse_model(word, 4)
        assert (found.id, found.lora) == ("hf:small-bert", 4)
        assert found.config == str(folder / "config.json")
    (tmp_path / "other.json").write_text("{}")
    assert parse_model("hf:other.json").id == "hf:other"
    long = parse_model("hf:" + "a" * 200)
    assert (len(long.id), long.name) == (93, "a" * 200)
    assert [parse_model(word).batch for word in ("hf:a", "timm:a", "torchvision:a")] == [8, 64, 64]


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 224), ("efficientnet_b3", 300), ("vit_h_14", 224)]
)
def test_torchvision_tells_the_size_of_images(name, size):
    found = describe(parse_model(f"torchvision:{name}"))
    assert found.sizes == (("image_size", size),)
    assert found.takes_batch and found.images is None
    assert found.facts.network.startswith(f"{name} of torchvision {torchvision.__version__}, 1000")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnt18", "torchvision has no model 'resnt18'; did you mean resnet18"),
        ("raft_large", "torchvision:raft_large does not classify images, and no standard step"),
    ],
)
def test_what_torchvision_does_not_have(name, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        ffprof.model(f"torchvision:{name}")


def test_a_row_travels_to_children_and_says_what_it_is():
    one = describe(parse_model("torchvision:resnet18"))
    assert address(one) is one and addressed(one) is one
    assert pickle.loads(pickle.dumps(one)) == one
    larger = one.with_size("image_size", 320)
    assert larger.sizes == (("image_size", 320),) and type(larger) is type(one)
    with pytest.raises(UsageError, match="no size 'seq'; its build takes batch, image_size"):
        one.with_size("seq", 8)
    made = recipe(batch=16, precision="bf16")
    told = larger.heading(made, {})
    assert told.endswith(
        "1000 classes; random images: batch 16, 3x320x320, bf16, contiguous, adamw"
    )
    assert ": batch N, 3xSxS, " in larger.heading(made, {"batch": "N", "image_size": "S"})


def test_a_build_has_the_sizes_of_its_model():
    build = ffprof.model("torchvision:resnet18", batch=4, image_size=64)
    assert takes_batch(build)
    assert sizes_of(build) == (("image_size", 64),)
    with pytest.raises(UsageError, match="takes images, and has no seq; leave it out"):
        ffprof.model("torchvision:resnet18", seq=8)
    for wrong, told in (
        ({"image_size": 0}, "image-size 0 is no size"),
        ({"batch": 0}, "batch 0 is no size"),
        ({"image_size": "x"}, "image-size 'x' is no size"),
        ({"precision": "fp8"}, "precision='fp8'"),
        ({"lora": 4}, "--lora is about models of hf:"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            ffprof.model("torchvision:resnet18", **wrong)
    with pytest.raises(UsageError, match="name=3"):
        ffprof.model(3)


def by_hand(device, precision):
    model = torchvision.models.resnet18().train().to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.randn(4, 3, 64, 64, device=device)
    labels = torch.randint(0, 1000, (4,), device=device)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def step():
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            loss = F.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_standard_step_is_what_one_would_write_to_the_byte(precision):
    build = ffprof.model("torchvision:resnet18", batch=4, image_size=64, precision=precision)
    one, other = (
        ffprof.estimate(made, workspaces="all")
        for made in (build, lambda device: by_hand(device, precision))
    )
    for name in ("allocated_peak_bytes", "reserved_peak_bytes", "cold_reserved_peak_bytes"):
        assert getattr(one, name) == getattr(other, name), name


def test_a_size_that_cannot_be_is_one_line():
    build = ffprof.model("torchvision:vit_b_16", batch=1, image_size=100)
    with pytest.raises(RefusedError, match=r"cannot be built for images of 100x100 .*indivisible"):
        build(CPU)


def test_the_step_trains_on_the_processor_too():
    torch.manual_seed(0)
    step = ffprof.model("torchvision:squeezenet1_1", batch=2, image_size=32)(CPU)
    first = float(step())
    assert [float(step()) for _ in range(20)][-1] < first


def test_auxiliary_heads_are_trained():
    labels = torch.tensor([0, 1])
    heads = torch.randn(3, 2, 5)
    whole = _loss((heads[0], None, heads[1], heads[2]), labels)
    assert torch.allclose(whole, sum(F.cross_entropy(one, labels) for one in heads))
    assert torch.equal(_loss(heads[0], labels), F.cross_entropy(heads[0], labels))


def test_the_recipes_optimizer_takes_the_step():
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    network = Network(module=layer, loss=lambda: layer(torch.ones(1, 3)).sum())
    standard_step(network, CPU, "fp32", Optimizer(name="sgd", lr=0.5, weight_decay=0.0))()
    assert torch.allclose(layer.weight, before - 0.5)
    assert layer.weight.grad is None
    layer.requires_grad_(False)
    with pytest.raises(RefusedError, match="no parameters to train"):
        standard_step(network, CPU, "fp32", Optimizer())


def test_a_package_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"hf: needs no_such, which is not installed; pip inst"):
        imported("no_such", "hf:")
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('a\\nb')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be imported \(RuntimeError: a b\)"):
        imported("broken_package", "hf:")


def test_a_failure_without_a_file_is_one_line():
    one = describe(parse_model("torchvision:resnet18"))
    assert told_of(RuntimeError("a\n b"), one) == "RuntimeError: a b"
    assert told_of(KeyError(), one) == "KeyError"
    assert told_of(RefusedError("it is so", "change it"), one) == "it is so; change it"
    sent = []

    class Sender:
        send = staticmethod(sent.append)

    with pytest.raises(RuntimeError), telling(Sender, one):
        raise RuntimeError("a\nb")
    assert [(one.outcome, one.message) for one in sent] == [("crashed", "RuntimeError: a b")]


@pytest.fixture
def configured(tmp_path):
    """Writes a config.json, and says what the model is called then."""
    pytest.importorskip("transformers")

    def write(**content):
        (tmp_path / "config.json").write_text(json.dumps(content))
        return f"hf:{tmp_path}"

    return write


BERT = {
    "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 40,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 100,
    "n_positions": 48,
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 100, "dtype": "bfloat16",
}  # fmt: skip
T5 = {
    "model_type": "t5", "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2,
    "vocab_size": 100,
}  # fmt: skip
VIT = {
    "model_type": "vit", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 32, "patch_size": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 3},
        {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 1},
        {
            "architectures": ["GPT2ForSequenceClassification"], "num_labels": 3,
            "problem_type": "multi_label_classification",
        },
        {"architectures": ["GPT2LMHeadModel"], "_attn_implementation": "somebody/kernels"},
        {"architectures": ["GPT2LMHeadModel"], "return_dict": False},
    ],
)  # fmt: skip
def test_what_a_config_leaves_open_is_filled_in_and_no_kernel_of_it_is_taken(configured, more):
    word = configured(**GPT2, **more)
    torch.manual_seed(0)
    step = ffprof.model(word, batch=4, seq=16)(CPU)
    losses = [float(step()) for _ in range(30)]
    assert losses[-1] < losses[0]


def test_positions_behind_the_padding_are_fewer(configured):
    roberta = BERT | {"model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": 34}
    word = configured(**roberta, architectures=["RobertaForMaskedLM"])
    assert describe(parse_model(word)).sizes == (("seq", 32),)
    ffprof.model(word, batch=2)(CPU)()


@pytest.mark.parametrize(
    ("config", "names", "made", "size"),
    [
        (BERT, ["BertForMaskedLM"], "BertForMaskedLM", ("seq", 40)),
        (BERT, None, "BertForMaskedLM", ("seq", 40)),
        (BERT, ["BertModel"], "BertForMaskedLM", ("seq", 40)),
        (BERT, ["BertForPreTraining"], "BertForMaskedLM", ("seq", 40)),
        (BERT, ["BertForSequenceClassification"], "BertForSequenceClassification", ("seq", 40)),
        (BERT, ["BertForTokenClassification"], "BertForTokenClassification", ("seq", 40)),
        (BERT, ["BertForQuestionAnswering"], "BertForQuestionAnswering", ("seq", 40)),
        (GPT2, ["GPT2LMHeadModel"], "GPT2LMHeadModel", ("seq", 48)),
        (LLAMA, ["LlamaForCausalLM"], "LlamaForCausalLM", ("seq", 512)),
        (LLAMA, None, "LlamaForCausalLM", ("seq", 512)),
        (T5, ["T5ForConditionalGeneration"], "T5ForConditionalGeneration", ("seq", 512)),
        (VIT, ["ViTForImageClassification"], "ViTForImageClassification", ("image_size", 32)),
    ],
)
def test_the_config_says_what_is_built_and_its_step_trains(configured, config, names, made, size):
    word = configured(**config, **({"architectures": names} if names else {}))
    found = describe(parse_model(word))
    assert found.sizes == (size,)
    assert found.facts.network.startswith(f"{made} of transformers ")
    torch.manual_seed(0)
    small = {size[0]: min(size[1], 32)}
    step = ffprof.model(word, batch=2, **small)(CPU)
    losses = [float(step()) for _ in range(30)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": 1}, "names no model_type, so it is no model's of transformers"),
        ({"architecture": "resnet50"}, "write timm:resnet50"),
        (BERT | {"quantization_config": {"quant_method": "gptq"}}, "are quantized (gptq)"),
        (BERT | {"architectures": "BertModel"}, "has no list of architectures"),
        ({"model_type": "brt"}, "the model_type 'brt' of hf:"),
        ({"model_type": ["bert"]}, "names no model_type"),
        ({**BERT, "architectures": ["BertForMagic"]}, "there is no standard step for hf:"),
        ({"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]},
         "(WhisperForConditionalGeneration); write a build(device)"),
        ({"model_type": "bert", "auto_map": {"AutoConfig": "evil.Config"}, "architectures": [3]},
         "has no list of architectures"),
    ],
)  # fmt: skip
def test_a_config_that_is_no_models_is_one_line(configured, content, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        describe(parse_model(configured(**content)))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"3"])
def test_a_config_that_is_no_json_is_one_line(configured, content, tmp_path):
    word = configured()
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"is not JSON \(|is no config of a model"):
        describe(parse_model(word))


def test_a_config_that_contradicts_itself_is_refused(configured):
    build = ffprof.model(configured(**{**BERT, "num_attention_heads": 3}), seq=8)
    with pytest.raises(RefusedError, match="BertForMaskedLM cannot be built from its config"):
        build(CPU)


def test_no_more_tokens_than_positions(configured):
    for config, longest in ((BERT, 40), (GPT2, 48)):
        word = configured(**config)
        ffprof.model(word, batch=1, seq=longest)(CPU)()
        with pytest.raises(RefusedError, match=f"it has {longest} positions, and a sequence"):
            ffprof.model(word, batch=1, seq=longest + 1)(CPU)
    # Those that are computed have no end.
    ffprof.model(configured(**LLAMA, max_position_embeddings=16), batch=1, seq=32)(CPU)()
    roberta = configured(**{**BERT, "model_type": "roberta", "pad_token_id": 1})
    ffprof.model(roberta, batch=1, seq=38)(CPU)()
    with pytest.raises(RefusedError, match="it has 38 positions"):
        ffprof.model(roberta, batch=1, seq=39)(CPU)


def test_an_older_transformers_is_one_line(configured, monkeypatch):
    word = configured(**BERT)
    monkeypatch.setattr("transformers.__version__", "4.57.1")
    with pytest.raises(UsageError, match=r"hf: needs transformers 5, and this is 4\.57\.1; pip"):
        ffprof.model(word)


def test_text_has_neither_pixels_nor_channels(configured):
    word = configured(**BERT)
    with pytest.raises(UsageError, match="takes tokens, and has no image-size"):
        ffprof.model(word, image_size=32)
    with pytest.raises(UsageError, match="takes tokens, which have no channels"):
        ffprof.model(word, channels_last=True)
    told = describe(parse_model(word)).heading(recipe(batch=8), {"seq": "N"})
    assert told.endswith("random tokens: batch 8, seq N, fp32, adamw")


@pytest.mark.parametrize("config", [BERT, GPT2, LLAMA, T5, VIT])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_adapters_alone_are_trained_and_what_is_frozen_is_held_once(configured, config, precision):
    pytest.importorskip("peft")
    word = configured(**config)
    size = {"image_size" if config is VIT else "seq": 32}
    kept, trained = {}, {}

    def watched(device):
        step = ffprof.model(word, batch=2, lora=4, precision=precision, **size)(device)
        module = step.__closure__[step.__code__.co_freevars.index("network")].cell_contents.module
        for name, one in module.named_parameters():
            (trained if one.requires_grad else kept)[name] = one.dtype
        return step

    found = ffprof.estimate(watched)
    assert found.allocated_peak_bytes > 0
    assert set(trained.values()) == {torch.float32}
    assert {name for name in trained if "lora_" not in name} <= {
        name for name in trained if "classifier" in name
    }
    half = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    assert set(kept.values()) == {half[precision]}
    one = describe(parse_model(word, 4))
    assert one.method == "lora" and "LoRA of rank 4" in one.facts.network


def test_weights_are_float32_whatever_the_config_says(configured):
    found = ffprof.estimate(ffprof.model(configured(**LLAMA), batch=1, seq=8))
    parameters = found.breakdown.by_category["parameter"]
    # Two embeddings, and a layer's projections, its three of the wide part, and norms.
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64 + 2 * 32
    assert parameters == 4 * (2 * 100 * 32 + 2 * layer + 32)


def test_a_name_of_the_hub_without_a_network(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("transformers")
    from ffprof.workload.models import config

    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="is not in the hub's cache, and HF_HUB_OFFLINE is set"):
        ffprof.model("hf:nobody/nothing")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "_answers", lambda host, port: False)
    with pytest.raises(UsageError, match=r"and huggingface\.co cannot be reached; name a folder"):
        ffprof.model("hf:nobody/nothing")
    with pytest.raises(UsageError, match="is no name of the hub"):
        ffprof.model("hf:a b")
    # What is in the cache is not asked for again.
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").write_text(json.dumps(BERT))
    asked = []

    def download(name, file, **more):
        asked.append((name, file, more))
        return str(tmp_path / "there" / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert sizes_of(ffprof.model("hf:some/bert")) == (("seq", 40),)
    assert asked == [("some/bert", "config.json", {"local_files_only": True})]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("GatedRepoError", "hf:a/b is gated; log in with hf auth login"),
        ("RepositoryNotFoundError", "there is no model a/b on the hub, or it is private"),
        ("LocalEntryNotFoundError", "cannot be reached"),
        ("RemoteEntryNotFoundError", "hf:a/b has no config.json"),
        ("OSError", "the config of hf:a/b: OSError: x"),
    ],
)
def test_what_the_hub_refuses_is_one_line(monkeypatch, error, told):
    hub = pytest.importorskip("huggingface_hub")
    from ffprof.workload.models import config

    kind = getattr(hub.errors, error, OSError)
    made = kind.__new__(kind)
    made.args = ("x",)

    def download(name, file, local_files_only=False):
        raise OSError("not here") if local_files_only else made

    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "_answers", lambda host, port: True)
    with pytest.raises(FfprofError, match=re.escape(told)):
        config._of_hub("a/b")


def test_timm_tells_size_and_classes():
    pytest.importorskip("timm")
    found = describe(parse_model("timm:vit_tiny_patch16_224"))
    assert found.sizes == (("image_size", 224),)
    assert "vit_tiny_patch16_224 of timm " in found.facts.network
    step = ffprof.model("timm:vit_tiny_patch16_224", batch=2, image_size=32)(CPU)
    first = float(step())
    assert [float(step()) for _ in range(10)][-1] < first
    assert describe(parse_model("timm:resnet18.a1_in1k")).sizes == (("image_size", 224),)
    for wrong, told in (
        ("resnt50", "timm has no model 'resnt50'; did you mean resnet50"),
        ("hf-hub:some/one", "timm has no model"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            ffprof.model(f"timm:{wrong}")
