"""skip_deep: the skip net with as many of its five published scales as the size allows."""

from __future__ import annotations

from dipddpm.dip.skip import SkipNet


class DeepSkipNet(SkipNet):
    """Published: five scales. The scales of ``skip`` end at 4 px; these go on to 2 px.

    That is five scales from 64 px on and four at 32 px. A fifth would end at 1 px there, where a batch norm over the
    pixels of one image has a single value and makes 0 of it. All else is that of ``skip``.
    """

    name = "skip_deep"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, supplementary material"
    coarsest = 2
