"""plain: the loop of the original Deep Image Prior, for a whole batch of images at once."""

from __future__ import annotations

from dataclasses import dataclass

from dipddpm.fitting.trajectory import Problem, Steps, Trajectory, misfit

__all__ = ["Plain", "misfit"]


@dataclass(eq=False)
class Plain(Trajectory):
    """Adam on the misfit, input noise at every iteration, and an average of the outputs.

    min over theta of || A f_theta(z + xi) - y ||^2

    The average starts without bias (its weights sum to one at every duration). The original begins it at the first
    output, which at 100 iterations would still weigh 37 %.
    """

    name = "plain"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, eq. 2 and supplementary material"

    def begin(self, problem: Problem) -> Steps:
        return self.with_loss(problem, problem.misfit)
