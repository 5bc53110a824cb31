"""window: a control, an image that y alone gives, which a Deep Image Prior has to beat."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import avg_pool2d

from dipddpm.priors import ArmRole, Evidence, Prior


class Window(Prior):
    """The mean of what was observed in a window around each pixel, wider and wider until something was.

    Args:
        window: pixels of a side of the first window, odd.
    """

    name = "window"  # what tables call it
    role: ClassVar[ArmRole] = "control"

    def __init__(self, window: int = 3):
        self.window = window  # parameters are attributes: tables show them, stored results are known by them

    def mu(self, evidence: Evidence) -> Tensor:
        """(N, 3, H, W) in [-1, 1], from the observation alone; no image may look at another."""
        observation = evidence.observation
        pinv, weight = observation.pinv, observation.weight()
        mu, known = pinv, weight > 1e-3
        for window in range(self.window, 2 * pinv.shape[-1] + 1, 2):
            if bool(known.all()):
                break
            seen = avg_pool2d(weight, window, 1, window // 2)
            mean = avg_pool2d(pinv, window, 1, window // 2) / seen.clamp(min=1e-6)
            mu = mean.where(~known & (seen > 1e-6), mu)
            known = known | (seen > 1e-6)
        return observation.consistent(mu.clamp(-1, 1))
