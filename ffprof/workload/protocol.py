"""The protocol between harness and workload: how a step is fed.

Matching by construction: the harness owns the batch. It draws the effective batch of B images from
the recipe's seed, cuts it into the schedule's micro-batches, moves one at a time to the device and
hands each over with its weight n_i / B::

    module = build(recipe, backbone_state)
    for images, labels in micro_batches:                 # the harness's loop
        module.accumulate(images, labels, weight, backward)
    optimizer.step(); optimizer.zero_grad()              # the harness's too

``backward(loss)`` multiplies the loss by the weight, leaves autocast and runs the backward
pass. A workload calls it once, or once a block. It makes no optimizer, takes no step, chooses
no batch and no precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

BackboneState = Mapping[str, "Tensor"]
Carried = tuple["Tensor", "Tensor"]  # a tensor of the graph, and the gradient that reaches it


class Backward(Protocol):
    """The function handed to ``accumulate``: one backward pass under the harness's conditions."""

    def __call__(self, loss: Tensor, carried: Sequence[Carried] = (), /) -> None:
        """Run backward from a scalar mean loss over the micro-batch.

        Args:
            loss: weighted, and scaled under fp16, before the pass.
            carried: further starting points, for schedules that carry gradients over by hand:
                tensors of the same graph, each with a gradient that an earlier call of this
                function has left in some ``.grad``, so that weight and scale are in it already.
        """


class Trainable(Protocol):
    """The module that a workload builds: an ``nn.Module`` with the methods below.

    It may have ``predictions(images)``, too: the logits of every prediction rule in one pass, by
    name, the one that the method is judged by first. Without it, ``predict`` is called rule by
    rule.
    """

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """Add the gradients of one micro-batch; return its mean loss, detached, a scalar.

        Args:
            images: (n, channels, size, size), on the device.
            labels: (n,), int64, on the device.
            weight: n / B. ``backward`` applies it already; it is handed over for workloads
                that write gradients themselves.
            backward: see ``Backward``; may be called repeatedly.
        """

    def predict(self, images: Tensor, rule: str) -> Tensor:
        """Logits (n, classes) under one of the description's prediction rules."""

    def backbone_state(self) -> BackboneState:
        """The parameters that must equal the state handed to ``build``, under its names."""

    def no_weight_decay(self) -> Set[str]:
        """Names of parameters that the optimizer must not decay."""

    # What the harness uses of nn.Module.
    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...  # noqa: D102
    def buffers(self) -> Iterator[Tensor]: ...  # noqa: D102
    def modules(self) -> Iterator[nn.Module]: ...  # noqa: D102
    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: Mapping[str, Any], /) -> Any: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102
    def to(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102
