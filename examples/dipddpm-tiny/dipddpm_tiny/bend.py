"""bend: a way of fitting a Deep Image Prior."""

from dataclasses import dataclass

from torch import Tensor

from dipddpm.fitting.trajectory import Problem, Steps, Trajectory


@dataclass(eq=False)
class Bend(Trajectory):
    """min over theta of || A f_theta(z) - y ||^2 / n + weight * || f_theta(z)'' ||^2 / n

    The loop of the original, with a penalty on the second differences of the image along its rows and columns.

    Attributes:
        weight: of the penalty.
    """

    name = "bend"  # what tables and --axis dip.fitting call it
    source = "an example"

    weight: float = 1e-2

    def described(self) -> str:
        """The parameters, for tables."""
        return f"weight {self.weight:g}"

    def begin(self, problem: Problem) -> Steps:
        """The loss of every image, (N, 3, H, W) -> (N,): nothing may mix images."""

        def loss(image: Tensor) -> Tensor:
            bends = [image.diff(n=2, dim=along).square().flatten(1).mean(1) for along in (-1, -2)]
            return problem.misfit(image) + self.weight * (bends[0] + bends[1])

        return self.with_loss(problem, loss)
