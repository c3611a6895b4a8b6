"""Models of transformers, built from a config without weights, whole or with adapters of peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ffprof.errors import RefusedError, UsageError
from ffprof.records.recipe import Precision
from ffprof.workload.models.config import read_config
from ffprof.workload.models.description import ModelFacts, Takes
from ffprof.workload.models.name import ModelName
from ffprof.workload.models.package import imported, told
from ffprof.workload.models.training import HALF, Network

_SEQ = 512
_IMAGE_SIZE = 224
# Types whose positions begin behind the padding (create_position_ids_from_input_ids).
_FROM_PADDING = (
    "roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "data2vec-text", "mpnet", "lilt",
    "longformer", "roberta-prelayernorm", "xmod", "ibert", "esm",
)  # fmt: skip
_OWN = "write a build(device) for it in a --workload-file"
# The query and value projections, as models call them whose type peft has no default for.
_PROJECTIONS = (
    ("q_proj", "v_proj"), ("query", "value"), ("q_lin", "v_lin"), ("q", "v"), ("qkv_proj",),
    ("query_key_value",), ("qkv",), ("Wqkv",), ("c_attn",),
)  # fmt: skip
_OTHER_INPUTS = ("vision", "visual", "image", "audio")  # parts whose positions are not of tokens
_HEADS = ("classifier", "score", "qa_outputs")  # new in a model that is tuned, so trained whole


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What a class of models is for: ``mapping`` has its class by the type of a config."""

    auto: str
    mapping: str
    takes: Takes = "tokens"
    peft: str | None = None


# In the order in which a type that has several, and names none of them, is meant.
_TASKS = (
    _Task(auto="Seq2SeqLM", mapping="SEQ_TO_SEQ_CAUSAL_LM", peft="SEQ_2_SEQ_LM"),
    _Task(auto="MaskedLM", mapping="MASKED_LM"),
    _Task(auto="CausalLM", mapping="CAUSAL_LM", peft="CAUSAL_LM"),
    _Task(auto="ImageClassification", mapping="IMAGE_CLASSIFICATION", takes="images"),
    _Task(auto="SequenceClassification", mapping="SEQUENCE_CLASSIFICATION", peft="SEQ_CLS"),
    _Task(auto="TokenClassification", mapping="TOKEN_CLASSIFICATION", peft="TOKEN_CLS"),
    _Task(auto="QuestionAnswering", mapping="QUESTION_ANSWERING", peft="QUESTION_ANS"),
)
# Classes without a task of their own: what their type is for is meant.
_BARE = ("Model", "PreTrainedModel", "ForPreTraining", "LMHeadModel")


def facts_of(model: ModelName) -> ModelFacts:
    """What the config tells of a model; nothing is built.

    Raises:
        UsageError: it cannot be read, or there is no standard step for what it is for.
    """
    config = read_config(model)
    task, named = _task_of(model, config)
    version = imported("transformers", "hf:").__version__
    lora = ""
    if model.lora:
        imported("peft", "--lora")
        lora = f", LoRA of rank {model.lora}"
    network = f"{named} of transformers {version}{lora}"
    if task.takes == "images":
        channels = getattr(config, "num_channels", 3)
        return ModelFacts(takes="images", size=_side(config), channels=channels, network=network)
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    size = min(_SEQ, longest) if isinstance(longest, int) and longest > 0 else _SEQ
    if task.auto != "Seq2SeqLM" and config.model_type in _FROM_PADDING and longest:
        size = max(1, min(size, longest - (config.pad_token_id or 0) - 1))
    return ModelFacts(takes="tokens", size=size, network=network)


def _side(config: Any) -> int:
    vision = getattr(config, "vision_config", None)
    side = getattr(config, "image_size", getattr(vision, "image_size", _IMAGE_SIZE))
    side = side[0] if isinstance(side, list | tuple) and side else side
    return side if isinstance(side, int) and side > 0 else _IMAGE_SIZE


def _task_of(model: ModelName, config: Any) -> tuple[_Task, str]:
    """What a config's model is for, and the class that is built.

    The class that the config names decides. Where it names none, or one without a task, such as
    ``BertModel``, it is the first that there is for the type of the config.

    Raises:
        UsageError: there is no standard step for it.
    """
    found = _classes(config.model_type)
    listed = getattr(config, "architectures", None) or ()
    if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
        raise UsageError(f"the config of {model.id} has no list of architectures", "correct it")
    names = [name for name in listed if name]
    for name in names:
        for task, classes in found:
            if name in classes:
                return task, name
    if found and all(isinstance(name, str) and name.endswith(_BARE) for name in names):
        task, classes = found[0]
        return task, classes[0]
    listed = f" ({', '.join(map(str, names))})" if names else ""
    raise UsageError(f"there is no standard step for {model.id}{listed}", _OWN)


def _classes(kind: str) -> list[tuple[_Task, tuple[str, ...]]]:
    """The classes for a type of config, by what they are for."""
    auto = imported("transformers", "hf:").models.auto.modeling_auto
    found = []
    for task in _TASKS:
        known = getattr(auto, f"MODEL_FOR_{task.mapping}_MAPPING_NAMES").get(kind)
        if known:
            found.append((task, (known,) if isinstance(known, str) else tuple(known)))
    return found


def network_of(
    model: ModelName,
    device: Any,
    batch: int,
    *,
    precision: Precision,
    channels_last: bool,
    seq: int = 0,
    image_size: int = 0,
) -> Network:
    """The model with random weights, and the loss that it computes of random data and labels.

    Weights are float32, whatever the config says. Under adapters those that are frozen are of the
    precision's type: no update of them could be lost to rounding, so that nobody keeps them in
    float32, and under autocast they would be held twice. What is trained stays float32.

    Nothing is cached for generation, as in the Trainer of transformers, and no token is masked.

    Raises:
        RefusedError: it cannot be built, or not of that size.
    """
    config = read_config(model)
    task, name = _task_of(model, config)
    for one in (config, config.get_text_config()):
        if getattr(one, "use_cache", False):
            one.use_cache = False
    for one in (config, getattr(config, "vision_config", None)):
        if image_size and isinstance(getattr(one, "image_size", None), int | list | tuple):
            one.image_size = image_size  # type: ignore[union-attr]
    config.return_dict = True
    _complete(task, config)
    if task.auto == "Seq2SeqLM" and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = config.pad_token_id or 0
    transformers = imported("transformers", "hf:")
    kept = HALF.get(precision, torch.float32) if model.lora else torch.float32
    try:
        auto: Any = getattr(transformers, f"AutoModelFor{task.auto}")
        module: Any = auto.from_config(config, dtype=kept)
    except Exception as error:
        raise RefusedError(
            f"{name} cannot be built from its config ({told(error)})",
            "correct the config",
        ) from error
    if seq:
        _check_positions(module, seq)
    if model.lora:
        module = _with_adapters(model, module, task)
    format = torch.channels_last if channels_last else torch.contiguous_format
    module.train()
    module.to(device, memory_format=format)
    data = _data(task, config, device, batch, seq or image_size, format)

    def loss() -> Tensor:
        found: Tensor = module(**data).loss
        return found

    return Network(module=module, loss=loss)


def _complete(task: _Task, config: Any) -> None:
    """What a config leaves open and a step with random data needs: which token is padding, say."""
    text = config.get_text_config()
    classifies = task.auto == "SequenceClassification"
    for one in (config, text) if classifies or task.auto == "Seq2SeqLM" else ():
        if getattr(one, "pad_token_id", None) is None:
            end = getattr(one, "eos_token_id", None)
            one.pad_token_id = end if isinstance(end, int) else 0
    if classifies and config.problem_type is None:
        several = int(config.num_labels) > 1  # as the library finds out by the type of labels
        config.problem_type = "single_label_classification" if several else "regression"


def _data(
    task: _Task, config: Any, device: Any, batch: int, size: int, format: torch.memory_format
) -> dict[str, Tensor]:
    labels = int(config.num_labels)
    if task.takes == "images":
        shape = (batch, getattr(config, "num_channels", 3), size, size)
        images = torch.randn(shape, device=device).contiguous(memory_format=format)
        return {
            "pixel_values": images,
            "labels": torch.randint(0, labels, (batch,), device=device),
        }

    def drawn(most: int, *shape: int) -> Tensor:
        return torch.randint(0, most, shape, device=device)

    vocabulary = int(config.get_text_config().vocab_size)
    fed = {"input_ids": drawn(vocabulary, batch, size)}
    if task.auto == "QuestionAnswering":
        ends = {f"{end}_positions": drawn(size, batch) for end in ("start", "end")}
        return fed | ends
    if task.auto == "SequenceClassification":
        if config.problem_type == "multi_label_classification":
            return fed | {"labels": drawn(2, batch, labels).float()}
        kinds = drawn(labels, batch)
        return fed | {"labels": kinds.float() if config.problem_type == "regression" else kinds}
    most = labels if task.auto == "TokenClassification" else vocabulary
    return fed | {"labels": drawn(most, batch, size)}


def _check_positions(module: nn.Module, seq: int) -> None:
    """Refuse more tokens than there are embeddings of positions, where these are learned.

    Raises:
        RefusedError: there are more.
    """
    for name, part in module.named_modules():
        last = name.rsplit(".", 1)[-1]
        if not isinstance(part, nn.Embedding) or not ("position" in last or last == "wpe"):
            continue
        if any(word in name for word in _OTHER_INPUTS):
            continue
        # Some count from behind their padding, others from a number of their own.
        padding = 0 if part.padding_idx is None else part.padding_idx + 1
        longest = part.num_embeddings - int(getattr(part, "offset", padding))
        if seq > longest:
            raise RefusedError(
                f"it has {longest:,} positions, and a sequence of {seq:,} tokens needs more",
                f"ask for a seq of at most {longest}",
            )


def _with_adapters(model: ModelName, module: Any, task: _Task) -> Any:
    """The model with adapters on attention, by peft's defaults for its type where it has some.

    Raises:
        RefusedError: there are no projections that are known, or peft refuses them.
    """
    peft = imported("peft", "--lora")
    known = peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    last = {name.rsplit(".", 1)[-1] for name, _ in module.named_modules()}
    targets: Any = known.get(module.config.model_type)
    if targets is None:
        targets = next((list(some) for some in _PROJECTIONS if last.issuperset(some)), None)
    if targets is None:
        raise RefusedError("its attention projections are not known", "leave --lora out")
    heads = [name for name in _HEADS if name in last] if task.takes == "images" else None
    try:
        made = peft.get_peft_model(
            module,
            peft.LoraConfig(
                r=model.lora, task_type=task.peft, target_modules=targets, modules_to_save=heads
            ),
        )
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise RefusedError(f"peft refuses it ({told(error)})", "leave --lora out") from error
    for one in made.parameters():
        if one.requires_grad:
            one.data = one.data.float()
    return made
