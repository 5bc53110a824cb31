"""The example that the README shows prints what is said of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_is_shown_as_it_stands_and_prints_what_is_said():
    """The numbers are those shown, to what another CPU may make of a DIP fit."""
    example = (ROOT / "example.py").read_text(encoding="utf-8")
    assert f"```python\n{example}```" in README
    made = subprocess.run([sys.executable, "example.py"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    (shown,) = re.findall(r"^```\n(from noise.*?)^```$", README, re.S | re.M)
    numbers, said = (re.findall(r"(\d+\.\d+) dB", text) for text in (made.stdout, shown))
    assert re.sub(r"\d+\.\d+ dB", "", made.stdout) == re.sub(r"\d+\.\d+ dB", "", shown)
    assert [float(n) for n in numbers] == pytest.approx([float(n) for n in said], abs=0.5)
