"""Floating-point operations of a piece of work, counted while it runs.

torch's own counter looks up convolutions, matrix products and attention by their shapes. It gets two things wrong,
which are corrected here: it multiplies the weights' gradient of a grouped convolution by the number of groups, and it
does not know attention on a CPU. Everything else (norms, activations, sums) counts as zero, as is the custom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = Sequence[int]


def flops_by_operator(work: Callable[[], object]) -> dict[str, int]:
    """FLOPs of one execution of ``work``, gradients included, as {"aten::convolution": ...}.

    A multiply-add counts as two. Only shapes are looked at, so that networks on the ``meta`` device are counted too,
    without memory or arithmetic.
    """
    with FlopCounterMode(display=False, custom_mapping=_CORRECTED) as counter:
        work()
    counted = counter.get_flop_counts().get("Global", {})
    return {str(operator).replace(".", "::"): flops for operator, flops in counted.items()}


def flops(work: Callable[[], object]) -> int:
    """FLOPs of one execution of ``work``: the sum over its operators."""
    return sum(flops_by_operator(work).values())


def _convolution_backward(
    grad_shape: Shape, x_shape: Shape, w_shape: Shape, _bias: object, _stride: object, _padding: object,
    _dilation: object, transposed: bool, _output_padding: object, _groups: int, output_mask: Sequence[bool],
    out_shape: object = None,
) -> int:  # fmt: skip
    """The gradient of the input and that of the weights each take as many products as the convolution itself."""
    forward = 2 * prod(x_shape if transposed else grad_shape) * prod(w_shape[1:])
    return forward * sum(output_mask[:2])


def _attention(q: Shape, k: Shape, v: Shape, *_: object, out_shape: object = None, **__: object) -> int:
    return sdpa_flop_count(q, k, v)


def _attention_backward(
    grad: Shape, q: Shape, k: Shape, v: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    return sdpa_backward_flop_count(grad, q, k, v)


_aten = torch.ops.aten
_CORRECTED: dict[Any, Any] = {
    _aten.convolution_backward: _convolution_backward,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
