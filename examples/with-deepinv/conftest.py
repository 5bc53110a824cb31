"""deepinv's total variation becomes a control of the benchmark."""

from adapters import DeepinvTv

from dipddpm.registry import register

register(DeepinvTv)
