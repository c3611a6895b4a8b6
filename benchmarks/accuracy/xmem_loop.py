"""The training loop of xMem's measurements (github.com/Stone-ResearchLife/xMem), in our own words.

    python xmem_loop.py MODEL OPTIMIZER BATCH ZERO_GRAD

Four iterations in fp32 without autotuning, learning rate 0.001. Convolutional nets are
torchvision's without weights on images of 86x86; language models are transformers' with the sizes
that their authors published, on 128 tokens, which are the labels, too. ZERO_GRAD says where
gradients are set to None: 0 before the batch is moved, 1 after forward, 2 at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

ITERATIONS = 4
TOKENS = 128
# Sizes of the models' published configurations, where they are not the class's own defaults.
T5: dict[str, object] = {"decoder_start_token_id": 0}
LANGUAGE: dict[str, tuple[str, dict[str, object]]] = {
    "openai-community/gpt2": ("gpt2", {}),
    "distilbert/distilgpt2": ("gpt2", {"n_layer": 6}),
    "cerebras/Cerebras-GPT-111M": (
        "gpt2",
        {
            "n_embd": 768,
            "n_head": 12,
            "n_inner": 3072,
            "n_layer": 10,
            "n_positions": 2048,
            "activation_function": "gelu",
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
        },
    ),
    "EleutherAI/gpt-neo-125M": (
        "gpt_neo",
        {
            "hidden_size": 768,
            "num_layers": 12,
            "num_heads": 12,
            "attention_types": [[["global", "local"], 6]],
            "embed_dropout": 0.0,
            "resid_dropout": 0.0,
            "attention_dropout": 0.0,
        },
    ),
    "facebook/opt-125m": ("opt", {}),
    "facebook/opt-350m": (
        "opt",
        {
            "hidden_size": 1024,
            "ffn_dim": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "word_embed_proj_dim": 512,
            "do_layer_norm_before": False,
        },
    ),
    "T5-small": ("t5", T5),
    "t5-base": (
        "t5",
        {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
        | {"decoder_start_token_id": 0},
    ),
}
# torchvision's name and the number of classes.
IMAGES: dict[str, tuple[str, int]] = {
    "ConvNeXtBase": ("convnext_base", 1000),
    "ConvNeXtTiny": ("convnext_tiny", 1000),
    "MnasNet": ("mnasnet1_0", 10),
    "MobeNetV3Large": ("mobilenet_v3_large", 10),
    "MobeNetV3Small": ("mobilenet_v3_small", 10),
    "MobileNetV2": ("mobilenet_v2", 1000),
    "RegNetX400MF": ("regnet_x_400mf", 1000),
    "RegNetY400MF": ("regnet_y_400mf", 1000),
    "ResNet101": ("resnet101", 1000),
    "ResNet152": ("resnet152", 1000),
    "VGG16": ("vgg16", 1000),
    "VGG19": ("vgg19", 1000),
}


def language_model(name: str) -> nn.Module:
    """A model with the sizes of ``name`` and no weights but random ones."""
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
    )

    kind, sizes = LANGUAGE[name]
    config = AutoConfig.for_model(kind, **sizes)
    made = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    return made.from_config(config)


def image_model(name: str) -> nn.Module:
    """torchvision's model."""
    import torchvision

    found, classes = IMAGES[name]
    return torchvision.models.get_model(found, weights=None, num_classes=classes)


def main(name: str, optimizer_name: str, batch: int, zero_grad: int) -> None:
    """Train for four iterations."""
    is_language = name in LANGUAGE
    model = language_model(name) if is_language else image_model(name)
    model.to("cuda").train()
    optimizer = getattr(torch.optim, optimizer_name)(model.parameters(), lr=0.001)

    def text() -> tuple[dict[str, Tensor], Tensor | None]:
        tokens = torch.randint(0, 1000, (batch, TOKENS))
        mask = torch.ones_like(tokens)
        return {"input_ids": tokens, "attention_mask": mask, "labels": tokens.clone()}, None

    def images() -> tuple[dict[str, Tensor], Tensor | None]:
        return {"x": torch.zeros(batch, 3, 86, 86)}, torch.zeros(batch, dtype=torch.long)

    loader: Callable[[], tuple[dict[str, Tensor], Tensor | None]] = text if is_language else images
    for _ in range(ITERATIONS):
        inputs, target = loader()
        if zero_grad == 0:
            optimizer.zero_grad()
        inputs = {key: value.to("cuda") for key, value in inputs.items()}
        target = None if target is None else target.to("cuda")
        if is_language:
            outputs = model(**inputs)
            loss = outputs.loss
        else:
            outputs = model(inputs["x"])
            loss = nn.functional.cross_entropy(outputs, target)
        if zero_grad == 1:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if zero_grad == 2:
            optimizer.zero_grad()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
