"""Steps of one family of operators each, around one linear layer or convolution."""

import torch
import torch.nn.functional as F
from torch import nn

from steps.registry import add, normal, squares, trained, whole


def _linear(data, loss, width=256, **how):
    return trained(lambda: nn.Linear(width, width), data, loss, **how)


_ROWS = normal((2048, 256))


def _each(*functions):
    return lambda m, x: sum(function(m(x)).mean() for function in functions)


_MLP = lambda: nn.Sequential(  # noqa: E731
    nn.Linear(512, 1024), nn.BatchNorm1d(1024), nn.ReLU(), nn.Dropout(0.5),
    nn.Linear(1024, 1024), nn.GELU(), nn.Linear(1024, 500),
)  # fmt: skip
_LABELLED = lambda: [torch.randn(1024, 512), whole(500, 1024)]  # noqa: E731


def _entropy(m, x, y):
    return F.cross_entropy(m(x), y)


add("perceptron", trained(_MLP, _LABELLED, _entropy))
add("perceptron bf16", trained(_MLP, _LABELLED, _entropy, precision="bf16"))
add("perceptron fp16", trained(_MLP, _LABELLED, _entropy, precision="fp16"))
_RMS = lambda: nn.Sequential(nn.Linear(256, 256), nn.RMSNorm(256), nn.SiLU())  # noqa: E731
add("rms_norm", trained(_RMS, _ROWS, squares))
add("rms_norm bf16", trained(_RMS, _ROWS, squares, precision="bf16"))
_NORM = lambda: nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256))  # noqa: E731
add("layer_norm", trained(_NORM, _ROWS, squares))
add("layer_norm bf16", trained(_NORM, _ROWS, squares, precision="bf16"))
add("layer_norm on permuted input",
    trained(lambda: nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 256)),
            normal((32, 128, 256)), lambda m, x: squares(m, x.transpose(0, 1))))  # fmt: skip
add("layer_norm over channels last",
    trained(lambda: nn.Sequential(nn.Conv2d(3, 64, 1), nn.LayerNorm(64)), normal((8, 3, 48, 48)),
            lambda m, x: m[1](m[0](x).permute(0, 2, 3, 1)).square().mean()))  # fmt: skip
add("group and instance norm",
    trained(lambda: nn.Sequential(nn.Conv2d(3, 64, 1), nn.GroupNorm(8, 64), nn.ReLU(),
                                  nn.InstanceNorm2d(64, affine=True)),
            normal((8, 3, 48, 48)), squares))  # fmt: skip
add("local response and weight norm",
    trained(lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 32, 3)),
                                  nn.LocalResponseNorm(5)),
            normal((8, 3, 48, 48)), squares))  # fmt: skip
add("spectral norm",
    trained(lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(256, 256)), _ROWS,
            squares))  # fmt: skip
_ACTIVATIONS = (
    F.relu, F.gelu, F.silu, F.mish, F.elu, F.softplus, F.logsigmoid, F.hardswish, F.glu, F.celu,
    F.selu, torch.tanh, F.relu6, F.leaky_relu, F.hardtanh, torch.sigmoid, F.softsign, F.tanhshrink,
)  # fmt: skip
add("activations", _linear(_ROWS, _each(*_ACTIVATIONS)))
add("activations bf16", _linear(_ROWS, _each(*_ACTIVATIONS), precision="bf16"))
add("activations that draw",
    trained(lambda: nn.Sequential(nn.Linear(256, 256), nn.RReLU(), nn.PReLU(256)), _ROWS,
            squares))  # fmt: skip
add("dropout of three kinds",
    trained(lambda: nn.Sequential(nn.Conv2d(3, 32, 3), nn.Dropout(0.2), nn.Dropout2d(0.2),
                                  nn.AlphaDropout(0.2)),
            normal((8, 3, 48, 48)), squares))  # fmt: skip
add("losses of two tensors",
    _linear(normal((2048, 256), (2048, 256)),
            lambda m, x, y: F.smooth_l1_loss(m(x), y) + F.huber_loss(m(x), y)
            + F.poisson_nll_loss(m(x), y) + F.l1_loss(m(x), y) + F.mse_loss(m(x), y)))  # fmt: skip
add("losses of pairs",
    _linear(normal((2048, 256), (2048, 256)),
            lambda m, x, y: F.cosine_embedding_loss(m(x), y, torch.ones(2048, device=x.device))
            + F.triplet_margin_loss(m(x), y, x)))  # fmt: skip
add("gaussian likelihood, which asks for negative variances",
    _linear(normal((2048, 256), (2048, 256)),
            lambda m, x, y: F.gaussian_nll_loss(m(x), y, torch.ones_like(y), full=True)),
    "depends on values")  # fmt: skip
add("binary entropy",
    _linear(lambda: [torch.randn(2048, 256), torch.rand(2048, 256)],
            lambda m, x, y: F.binary_cross_entropy_with_logits(m(x), y)
            + F.binary_cross_entropy(m(x).sigmoid(), y)))  # fmt: skip
add("divergence and soft labels",
    _linear(lambda: [torch.randn(2048, 256), torch.rand(2048, 256)],
            lambda m, x, y: F.kl_div(F.log_softmax(m(x), -1), y, reduction="batchmean")
            + F.cross_entropy(m(x), y.softmax(-1))))  # fmt: skip
add("weighted classes",
    _linear(lambda: [torch.randn(2048, 256), whole(256, 2048)],
            lambda m, x, y: F.nll_loss(m(x).log_softmax(-1), y)
            + F.cross_entropy(m(x), y, weight=torch.ones(256, device=x.device),
                              ignore_index=3)))  # fmt: skip
add("margin of many classes",
    _linear(lambda: [torch.randn(2048, 256), whole(256, 2048)],
            lambda m, x, y: F.multi_margin_loss(m(x), y)),
    "mixes a tensor on the CPU with one on the GPU")  # fmt: skip
add("contrast of two views",
    _linear(normal((512, 256), (512, 256)),
            lambda m, x, y: F.cross_entropy(
                F.normalize(m(x), dim=-1) @ F.normalize(m(y), dim=-1).T / 0.1,
                torch.arange(512, device=x.device))))  # fmt: skip
add("sort", _linear(_ROWS, lambda m, x: m(x).sort(dim=0)[0].square().mean()))
add("sort of the last dimension", _linear(_ROWS, lambda m, x: m(x).sort(dim=-1)[0].square().mean()))
add("topk and extremes",
    _linear(_ROWS, lambda m, x: m(x).topk(10, dim=1)[0].sum() + m(x).amax(0).sum()
            + m(x).max(1)[0].sum() + m(x).min(0)[0].mean()))  # fmt: skip
add("cumulated sums and spreads",
    _linear(_ROWS, lambda m, x: m(x).cumsum(0).mean() + m(x).logsumexp(1).sum()
            + m(x).std(0).sum() + m(x).var(1).mean() + m(x).norm(dim=0).sum()))  # fmt: skip
add("products of rows", _linear(_ROWS, lambda m, x: m(x).prod(1).mean()))
add("gather and scatter",
    _linear(lambda: [torch.randn(2048, 256), whole(2048, 4096)],
            lambda m, x, i: m(x).gather(0, i[:2048, None].expand(-1, 256)).mean()
            + m(x).index_select(0, i).sum()
            + torch.zeros(2048, 256, device=x.device).index_add(0, i[:2048], m(x)).sum()
            + torch.zeros(2048, 256, device=x.device).scatter_add(
                0, i[:2048, None].expand(-1, 256), m(x)).mean()))  # fmt: skip
add("indexing",
    _linear(lambda: [torch.randn(2048, 256), whole(2048, 4096)],
            lambda m, x, i: m(x)[i].square().mean()))  # fmt: skip
add("indexing written",
    _linear(lambda: [torch.randn(2048, 256), whole(2048, 1024)],
            lambda m, x, i: m(x).index_put((i,), torch.ones(1024, 256, device=x.device))
            .square().mean()))  # fmt: skip
add("masks",
    _linear(_ROWS, lambda m, x: m(x).masked_fill(x > 0, 0.0).mean()
            + torch.where(x > 0, m(x), x).mean() + m(x).tril().mean()
            + m(x).clamp(-1, 1).square().mean()))  # fmt: skip
add("einsum and distances",
    trained(lambda: nn.Linear(64, 64), normal((16, 128, 64)),
            lambda m, x: torch.einsum("bid,bjd->bij", m(x), m(x)).softmax(-1).square().mean()
            + torch.cdist(m(x), m(x)).mean()))  # fmt: skip
add("bilinear and outer products",
    trained(lambda: nn.Bilinear(32, 32, 32), normal((256, 32), (256, 32)), squares),
    "a bilinear layer")  # fmt: skip
add("grid_sample and bicubic",
    trained(lambda: nn.Conv2d(3, 16, 3, padding=1), normal((8, 3, 64, 64), (8, 32, 32, 2)),
            lambda m, x, g: F.grid_sample(m(x), g, align_corners=False).mean()
            + F.interpolate(m(x), scale_factor=2, mode="bicubic").mean()
            + F.pixel_shuffle(m(x), 2).mean()))  # fmt: skip
add("unfold",
    trained(lambda: nn.Conv2d(3, 16, 3, padding=1), normal((8, 3, 64, 64)),
            lambda m, x: F.unfold(m(x), 3).mean()))  # fmt: skip
add("fold",
    trained(lambda: nn.Conv1d(144, 144, 1), normal((8, 144, 1024)),
            lambda m, x: F.fold(m(x), 32, 3, padding=1).square().mean()))  # fmt: skip
add("unfold along a dimension",
    _linear(_ROWS, lambda m, x: m(x).unfold(0, 64, 32).square().mean()))  # fmt: skip
add("pools",
    trained(lambda: nn.Conv2d(3, 16, 3, padding=1), normal((8, 3, 64, 64)),
            lambda m, x: F.max_pool2d(m(x), 3, 2).mean() + F.avg_pool2d(m(x), 2).mean()
            + F.adaptive_max_pool2d(m(x), 7).mean() + F.adaptive_avg_pool2d(m(x), 7).mean()
            + F.lp_pool2d(m(x).abs(), 2, 2).mean()))  # fmt: skip
add("roll, flip, repeat, stack",
    _linear(_ROWS, lambda m, x: m(x).roll(3, 0).flip(1).repeat(2, 1).mean()
            + torch.stack([m(x), x]).square().mean() + torch.cat([m(x), x], 1).exp().mean()
            + m(x).repeat_interleave(2, 0).sin().mean()))  # fmt: skip
add("fast Fourier transform",
    _linear(_ROWS, lambda m, x: torch.fft.rfft(m(x)).abs().mean()))  # fmt: skip
add("linear algebra",
    trained(lambda: nn.Linear(32, 32), normal((16, 32, 32)),
            lambda m, x: torch.linalg.inv(m(x)).sum() + torch.linalg.solve(m(x), x).sum()
            + torch.linalg.det(m(x)).sum()))  # fmt: skip
add("float64",
    trained(lambda: nn.Linear(256, 256).double(), lambda: [torch.randn(2048, 256).double()],
            squares))  # fmt: skip
add("whole model in bf16",
    trained(lambda: nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.LayerNorm(512),
                                  nn.Linear(512, 256)).bfloat16(),
            lambda: [torch.randn(2048, 256).bfloat16()], squares))  # fmt: skip
add("a sum over rows, shared by blocks",
    trained(lambda: nn.Linear(256, 1024), normal((8192, 256)), squares))  # fmt: skip


class _Skip(nn.Module):
    """A block of a U-Net: the gradient of what is put together has gaps."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 1)
        self.both = nn.Conv2d(128, 64, 3, padding=1)

    def forward(self, x):
        return self.both(torch.cat([self.one(x), self.two(x)], dim=1))


add("convolutions behind a concatenation",
    trained(lambda: nn.Sequential(nn.Conv2d(3, 64, 1), _Skip()), normal((8, 3, 48, 48)),
            squares))  # fmt: skip
add("convolutions behind a concatenation bf16",
    trained(lambda: nn.Sequential(nn.Conv2d(3, 64, 1), _Skip()), normal((8, 3, 48, 48)),
            squares, precision="bf16"))  # fmt: skip


def _masked(m, x):
    q, k, v = m(x).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
    mask = torch.ones(x.shape[0], 1, x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).square().mean()


add("attention under a mask of booleans",
    trained(lambda: nn.Linear(256, 768), normal((4, 1024, 256)), _masked))  # fmt: skip
add("attention under a mask of booleans bf16",
    trained(lambda: nn.Linear(256, 768), normal((4, 1024, 256)), _masked,
            precision="bf16"))  # fmt: skip
