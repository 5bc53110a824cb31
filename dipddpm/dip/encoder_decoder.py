"""encoder_decoder: the skip net without its skips, an ablation."""

from __future__ import annotations

from dipddpm.dip.skip import SkipNet


class EncoderDecoder(SkipNet):
    """Published: the hourglass of the skip net with 0 skip channels, as its authors inpaint large holes.

    Adapted to size: scales and width are those of ``skip``, so that the two differ in the skip connections alone.
    """

    name = "encoder_decoder"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, section on inpainting"
    skip_channels = 0
