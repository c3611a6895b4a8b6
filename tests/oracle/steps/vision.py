"""Networks for images, of torchvision, under many optimizers, types and formats."""

from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from steps.registry import ADAMW, SGD, add, normal, trained, whole

_models = torchvision.models
_CLASSES = 50


def _plain(name, **more):
    return lambda: getattr(_models, name)(num_classes=_CLASSES, **more)


NETWORKS = {
    "resnet18": _plain("resnet18"),
    "resnet50": _plain("resnet50"),
    "wide residual 3 groups": lambda: _models.ResNet(
        _models.resnet.Bottleneck, [1, 1, 1, 1], _CLASSES, groups=8, width_per_group=16
    ),
    "vgg11": _plain("vgg11"),
    "vgg11_bn": _plain("vgg11_bn"),
    "alexnet": _plain("alexnet"),
    "squeezenet": _plain("squeezenet1_1"),
    "densenet": lambda: _models.DenseNet(16, (3, 4, 6, 4), 32, num_classes=_CLASSES),
    "mobilenet_v2": _plain("mobilenet_v2"),
    "mobilenet_v3": _plain("mobilenet_v3_small"),
    "mnasnet": _plain("mnasnet0_5"),
    "efficientnet": _plain("efficientnet_b0"),
    "shufflenet": _plain("shufflenet_v2_x0_5"),
    "regnet": _plain("regnet_y_400mf"),
    "googlenet": _plain("googlenet", aux_logits=False, init_weights=False),
    "convnext": lambda: _models.ConvNeXt(
        [
            _models.convnext.CNBlockConfig(48, 96, 2),
            _models.convnext.CNBlockConfig(96, 192, 2),
            _models.convnext.CNBlockConfig(192, None, 2),
        ],
        stochastic_depth_prob=0.1,
        num_classes=_CLASSES,
    ),
    "vit": lambda: _models.VisionTransformer(96, 16, 3, 6, 192, 768, num_classes=_CLASSES),
    "swin": lambda: _models.SwinTransformer(
        [4, 4], 48, [2, 2, 2], [3, 6, 12], [6, 6], num_classes=_CLASSES
    ),
}  # fmt: skip


def _entropy(module, images, labels, smoothing=0.0):
    return F.cross_entropy(module(images), labels, label_smoothing=smoothing)


def _images(batch=16, size=96):
    return lambda: [torch.randn(batch, 3, size, size), whole(_CLASSES, batch)]


def _vision(network, **how):
    size = how.pop("size", 96)
    loss = how.pop("loss", _entropy)
    batch = how.pop("batch", 16)
    return trained(NETWORKS[network], _images(batch, size), loss, **{"optimizer": SGD} | how)


for _name in NETWORKS:
    _more = {"optimizer": ADAMW} if _name in ("vit", "swin", "convnext") else {}
    add(_name, _vision(_name, **_more))
    add(f"{_name} bf16", _vision(_name, precision="bf16", **_more))


def _blocks_again(net, x, reentrant):
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in layer:
            x = checkpoint(block, x, use_reentrant=reentrant)
    return net.fc(torch.flatten(net.avgpool(x), 1))


def _residual_again(reentrant):
    return lambda net, x, y: F.cross_entropy(_blocks_again(net, x, reentrant), y)


def _vgg_again(net, x, y):
    x = checkpoint_sequential(net.features, 4, x, use_reentrant=False)
    return F.cross_entropy(net.classifier(torch.flatten(net.avgpool(x), 1)), y)


_AGAIN = _residual_again(False)
add("resnet18 accumulated", _vision("resnet18", parts=4))
add("resnet18 checkpointed", _vision("resnet18", loss=_AGAIN))
add("resnet18 checkpointed by reentry", _vision("resnet18", loss=_residual_again(True)))
add("resnet50 checkpointed", _vision("resnet50", loss=_AGAIN))
add("resnet50 accumulated", _vision("resnet50", parts=2))
add("vgg11 checkpointed", _vision("vgg11", loss=_vgg_again))
add("vgg11 bf16 checkpointed", _vision("vgg11", loss=_vgg_again, precision="bf16"))
add("resnet18 bf16 accumulated and checkpointed",
    _vision("resnet18", loss=_AGAIN, parts=2, precision="bf16"))  # fmt: skip
add("resnet18 fp16", _vision("resnet18", precision="fp16"))
add("resnet18 fp16 accumulated", _vision("resnet18", precision="fp16", parts=2))
add("resnet18 fp16 clipped", _vision("resnet18", precision="fp16", clip=1.0))
add("resnet18 clipped", _vision("resnet18", clip=1.0))
add("resnet18 smoothed labels", _vision("resnet18", loss=partial(_entropy, smoothing=0.1)))
add("resnet18 channels last", _vision("resnet18", last=True))
add("resnet18 bf16 channels last", _vision("resnet18", last=True, precision="bf16"))
add("mobilenet_v2 channels last", _vision("mobilenet_v2", last=True))
add("mobilenet_v2 bf16 channels last", _vision("mobilenet_v2", last=True, precision="bf16"))
add("convnext channels last", _vision("convnext", last=True))
add("vgg11 channels last", _vision("vgg11", last=True))
add("resnet50 bf16 accumulated", _vision("resnet50", parts=2, precision="bf16"))
add("resnet18 odd sizes", _vision("resnet18", batch=7, size=75))
add("resnet18 gradients kept as zeros", _vision("resnet18", to_none=False))

_OPTIMIZERS = {
    "SGD by foreach without momentum": partial(torch.optim.SGD, lr=0.1, foreach=True),
    "SGD by loop": partial(torch.optim.SGD, lr=0.1, momentum=0.9, foreach=False),
    "SGD by loop, nesterov and decay": partial(
        torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, foreach=False
    ),
    "SGD by foreach, nesterov and decay": partial(
        torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    ),
    "SGD fused": partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
    "AdamW by foreach": partial(torch.optim.AdamW, foreach=True),
    "AdamW by loop": partial(torch.optim.AdamW, foreach=False),
    "AdamW fused": partial(torch.optim.AdamW, fused=True),
    "Adam with decay": partial(torch.optim.Adam, weight_decay=1e-2),
    "AMSGrad by foreach": partial(torch.optim.Adam, amsgrad=True),
    "AMSGrad by loop": partial(torch.optim.Adam, amsgrad=True, foreach=False),
    "AMSGrad fused": partial(torch.optim.AdamW, amsgrad=True, fused=True),
    "RMSprop": partial(torch.optim.RMSprop, momentum=0.9),
    "RMSprop centred": partial(torch.optim.RMSprop, centered=True),
    "Adagrad": torch.optim.Adagrad,
    "Adadelta": torch.optim.Adadelta,
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "ASGD": torch.optim.ASGD,
    "Rprop": torch.optim.Rprop,
    "Adafactor": torch.optim.Adafactor,
}
for _name, _kind in _OPTIMIZERS.items():
    add(f"resnet18 {_name}", _vision("resnet18", optimizer=_kind, batch=8, size=64))


class UNet(nn.Module):
    """Two levels with a skip between them, and most norms and resizings."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.SiLU())
        self.down = nn.Sequential(
            nn.Conv2d(32, 64, 4, 2, 1), nn.InstanceNorm2d(64), nn.LeakyReLU(0.2)
        )
        self.up = nn.Sequential(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.ELU())
        self.last = nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, x):
        first = self.first(x)
        return self.last(torch.cat([first, self.up(self.down(first))], 1))


def _distance(net, x, y):
    return F.l1_loss(net(x), y)


_PAIR = normal((8, 3, 96, 96), (8, 3, 96, 96))
add("u-net", trained(UNet, _PAIR, _distance))
add("u-net bf16", trained(UNet, _PAIR, _distance, precision="bf16"))
add("u-net channels last", trained(UNet, _PAIR, _distance, last=True))
add("upsampling and padding",
    trained(lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReflectionPad2d(2),
                                  nn.Upsample(scale_factor=2, mode="bilinear"),
                                  nn.Conv2d(16, 16, 3, dilation=2), nn.Upsample(scale_factor=2),
                                  nn.ReplicationPad2d(1), nn.Conv2d(16, 3, 1)),
            normal((4, 3, 64, 64)), lambda m, x: m(x).abs().mean()))  # fmt: skip
add("segmentation, deeplab",
    trained(lambda: _models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=21),
        lambda: [torch.randn(4, 3, 96, 96), whole(21, 4, 96, 96)],
        lambda m, x, y: F.cross_entropy(m(x)["out"], y), optimizer=SGD))  # fmt: skip
add("conv1d",
    trained(lambda: nn.Sequential(nn.Conv1d(32, 64, 5), nn.BatchNorm1d(64), nn.GELU(),
                                  nn.Conv1d(64, 64, 5, stride=2), nn.AvgPool1d(2)),
            normal((32, 32, 500)), lambda m, x: m(x).square().mean()))  # fmt: skip
add("conv3d",
    trained(lambda: nn.Sequential(nn.Conv3d(3, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(),
                                  nn.MaxPool3d(2), nn.Conv3d(16, 32, 3, padding=1),
                                  nn.AdaptiveAvgPool3d(1)),
            normal((4, 3, 16, 48, 48)), lambda m, x: m(x).square().mean()))  # fmt: skip
