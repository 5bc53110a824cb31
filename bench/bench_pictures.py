"""What does it look like? Target, observation, DIP, both arms and the bound, side by side."""

from dipddpm.data import to_uint8
from dipddpm.experiments.arms import Arm, controls
from dipddpm.measure.content import digest, source_digest, tensor_digest
from dipddpm.priors import HYPOTHESIS
from dipddpm.report.picture_sheet import PREFIX, PictureSheet, cases, write_sheet
from dipddpm.tasks import task as task_named

ROWS = 6


def points_of_task(experiments):
    return {name: name for name in experiments.profile.restoration.tasks if task_named(name).leak == "none"}


def bench_pictures(task, experiments, figures):
    """A grid of the first test images: the longest DIP of the first architecture, the start that costs nothing and is
    best on the validation images, each arm at its tuned best."""
    restoration, axes, fits = experiments.restoration, experiments.profile.restoration, experiments.fits
    longest = Arm.named(HYPOTHESIS, axes.architectures_for(task)[0], axes.iterations[-1])
    free = controls([arm for arm, _ in restoration.cells(task)])
    best_free = max(free, key=lambda arm: restoration.tuned(arm, task, restoration.best_budget(arm, task)).validation)

    def best(arm):
        return restoration.cell(task, arm, restoration.best_budget(arm, task))

    cells = {
        f"{longest.architecture} {longest.iterations} alone": restoration.cell(task, longest, 0),
        "from noise": best(Arm.named("noise")),
        f"from {best_free.label}": best(best_free),
        f"from {longest.label}": best(longest),
        "from oracle": best(Arm.named("oracle")),
    }
    columns = {"target": fits.images("test").x_0, "observation": fits.observation(task, "test").pinv}
    columns |= {name: cell.x_hat for name, cell in cells.items()}
    captions = {name: [f"{psnr:.1f} dB" for psnr in cell.scores["psnr"][:ROWS]] for name, cell in cells.items()}
    pictures = {name: to_uint8(x[:ROWS]).permute(0, 2, 3, 1).cpu().numpy() for name, x in columns.items()}
    title = f"{task}: {task_named(task).description}"
    shown = [tensor_digest(x[:ROWS]) for x in columns.values()]
    key = digest([source_digest(["dipddpm.report.figures"]), title, captions, shown])

    def draw():
        from dipddpm.report.figures import picture_grid  # imported here: with nothing to draw, no matplotlib is needed

        return [picture_grid(pictures, captions, figures.folder / f"grid-{task}", title)]

    figures.add(f"grid-{task}", key, draw)

    # The page shows more: also the images that gain most and least from the DIP start, one of the middle between them.
    start, noise = (cells[name].scores["psnr"] for name in (f"from {longest.label}", "from noise"))
    rows = cases([a - b for a, b in zip(start, noise, strict=True)])
    at = list(rows.values())
    said = {name: [f"{cell.scores['psnr'][i]:.1f} dB" for i in at] for name, cell in cells.items()}
    picked = {name: to_uint8(x[at]).permute(0, 2, 3, 1).cpu().numpy() for name, x in columns.items()}
    size = next(iter(picked.values())).shape[1:3]
    sheet = PictureSheet(task, title, list(columns), list(rows), said, size)
    key = digest([source_digest(["dipddpm.report.picture_sheet"]), title, said, list(rows),
                  [tensor_digest(x[at]) for x in columns.values()]])  # fmt: skip
    path = figures.folder / f"{PREFIX}{task}.png"
    figures.add(f"{PREFIX}{task}", key, lambda: [write_sheet(sheet, picked, path)])
