"""self_validation: stop where an autoencoder that learns from the outputs knows the newest one best."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dipddpm.dip import halvings, upsample_bilinear
from dipddpm.stopping import LeastScore


class SelfValidation(LeastScore):
    """Early stopping by self-validation (Li et al. 2021, arXiv 2110.12271; github.com/sun-umn/Self-Validation).

    An autoencoder is trained on the outputs as they come. Each new output is passed through it before it is trained on,
    and the one that it reconstructs with the least error is kept, known ``patience`` iterations later.

    Published: a window of 256 outputs and patience 500 for fits of several thousand iterations, one epoch over the
    window at each iteration in batches of 32, Adam at 1e-3, and an autoencoder of seven halvings from 512 px to a code
    of 16 numbers, with four linear layers on it. Here the window and the patience scale with the budget, and an
    iteration is one step on ``BATCH`` outputs of the window, evenly spread, of which the newest is one. The autoencoder
    halves down to at least 4 px (three times at 32 px) and begins with 16 channels, doubled at each halving.

    So few steps need a rate of 1e-2: with 1e-3 the error of 32 px outputs did not fall in 300 iterations. An untrained
    autoencoder answers grey, which the first, grey outputs are nearest to, so nothing is compared until it has been
    trained for a quarter of the budget; until then the newest output is kept. It remains a rule for long fits: at a
    budget of 240 it chose iterations 139 and 239 where the best were 89 and 166 (two images, ``siren``, denoising).

    Each image has an autoencoder of its own. All begin with the same weights, drawn from a fixed seed, so that what is
    kept of an image depends on its own outputs alone.

    Training costs seconds, which a fit reports (:attr:`dipddpm.fitting.DipFit.watching`): for 8 images of 32 px on one
    thread 0.11 s an iteration, where fitting ``skip`` takes 0.15 s and watching by es-wmv 0.5 ms.
    """

    name = "self_validation"
    trains = True
    BATCH = 8

    def __init__(self, budget: int, x_0: Tensor | None = None):
        self.window, self.patience = max(5, budget // 20), max(10, budget // 10)
        self.compares_from = self.window + budget // 4
        self._recent: list[Tensor] = []

    def score(self, iteration: int, output: Tensor) -> Tensor | None:
        """The mean squared error of the newest output, passed through the autoencoder; infinite once all stopped."""
        if iteration == 1:
            self._autoencoders = Autoencoders(len(output), output.shape[-1]).to(output.device)
            self._optimizer = torch.optim.Adam(self._autoencoders.parameters(), lr=1e-2, fused=True)
        self._recent = [*self._recent, (output.float() + 1) / 2][-self.window :]
        if len(self._recent) < self.window:
            return None
        if self._stopped.all():
            return torch.full_like(self._least, torch.inf)
        newest = self._recent[-1][None]
        self._autoencoders.eval()
        with torch.no_grad():
            error = (self._autoencoders(newest) - newest)[0].square().flatten(1).mean(1)
        self._train()
        return error if iteration >= self.compares_from else None

    def _train(self) -> None:
        """One step on outputs of the window that lie evenly apart, the newest among them."""
        chosen = torch.linspace(0, self.window - 1, min(self.BATCH, self.window)).round().int().tolist()
        batch = torch.stack([self._recent[i] for i in chosen])
        self._autoencoders.train()
        self._optimizer.zero_grad()
        with torch.enable_grad():
            # a sum over images: the gradient of each autoencoder is that of its own image
            (self._autoencoders(batch) - batch).square().mean(dim=(0, 2, 3, 4)).sum().backward()
        self._optimizer.step()


class Autoencoders(nn.Module):
    """One autoencoder for each of N images as one module, in N groups: (B, N, 3, S, S) in [0, 1] to the same shape."""

    def __init__(self, images: int, size: int):
        super().__init__()
        self.images, self.side = images, size >> halvings(size)
        channels = [3, *(16 * 2**scale for scale in range(halvings(size) - 1)), 1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            one = self._parts(1, channels)
            self.encoder, self.linear, self.decoder = self._parts(images, channels)
        alike = nn.ModuleList([self.encoder, self.linear, self.decoder])
        with torch.no_grad():
            for of_all, of_one in zip(alike.parameters(), nn.ModuleList(one).parameters(), strict=True):
                of_all.copy_(of_one.repeat(images, *[1] * (of_one.ndim - 1)))

    def _parts(self, images: int, channels: list[int]) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        """Encoder, linear layers and decoder."""

        def convolution(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
            c_in, c_out = images * c_in, images * c_out
            return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=images, bias=False)

        code, steps = self.side**2, list(pairwise(channels))
        encoder = nn.Sequential(
            *(
                nn.Sequential(convolution(fine, coarse, stride=2), nn.BatchNorm2d(images * coarse), nn.ReLU())
                for fine, coarse in steps
            )
        )
        linear = nn.Sequential(*(convolution(code, code, 1) for _ in range(4)))
        decoder = nn.Sequential(
            *(
                nn.Sequential(
                    Doubled(),
                    convolution(coarse, fine),
                    nn.BatchNorm2d(images * fine),
                    nn.Sigmoid() if fine == channels[0] else nn.ReLU(),
                )
                for fine, coarse in reversed(steps)
            )
        )
        return encoder, linear, decoder

    def forward(self, x: Tensor) -> Tensor:
        code = self.linear(self.encoder(x.flatten(1, 2)).reshape(len(x), -1, 1, 1))
        return self.decoder(code.reshape(len(x), -1, self.side, self.side)).view_as(x)


class Doubled(nn.Module):
    """Twice the pixels a side, between which it is bilinear."""

    def forward(self, x: Tensor) -> Tensor:
        return upsample_bilinear(x)
