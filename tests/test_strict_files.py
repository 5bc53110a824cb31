"""A baseline or a run that says something senseless is refused, in one line that names it: never held against a run."""

import json

import pytest
from planted_gate import run

from dipddpm.cli import main
from dipddpm.measure.gate.baseline import load
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.record import MeasureError, Run
from dipddpm.measure.strict_json import strict_json

NUMBERS = ["null", '"1"', "true", "NaN", "Infinity", "1e400", "1e301", "[1]", "{}", "1" * 5000]
FIELDS = {
    "values": ["null", "[]", '"x"', "{}", "7", *(f"[{number}]" for number in NUMBERS)],
    "unit": ["null", "7", "[]"],
    "better": ["null", "true", '"more"'],
    "kind": ["null", '"qualities"', "7", "[]"],
    "interval": ["[1]", "[1, 2, 3]", "[null, 2]", '"x"'],
    "yardstick": ["[1, 2]", '["x", 1]', "[null]"],
}


@pytest.fixture
def baseline(tmp_path):
    """A baseline file, and a function that writes another text in the place of a field of its first quality measure."""
    file = tmp_path / "b.json"
    promote(run(), "first", file)
    whole = json.loads(file.read_text())

    def with_field(name: str, text: str):
        edited = json.loads(json.dumps(whole))
        entry = next(e for e in edited["cpu"]["entries"].values() if any(n != "of" for n in e))
        measure = entry[next(n for n in entry if n != "of")]
        measure[name] = "HERE"
        file.write_text(json.dumps(edited).replace('"HERE"', text))
        return file

    return with_field


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in FIELDS.items() for t in texts])
def test_a_senseless_measure_of_a_baseline_is_refused(baseline, tmp_path, capsys, name, text):
    file = baseline(name, text)
    with pytest.raises(MeasureError) as caught:
        load(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    run().save(tmp_path / "run.json")
    assert main(["compare", str(tmp_path / "run.json"), str(file)]) == 2, "not 0, and not a regression either"
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(MeasureError):
        promote(run(), "over it", file)


@pytest.mark.parametrize("name", ["values", "unit", "better", "kind"])
def test_a_measure_without_a_field_is_refused(baseline, name):
    file = baseline(name, "null")
    text = json.loads(file.read_text())
    for entry in text["cpu"]["entries"].values():
        for measure in entry.values():
            measure.pop(name, None)
    file.write_text(json.dumps(text))
    with pytest.raises(MeasureError, match="not a baseline of dipddpm"):
        load(file)


@pytest.mark.parametrize("n", ["null", "-1", "true", '"8"', "1.5", "NaN"])
def test_a_number_of_images_that_is_none(tmp_path, n):
    file = tmp_path / "b.json"
    promote(run(), "first", file)
    text = json.loads(file.read_text())
    next(iter(text["cpu"]["entries"].values()))["of"]["n"] = "HERE"
    file.write_text(json.dumps(text).replace('"HERE"', n))
    with pytest.raises(MeasureError, match="not a baseline of dipddpm"):
        load(file)


@pytest.mark.parametrize("text", ["[-1, 0]", '["x"]', "[true]", "[1e400]", '"x"', "null", "[NaN]"])
def test_a_senseless_value_of_a_run_is_refused(tmp_path, text):
    file = tmp_path / "run.json"
    run().save(file)
    made = json.loads(file.read_text())
    if text == "[-1, 0]":
        made["records"][0]["seconds"]["diffusion"] = -1
    else:
        next(iter(made["records"][0]["measures"].values()))["values"] = "HERE"
    file.write_text(json.dumps(made).replace('"HERE"', text))
    with pytest.raises(MeasureError, match="not a run file of dipddpm") as caught:
        Run.load(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "NaN", "[-Infinity]", "[" * 100_000, "1" * 5000, "{", ""])
def test_what_is_no_strict_json(text):
    with pytest.raises(ValueError):
        strict_json(text)


def test_what_is_said_twice_is_named():
    with pytest.raises(ValueError, match="'values' stands twice"):
        strict_json('{"x": {"values": [1], "values": [2]}}')
    assert strict_json('{"x": [1, 2.5, null, true, "NaN"]}') == {"x": [1, 2.5, None, True, "NaN"]}
