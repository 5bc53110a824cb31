"""Variants that are not in the package: from a template, from another distribution, from a conftest.py."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dipddpm.cli import main
from dipddpm.errors import InputError
from dipddpm.registry import register
from dipddpm.restore import score
from dipddpm.rng import ImageRng
from dipddpm.tasks import task

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "examples" / "dipddpm-tiny"
CONTRACTS = {
    "dip": ("tests/test_dip.py", "tests/test_fitting.py"),
    "fitting": ("tests/test_ways.py", "tests/test_fitting.py"),
    "prior": ("tests/test_priors.py",),
    "metric": ("tests/test_metrics.py",),
}
FEW = [
    "--profile", "smoke", "--axis", "task=inpaint", "--axis", "dip.iterations=4", "--axis", "images=3",
    "--axis", "validation_images=2", "--axis", "trials=1", "--axis", "judge=psnr", "--results", "out",
    "--cache", "cache", "-q",
]  # fmt: skip


def run(folder, *command, **environment):
    found = os.pathsep.join([environment.pop("PLUGIN", ""), str(ROOT)]).strip(os.pathsep)
    environment = os.environ | {"PYTHONPATH": found, "PYTHONDONTWRITEBYTECODE": "1"} | environment
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, encoding="utf-8"
    )


# ---- Templates ----------------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path, request):
    """The class that a template wrote, loaded from its file."""
    assert main(["new", request.param, "fresh_one", "--out", str(tmp_path)]) == 0
    spec = importlib.util.spec_from_file_location("fresh_one", tmp_path / "fresh_one.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FreshOne


@pytest.mark.parametrize("made", ["dip"], indirect=True)
@pytest.mark.parametrize(("size", "width"), [(32, None), (24, 1), (7, 5)])
def test_an_architecture_from_a_template_makes_images_of_any_size(made, size, width):
    network = made(size=size, width=width)
    image = network(network.draw_z(ImageRng([0, 1])))
    assert image.shape == (2, 3, size, size) and image.abs().max() <= 1 and network.name == "fresh_one"


@pytest.mark.parametrize("made", ["prior"], indirect=True)
@pytest.mark.parametrize("name", ["inpaint", "inpaint_box", "super_resolution", "denoise_25"])
def test_a_prior_from_a_template_agrees_with_what_was_observed(made, name):
    from dipddpm.priors import Evidence

    observation = task(name).observe(torch.rand(2, 3, 16, 16) * 2 - 1, ImageRng([0, 1]))
    mu = made().mu(Evidence(observation))
    assert mu.shape == (2, 3, 16, 16) and mu.isfinite().all() and mu.abs().max() <= 1
    if observation.sigma == 0:
        assert torch.allclose(observation.operator.A(mu), observation.y, atol=1e-5)


@pytest.mark.parametrize("made", ["metric"], indirect=True)
def test_a_metric_from_a_template_is_a_number_per_image(made):
    x = torch.zeros(3, 3, 8, 8)
    assert score(x + 0.5, x, [made()])["fresh_one"] == pytest.approx([0.25] * 3)


@pytest.mark.parametrize("made", ["fitting"], indirect=True)
def test_a_way_from_a_template_fits(made):
    from dipddpm.dip.deep_decoder import DeepDecoder
    from dipddpm.fitting import fit_dip

    y = task("inpaint").observe(torch.zeros(2, 3, 16, 16), ImageRng([0, 1]))
    fit = fit_dip(DeepDecoder, y, ImageRng([0, 1]), iterations=[0, 20], size=16, method=made())
    assert (fit.loss[1] < fit.loss[0]).all()


@pytest.mark.parametrize(
    ("name", "why"), [("Fresh", "lower-case letters"), ("9lives", "a letter first"), ("class", "no word of Python")]
)
def test_a_name_that_no_class_can_have_is_refused(name, why, tmp_path, capsys):
    assert main(["new", "dip", name, "--out", str(tmp_path)]) == 2
    assert why in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("precious", encoding="utf-8")
    assert main(["new", "metric", "mine", "--out", str(tmp_path)]) == 2
    assert "there already" in capsys.readouterr().err
    assert (tmp_path / "mine.py").read_text(encoding="utf-8") == "precious"


@pytest.mark.long
@pytest.mark.parametrize("kind", CONTRACTS)
def test_a_template_passes_the_contracts_of_its_family(kind, tmp_path):
    """As a variant that an installed distribution adds: pytest finds it by its entry point."""
    assert main(["new", kind, "fresh_one", "--out", str(tmp_path)]) == 0
    group = {"dip": "dip", "fitting": "fitting", "prior": "priors", "metric": "metrics"}[kind]
    info = tmp_path / "fresh_one-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fresh-one\nVersion: 1\n", encoding="utf-8")
    entry = f"[dipddpm.{group}]\nfresh_one = fresh_one:FreshOne\n"
    (info / "entry_points.txt").write_text(entry, encoding="utf-8")
    done = run(
        ROOT, "pytest", "-q", "-p", "no:cacheprovider", *CONTRACTS[kind], "-k", "fresh_one", PLUGIN=str(tmp_path)
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:]


# ---- Of this process ----------------------------------------------------------------------------------------------


def test_a_class_of_no_family_is_not_registered():
    with pytest.raises(InputError, match="Stray belongs to no family: derive it from DeepImagePrior"):
        register(type("Stray", (), {"name": "stray"}))


@pytest.mark.long
def test_another_repository_runs_the_suites_on_its_own_architecture(tmp_path):
    """With the conftest.py that the examples show, of about twenty lines."""
    conftest = (ROOT / "examples" / "another-repository" / "conftest.py").read_text(encoding="utf-8")
    assert len(conftest.splitlines()) <= 28
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    done = run(tmp_path, "dipddpm", "bench", "duration", *FEW, "--axis", "dip.architecture=pixels")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "dip pixels 4" in (tmp_path / "out" / "leaderboard.csv").read_text(encoding="utf-8")


# ---- Another distribution -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example package, installed by pip into a folder."""
    pytest.importorskip("hatchling", reason="needs hatchling, to build the example without a network")
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(folder)]
    done = run(folder, "pip", "install", *options, str(PLUGIN))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.long
def test_rows_of_an_installed_package_are_in_the_leaderboard(installed, tmp_path):
    axes = ["--axis", "dip.architecture=skip:4,tiny", "--axis", "dip.fitting=plain,bend"]
    done = run(tmp_path, "dipddpm", "bench", "controls", "fitting", "architecture", *FEW, *axes, PLUGIN=str(installed))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    table = (tmp_path / "out" / "leaderboard.csv").read_text(encoding="utf-8")
    # Durations are those of equal cost, so that another network has another number of iterations.
    assert re.search(r"dip tiny \d+", table) and "window" in table and "bend" in table, table
    assert "mae" in table.partition("\n")[0]


@pytest.mark.long
def test_an_installed_package_passes_the_contracts(installed):
    files = sorted({file for files in CONTRACTS.values() for file in files})
    words = "tiny or bend or window or mae"
    done = run(ROOT, "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", words, PLUGIN=str(installed))
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:]
