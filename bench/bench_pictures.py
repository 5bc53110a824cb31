"""What does it look like? Target, observation, DIP, both arms and the bound, side by side."""

from dipddpm import tasks
from dipddpm.data import to_uint8
from dipddpm.experiments.arms import Arm
from dipddpm.measure.content import digest, source_digest, tensor_digest

ROWS = 6


def bench_pictures(focus, experiment, figures):
    """A grid of the first test images: the longest DIP of the first architecture, the start that costs nothing and is
    best on the validation images, each arm at its tuned best."""
    profile, task = experiment.profile, focus
    x_0, observation = experiment.images("test").x_0, experiment.observation(task, "test")
    longest = Arm("dip", profile.architectures_for(task)[0], profile.iterations[-1])
    starts = dict.fromkeys(arm for arm, _ in experiment.cells(task) if arm.role == "control" and arm.way != "none")

    def best(arm):
        return experiment.cell(task, arm, experiment.best_budget(arm, task))

    cheap = max(starts, key=lambda arm: experiment.tuned(arm, task, experiment.best_budget(arm, task)).validation)
    cells = {
        f"{longest.architecture} {longest.iterations} alone": experiment.cell(task, longest, 0),
        "from noise": best(Arm("noise")),
        f"from {cheap.label}": best(cheap),
        f"from {longest.label}": best(longest),
        "from oracle": best(Arm("oracle")),
    }
    columns = {"target": x_0, "observation": observation.pinv, **{name: cell.x_hat for name, cell in cells.items()}}
    captions = {name: [f"{psnr:.1f} dB" for psnr in cell.scores["psnr"][:ROWS]] for name, cell in cells.items()}
    pictures = {name: to_uint8(x[:ROWS]).permute(0, 2, 3, 1).cpu().numpy() for name, x in columns.items()}
    title = f"{task}: {tasks.task(task).description}"
    key = digest(
        [
            source_digest(["dipddpm.report.figures"]),
            title,
            captions,
            [tensor_digest(x[:ROWS]) for x in columns.values()],
        ]
    )

    def draw():
        from dipddpm.report.figures import picture_grid  # here: nothing to draw, no matplotlib

        return [picture_grid(pictures, captions, figures.folder / f"grid-{task}", title)]

    figures.add(f"grid-{task}", key, draw)
