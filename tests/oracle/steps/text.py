"""Transformers, with and without masks, embeddings and their losses."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from steps.registry import ADAMW, PLAIN_SGD, add, normal, squares, trained, whole

WORDS = 4000


class Block(nn.Module):
    """Attention and a feed-forward part, each after a norm and added to its input."""

    def __init__(self, width, heads, drop, norm):
        super().__init__()
        self.heads, self.drop = heads, drop
        self.before, self.between = norm(width), norm(width)
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x, mask=None, causal=True):
        batch, length, width = x.shape
        parts = self.inward(self.before(x)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        met = F.scaled_dot_product_attention(
            query, key, value, mask, self.drop, is_causal=causal and mask is None
        )
        met = self.outward(met.transpose(1, 2).reshape(batch, length, width))
        x = x + F.dropout(met, self.drop)
        return x + F.dropout(self.wide(self.between(x)), self.drop)


class Language(nn.Module):
    """Words in, the next word out."""

    def __init__(
        self, width=256, heads=4, layers=3, length=128, drop=0.1, norm=nn.LayerNorm, mask="",
        tied=False, again=None, words=WORDS,
    ):  # fmt: skip
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, drop, norm) for _ in range(layers))
        self.norm, self.head = norm(width), nn.Linear(width, words, bias=False)
        if tied:
            self.head.weight = self.words.weight
        self.drop, self.mask, self.again = drop, mask, again

    def features(self, ids):
        batch, length = ids.shape
        x = self.words(ids) + self.places(torch.arange(length, device=ids.device))
        x = F.dropout(x, self.drop)
        mask = None
        if self.mask == "bool":
            mask = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        elif self.mask == "float":
            mask = torch.full((length, length), -1e9, device=ids.device).triu(1)
            if torch.is_autocast_enabled(ids.device.type):
                mask = mask.to(torch.get_autocast_dtype(ids.device.type))
        elif self.mask == "padding":
            mask = (ids != 0)[:, None, None, :].expand(batch, 1, length, length)
        for block in self.blocks:
            if self.again is None:
                x = block(x, mask, causal=self.mask != "both ways")
            else:
                x = checkpoint(block, x, mask, use_reentrant=self.again)
        return self.norm(x)

    def forward(self, ids):
        return self.head(self.features(ids))


def _next(net, ids):
    out = net(ids[:, :-1])
    return F.cross_entropy(out.reshape(-1, out.shape[-1]), ids[:, 1:].reshape(-1))


def _sentences(batch=8, length=128):
    return lambda: [whole(WORDS, batch, length + 1)]


def _language(precision=None, loss=_next, batch=8, parts=1, optimizer=ADAMW, clip=None, **kind):
    length = kind.get("length", 128)
    return trained(
        partial(Language, **kind), _sentences(batch, length), loss, precision=precision,
        parts=parts, optimizer=optimizer, clip=clip,
    )  # fmt: skip


for _precision in ("", " bf16", " fp16"):
    _how = {"precision": _precision.strip()}
    add(f"gpt{_precision}", _language(**_how))
for _precision in ("", " bf16"):
    _how = {"precision": _precision.strip()}
    add(f"gpt without dropout{_precision}", _language(**_how, drop=0.0))
    add(f"gpt, boolean mask{_precision}", _language(**_how, mask="bool"))
    add(f"gpt, added mask{_precision}", _language(**_how, mask="float"))
    add(f"bert-like, padding mask{_precision}", _language(**_how, mask="padding"))
    add(f"bert-like, no mask{_precision}", _language(**_how, mask="both ways"))
    add(f"gpt, tied weights{_precision}", _language(**_how, tied=True))
    add(f"gpt, rms_norm{_precision}", _language(**_how, norm=nn.RMSNorm))
    add(f"gpt checkpointed{_precision}", _language(**_how, again=False))
add("gpt, odd sizes", _language(length=125, width=192, heads=6))
add("gpt bf16, odd sizes", _language("bf16", length=125, width=200, heads=5))
add("gpt bf16, heads of 160", _language("bf16", width=320, heads=2))
add("gpt, heads of 128", _language(width=256, heads=2))
add("gpt checkpointed by reentry", _language(again=True))
add("gpt accumulated", _language(parts=2))
add("gpt bf16 accumulated", _language("bf16", parts=2))
add("gpt clipped", _language(clip=1.0))
add("gpt bf16 fused", _language("bf16", optimizer=partial(torch.optim.AdamW, fused=True)))
add("gpt SGD", _language(optimizer=PLAIN_SGD))


def _plain_products(net, ids):
    with sdpa_kernel(SDPBackend.MATH):
        return _next(net, ids)


add("gpt, plain attention", _language(loss=_plain_products))
add("gpt bf16, plain attention", _language("bf16", loss=_plain_products))


def _in_chunks(again):
    def loss(net, ids):
        features = net.features(ids[:, :-1]).flatten(0, 1)
        wanted = ids[:, 1:].flatten()

        def part(x, y):
            return F.cross_entropy(net.head(x), y, reduction="sum")

        total = features.new_zeros(())
        for x, y in zip(features.chunk(4), wanted.chunk(4), strict=True):
            total = total + (checkpoint(part, x, y, use_reentrant=False) if again else part(x, y))
        return total / wanted.numel()

    return loss


add("gpt, loss in chunks", _language(loss=_in_chunks(False)))
add("gpt, loss in checkpointed chunks", _language(loss=_in_chunks(True)))
add("gpt bf16, loss in checkpointed chunks", _language("bf16", loss=_in_chunks(True)))

_LAYER = partial(nn.TransformerEncoderLayer, 256, 4, 512, batch_first=True)
_DEEP = normal((8, 128, 256), (8, 128, 256))


def _towards(net, x, y):
    return F.mse_loss(net(x), y)


add("encoder layer", trained(_LAYER, _DEEP, _towards))
add("encoder layer bf16", trained(_LAYER, _DEEP, _towards, precision="bf16"))
add("encoder layer, norm first", trained(partial(_LAYER, norm_first=True), _DEEP, _towards))
add("encoder layer, sequence first",
    trained(partial(nn.TransformerEncoderLayer, 256, 4, 512), _DEEP, _towards))  # fmt: skip
add("encoder layer, padding",
    trained(_LAYER, lambda: [torch.randn(8, 128, 256), torch.ones(8, 128)],
            lambda m, x, mask: m(x, src_key_padding_mask=mask == 0).square().mean()))  # fmt: skip
add("encoder and decoder",
    trained(lambda: nn.Transformer(128, 4, 1, 1, 256, batch_first=True),
            normal((8, 64, 128), (8, 50, 128)), squares))  # fmt: skip
add("decoder layer, causal mask",
    trained(lambda: nn.TransformerDecoderLayer(256, 4, 512, batch_first=True), _DEEP,
            lambda m, x, y: m(x, y, tgt_mask=nn.Transformer.generate_square_subsequent_mask(
                128, device=x.device), tgt_is_causal=True).square().mean()))  # fmt: skip
_HEADS = partial(nn.MultiheadAttention, 256, 4, batch_first=True)
_ALONE = normal((8, 128, 256), (8, 128, 256))
add("attention",
    trained(_HEADS, _ALONE,
            lambda m, x, y: F.mse_loss(m(x, x, x, need_weights=False)[0], y)))  # fmt: skip
add("attention that returns weights",
    trained(_HEADS, _ALONE, lambda m, x, y: F.mse_loss(m(x, x, x)[0], y)))  # fmt: skip
add("attention that returns weights, dropout",
    trained(partial(_HEADS, dropout=0.1), _ALONE,
            lambda m, x, y: F.mse_loss(m(x, x, x)[0], y)))  # fmt: skip
add("attention that returns weights bf16",
    trained(_HEADS, _ALONE, lambda m, x, y: F.mse_loss(m(x, x, x)[0], y),
            precision="bf16"))  # fmt: skip


class Grouped(nn.Module):
    """Fewer heads of keys and values than of queries."""

    def __init__(self, width=256, heads=8, groups=2):
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.pair = nn.Linear(width, 2 * groups * self.size, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x):
        batch, length, _ = x.shape
        query = self.query(x).view(batch, length, self.heads, -1).transpose(1, 2)
        pair = self.pair(x).view(batch, length, 2, self.groups, -1).permute(2, 0, 3, 1, 4)
        key, value = (t.repeat_interleave(self.heads // self.groups, 1) for t in pair)
        met = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(met.transpose(1, 2).flatten(2))


add("grouped heads", trained(Grouped, normal((8, 128, 256)), squares))
add("grouped heads bf16", trained(Grouped, normal((8, 128, 256)), squares, precision="bf16"))

# Embeddings, with few words, many words and many more uses than words.
add(
    "embedding", trained(lambda: nn.Embedding(20000, 128), lambda: [whole(20000, 32, 128)], squares)
)
add("embedding, padding",
    trained(lambda: nn.Embedding(20000, 128, padding_idx=0), lambda: [whole(20000, 32, 128)],
            squares))  # fmt: skip
add("embedding, few words",
    trained(lambda: nn.Embedding(100, 64), lambda: [whole(100, 64, 256)], squares))  # fmt: skip
add("embedding, few uses",
    trained(lambda: nn.Embedding(50000, 64), lambda: [whole(50000, 16, 8)], squares))  # fmt: skip
add("embedding, norm at most 1",
    trained(lambda: nn.Embedding(1000, 64, max_norm=1.0), lambda: [whole(1000, 16, 32)],
            squares))  # fmt: skip
for _mode in ("mean", "sum", "max"):
    add(f"embedding bag, {_mode}",
        trained(lambda mode=_mode: nn.Sequential(nn.EmbeddingBag(20000, 64, mode=mode),
                                                 nn.Linear(64, 10)),
                lambda: [whole(20000, 128, 32), whole(10, 128)],
                lambda m, x, y: F.cross_entropy(m(x), y)))  # fmt: skip
