"""The DDPM noise network: a small U-Net with time embedding, residual blocks and self-attention.

Sources: Ho et al. 2006.11239 (appendix B: layout, sinusoidal time embedding), Dhariwal & Nichol 2105.05233 (section 3:
scale-and-shift time conditioning), zero-initialised outputs as in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.documents import check_weights
from dipddpm.errors import InputError

LIMITS = {"size": 8192, "in_channels": 64, "blocks": 64, "groups": 8192}
"""Largest value of each size of a network: far beyond what is trained, and small enough to be built at once."""
WIDEST, RESOLUTIONS = 8192, 16


def time_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding of the step, (N,) -> (N, dim); Vaswani et al. 1706.03762, section 3.5."""
    frequencies = torch.exp(torch.arange(dim // 2, device=t.device) * (-math.log(10_000.0) / (dim // 2)))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zeroed(module: nn.Module) -> nn.Module:
    """``module`` with all parameters 0: a residual branch that begins as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResidualBlock(nn.Module):
    """norm, SiLU, conv, twice; the time embedding scales and shifts the second norm; the last conv begins at 0."""

    def __init__(self, in_channels: int, out_channels: int, time_dim: int, groups: int, dropout: float):
        super().__init__()
        self.norm_in = nn.GroupNorm(groups, in_channels)
        self.conv_in = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_dim, 2 * out_channels)
        self.norm_out = nn.GroupNorm(groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.time(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.norm_out(h) * (1 + scale) + shift
        return self.skip(x) + self.conv_out(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over the positions of one image, residual, output projection begins at 0."""

    def __init__(self, channels: int, groups: int, head_dim: int = 32):
        super().__init__()
        # As near to head_dim as the channels can be shared out evenly.
        self.heads = next(n for n in range(max(1, channels // head_dim), 0, -1) if channels % n == 0)
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(mixed.transpose(-1, -2).reshape(n, c, h, w))


class Stage(nn.Module):
    """A residual block, with attention after it where the resolution asks for it."""

    def __init__(self, block: ResidualBlock, attention: nn.Module):
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.attention(self.block(x, emb))


class Stored(nn.Module):
    """A network that its configuration, the arguments of its constructor, and its weights make again."""

    @classmethod
    def with_weights(cls, config: Mapping[str, Any], weights: Mapping[str, Tensor], what: str) -> Self:
        """The network of ``config`` with these weights; none are drawn first, which takes longer than to load them.

        Raises:
            InputError: the weights are those of another configuration, or not finite; the message begins with ``what``.
        """
        try:
            with torch.device("meta"):
                model = cls(**config)
        except InputError as error:
            raise InputError(f"{what}: {error}") from error
        check_weights(model, weights, what)
        model.load_state_dict(weights, assign=True)
        return model


class UNet(Stored):
    """(x_t, t) -> eps.

    Args:
        size: height and width of the images, divisible by ``2 ** (len(channels) - 1)``.
        in_channels: channels of the input (3; more where a prior is concatenated).
        channels: width at each resolution, from full size downwards; the first one even.
        blocks: residual blocks at each resolution, on the way down and again on the way up.
        attention_at: resolutions in pixels that get self-attention.
        groups: groups of every GroupNorm; divides each width.
        dropout: probability, inside each residual block.

    Raises:
        InputError: a size that is no whole number or beyond :data:`LIMITS`; widths that the groups do not divide, or
            none; a size that cannot be halved that often.
    """

    def __init__(
        self,
        size: int = 32,
        in_channels: int = 3,
        channels: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        attention_at: Sequence[int] = (8,),
        groups: int = 8,
        dropout: float = 0.0,
    ):
        super().__init__()
        _check_sizes(dict(size=size, in_channels=in_channels, blocks=blocks, groups=groups))
        _check_lists(dict(channels=channels, attention_at=attention_at))
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise InputError(f"a U-Net of dropout {_briefly(dropout)}: choose a number from 0 that is below 1")
        if not channels or channels[0] % 2 or any(c < 1 or c % groups for c in channels):
            raise InputError(
                f"a U-Net of channels {','.join(map(str, channels)) or 'none'}: each width must be a multiple of "
                f"{groups} (the groups of its GroupNorm), the first one even; {4 * groups},{8 * groups} would do"
            )
        if size % 2 ** (len(channels) - 1):
            raise InputError(f"a U-Net with {len(channels)} resolutions cannot halve {size} px that often")
        self.config: dict[str, Any] = dict(
            size=size,
            in_channels=in_channels,
            channels=list(channels),
            blocks=blocks,
            attention_at=list(attention_at),
            groups=groups,
            dropout=dropout,
        )
        self.time_channels = channels[0]
        time_dim = 4 * channels[0]
        self.time = nn.Sequential(nn.Linear(channels[0], time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim), nn.SiLU())

        def stage(c_in: int, c_out: int, px: int) -> Stage:
            attention = Attention(c_out, groups) if px in attention_at else nn.Identity()
            return Stage(ResidualBlock(c_in, c_out, time_dim, groups, dropout), attention)

        self.stem = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width, px = [], channels[0], size
        for level, c in enumerate(channels):
            for _ in range(blocks):
                self.down.append(stage(width, c, px))
                width = c
                skips.append(width)
            if level < len(channels) - 1:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                px //= 2
        self.middle = nn.ModuleList([stage(width, width, px), stage(width, width, px=0)])
        for level, c in reversed(list(enumerate(channels))):
            for _ in range(blocks):
                self.up.append(stage(width + skips.pop(), c, px))
                width = c
            if level:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1)))
                px *= 2
        self.head = nn.Sequential(nn.GroupNorm(groups, width), nn.SiLU(), zeroed(nn.Conv2d(width, 3, 3, padding=1)))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps (N, 3, H, W) for x_t (N, in_channels, H, W) and steps t (N,)."""
        emb = self.time(time_embedding(t, self.time_channels))
        h = self.stem(x_t)
        skips = []
        for layer in self.down:
            if isinstance(layer, Stage):
                h = layer(h, emb)
                skips.append(h)
            else:
                h = layer(h)
        for layer in self.middle:
            h = layer(h, emb)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), emb) if isinstance(layer, Stage) else layer(h)
        return self.head(h)


def _check_sizes(sizes: Mapping[str, object]) -> None:
    for name, value in sizes.items():
        if not _whole(value, 1, LIMITS[name]):
            raise InputError(f"a U-Net of {name} {_briefly(value)}: choose a whole number from 1 to {LIMITS[name]}")


def _check_lists(lists: Mapping[str, Sequence[int]]) -> None:
    for name, values in lists.items():
        if not isinstance(values, list | tuple) or len(values) > RESOLUTIONS:
            raise InputError(f"a U-Net of {name} {_briefly(values)}: write at most {RESOLUTIONS} whole numbers")
        # the smallest width is for the groups to say
        if wrong := [value for value in values if not _whole(value, -WIDEST, WIDEST)]:
            raise InputError(f"a U-Net of {name} {_briefly(wrong[0])}: choose whole numbers up to {WIDEST}")


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _briefly(value: object) -> str:
    """A value as a message has it: what a damaged file holds may be a megabyte."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
