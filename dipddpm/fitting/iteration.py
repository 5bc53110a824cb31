"""One iteration of fitting the networks of a batch, as a graph of CUDA where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dipddpm.batches import is_out_of_memory
from dipddpm.device import chosen_precision, products

EAGER = 3
"""Iterations before the graph is captured: in these the libraries get their memory."""


class Iteration:
    """An update of the weights by Adam on a loss of f(z + xi).

    On CUDA an iteration is some 300 kernels, which a CPU needs longer to launch than the GPU to run for a few images.
    After three iterations the fourth is captured as a graph, and from there on it is launched as one: the same kernels
    in the same order, and the same numbers. Where memory is short of what the graph holds, it goes on without.

    Args:
        network: f, for a batch of images. z: its input (N, ...).
        loss: (N, 3, H, W) to (N,), whose sum over images is differentiated.
        lr: learning rate.
        trained: parameters, or groups of them with a learning rate each; those of the network by default.
        adjust: called between the gradients and the step that Adam makes of them.
        precision: of products, as :data:`dipddpm.device.PRECISIONS` has them; that of the device by default. In "bf16"
            the layers hand on bfloat16, and weights, sums and the image stay float32.
        graph: capture one on CUDA.
    """

    def __init__(
        self,
        network: nn.Module,
        z: Tensor,
        loss: Callable[[Tensor], Tensor],
        lr: float,
        precision: str = "",
        graph: bool = True,
        trained: Iterable[nn.Parameter] | Iterable[dict[str, Any]] | None = None,
        adjust: Callable[[], None] | None = None,
    ):
        self.network, self.z, self.loss, self.adjust = network, z, loss, adjust
        self.precision = chosen_precision(precision, z.device)
        self.shown, self.done = z.clone(), 0
        trained = network.parameters() if trained is None else trained
        self._optimizer = torch.optim.Adam(trained, lr=lr, fused=True, capturable=z.is_cuda)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._graph_at = EAGER if graph and z.is_cuda else -1
        self._stream = torch.cuda.Stream() if z.is_cuda else None
        self._output = z

    def __call__(self, noise: Tensor | None) -> Tensor:
        """One iteration with this noise on z; f(z + xi) before the update, without its gradient."""
        if noise is not None:
            torch.add(self.z, noise, out=self.shown)
        if self.done == self._graph_at:
            self._capture()
        if self._graph:
            self._graph.replay()
            output = self._output.clone()
        elif self._stream and self.done < EAGER:
            # beside the stream of all else, as the capture will be: autograd remembers where a parameter was used
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                output = self._update()
            torch.cuda.current_stream().wait_stream(self._stream)
        else:
            output = self._update()
        self.done += 1
        return output

    def image(self, z: Tensor) -> Tensor:
        """f(z)."""
        with torch.no_grad(), products(self.precision):
            return self._forward(z)

    def compile_kernels(self) -> None:
        """Run forward and backward once, to no effect: kernels are compiled at their first use in a process."""
        with products(self.precision):
            self.loss(self._forward(self.z)).sum().backward()
        self._optimizer.zero_grad(set_to_none=True)

    def _update(self) -> Tensor:
        with products(self.precision):
            output = self._forward(self.shown)
            self._optimizer.zero_grad(set_to_none=True)
            self.loss(output).sum().backward()
            if self.adjust:
                self.adjust()
            self._optimizer.step()
        return output.detach()

    def _forward(self, z: Tensor) -> Tensor:
        if self.precision != "bf16":
            return self.network(z)
        with torch.autocast(z.device.type, torch.bfloat16):
            return self.network(z)

    def _capture(self) -> None:
        torch.cuda.empty_cache()  # the graph has memory of its own
        graph = torch.cuda.CUDAGraph()
        self._optimizer.zero_grad(set_to_none=True)
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._output = self._update()
        except RuntimeError as error:
            cause: BaseException | None = error
            while cause and not (isinstance(cause, RuntimeError) and is_out_of_memory(cause)):
                cause = cause.__context__
            if not cause:
                raise
            self._graph_at = -1
            return
        self._graph = graph
