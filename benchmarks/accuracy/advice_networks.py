"""The networks of advice.py: a training step of each that an 8 GB card does not hold as it is.

Sizes are those of the published networks, without their weights. Of two, LoRA of rank 16 is
trained beside what is frozen. BERT, GPT-2 and Llama are those of transformers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANK = 16


class Lora(nn.Module):
    """A linear layer that is frozen, and what is trained beside it, in the same type."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        kind = base.weight.dtype
        self.base = base
        self.down = nn.Linear(base.in_features, RANK, bias=False, dtype=kind)
        self.up = nn.Linear(RANK, base.out_features, bias=False, dtype=kind)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The result."""
        out: Tensor = self.base(x) + self.up(self.down(x))
        return out


def with_lora(model: nn.Module, *names: str) -> nn.Module:
    """The model with everything frozen but LoRA on the linear layers of these names."""
    model.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in names and isinstance(child, nn.Linear):
                setattr(module, name, Lora(child))
    return model


class Residual(nn.Module):
    """Two convolutions, with the time of the noise between them."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, inside), nn.GroupNorm(32, out)
        self.conv1 = nn.Conv2d(inside, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.time = nn.Linear(1280, out)
        self.skip = nn.Conv2d(inside, out, 1) if inside != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """The result."""
        y = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        out: Tensor = self.skip(x) + self.conv2(F.silu(self.norm2(y)))
        return out


class Attention(nn.Module):
    """Eight heads that look at the image itself, or at the words."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """The result."""
        parts = (self.to_q(x), self.to_k(context), self.to_v(context))
        q, k, v = (one.unflatten(-1, (8, -1)).transpose(1, 2) for one in parts)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.to_out(y)
        return out


class Transformer(nn.Module):
    """Attention to the image and to the words, and a gated feed-forward part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.into = nn.GroupNorm(32, width), nn.Conv2d(width, width, 1)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.image, self.words = Attention(width, width), Attention(width, 768)
        self.grow, self.shrink = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)
        self.outof = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """The result."""
        y = self.into(self.norm(x)).flatten(2).transpose(1, 2)
        z = self.norms[0](y)
        y = y + self.image(z, z)
        y = y + self.words(self.norms[1](y), words)
        value, gate = self.grow(self.norms[2](y)).chunk(2, dim=-1)
        y = y + self.shrink(value * F.gelu(gate))
        out: Tensor = x + self.outof(y.transpose(1, 2).unflatten(2, x.shape[2:]))
        return out


class Stage(nn.Module):
    """A residual part, with attention behind it, half the size before or twice the size after."""

    def __init__(self, inside: int, out: int, attends: bool, resize: str = "") -> None:
        super().__init__()
        self.halves = nn.Conv2d(inside, inside, 3, 2, padding=1) if resize == "halves" else None
        self.residual = Residual(inside, out)
        self.attention = Transformer(out) if attends else None
        self.doubles = nn.Conv2d(out, out, 3, padding=1) if resize == "doubles" else None

    def forward(self, x: Tensor, time: Tensor, words: Tensor) -> Tensor:
        """The result."""
        x = self.residual(x if self.halves is None else self.halves(x), time)
        if self.attention is not None:
            x = self.attention(x, words)
        return x if self.doubles is None else self.doubles(F.interpolate(x, scale_factor=2.0))


class UNet(nn.Module):
    """The shape of Stable Diffusion's network: 64 x 64 latents, 77 words of 768 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.time = nn.Conv2d(4, 320, 3, padding=1), nn.Linear(320, 1280)
        widths, inside = (320, 640, 1280, 1280), 320
        down, up = [], []
        for level, width in enumerate(widths):
            resize = "halves" if level else ""
            down += [Stage(inside, width, level < 3, resize), Stage(width, width, level < 3)]
            inside = width
        for level, width in reversed(list(enumerate(widths))):
            resize = "doubles" if level else ""
            up += [
                Stage(inside + width, width, level < 3),
                Stage(width + width, width, level < 3, resize),
            ]
            inside = width
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.middle = nn.ModuleList([Stage(1280, 1280, True), Stage(1280, 1280, False)])
        self.norm, self.last = nn.GroupNorm(32, 320), nn.Conv2d(320, 4, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, words: Tensor) -> Tensor:
        """The result."""
        angles = time[:, None] * torch.exp(torch.arange(160, device=x.device) * -0.0576)
        embedded = self.time(torch.cat([angles.cos(), angles.sin()], dim=-1))
        x, kept = self.first(x), []
        for stage in self.down:
            x = stage(x, embedded, words)
            kept.append(x)
        for stage in self.middle:
            x = stage(x, embedded, words)
        for stage in self.up:
            x = stage(torch.cat([x, kept.pop()], dim=1), embedded, words)
        out: Tensor = self.last(F.silu(self.norm(x)))
        return out


def _unet() -> nn.Module:
    return with_lora(UNet(), "to_q", "to_k", "to_v", "to_out")


def _vit() -> nn.Module:
    from torchvision.models import vit_b_16

    made: nn.Module = vit_b_16()
    return made


def _resnet() -> nn.Module:
    from torchvision.models import resnet50

    made: nn.Module = resnet50()
    return made


def _bert() -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    made: nn.Module = BertForMaskedLM(BertConfig())
    return made


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    made: nn.Module = GPT2LMHeadModel(GPT2Config())
    return made


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 8192, "tie_word_embeddings": True,
    }  # fmt: skip
    made = LlamaForCausalLM._from_config(LlamaConfig(**sizes), dtype=torch.bfloat16)
    return with_lora(made, "q_proj", "k_proj", "v_proj", "o_proj")


Inputs = tuple[Tensor, ...]


def _images(batch: int, device: torch.device) -> Inputs:
    images = torch.randn(batch, 3, 224, 224, device=device)
    return images, torch.randint(0, 1000, (batch,), device=device)


def _latents(batch: int, device: torch.device) -> Inputs:
    latents = torch.randn(batch, 4, 64, 64, device=device)
    words = torch.randn(batch, 77, 768, device=device)
    return latents, torch.rand(batch, device=device), words, torch.randn_like(latents)


def _tokens(length: int) -> Callable[[int, torch.device], Inputs]:
    return lambda batch, device: (torch.randint(0, 1000, (batch, length), device=device),)


def _classified(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    return F.cross_entropy(model(images), classes)


def _denoised(model: nn.Module, x: Tensor, time: Tensor, words: Tensor, noise: Tensor) -> Tensor:
    return F.mse_loss(model(x, time, words), noise)


def _said(model: nn.Module, tokens: Tensor) -> Tensor:
    loss: Tensor = model(input_ids=tokens, labels=tokens).loss
    return loss


@dataclass(frozen=True, kw_only=True)
class Network:
    """How it is made on the host, what it is given, and its loss; ``needs`` is a package."""

    name: str
    batch: int
    made: Callable[[], nn.Module]
    inputs: Callable[[int, torch.device], Inputs]
    loss: Callable[..., Tensor]
    needs: str = "torch"

    @property
    def missing(self) -> bool:
        """Whether it cannot be made here."""
        return importlib.util.find_spec(self.needs) is None


NETWORKS = (
    Network(name="BERT-base, 512 tokens, fp32", batch=16, made=_bert, inputs=_tokens(512),
            loss=_said, needs="transformers"),
    Network(name="GPT-2, 1024 tokens, fp32", batch=8, made=_gpt2, inputs=_tokens(1024),
            loss=_said, needs="transformers"),
    Network(name="ViT-B/16, fp32", batch=64, made=_vit, inputs=_images, loss=_classified,
            needs="torchvision"),
    Network(name="ResNet-50, fp32", batch=128, made=_resnet, inputs=_images, loss=_classified,
            needs="torchvision"),
    Network(name="U-Net with LoRA, fp32", batch=4, made=_unet, inputs=_latents, loss=_denoised),
    Network(name="Llama-1B with LoRA, 1024 tokens, bf16", batch=4, made=_llama,
            inputs=_tokens(1024), loss=_said, needs="transformers"),
)  # fmt: skip
