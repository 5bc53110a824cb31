"""Submissions: a sound run is taken, whatever is planted is named, what compares is merged and the rest refused."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import planted_submission
import pytest
from test_gpu_runner import script
from test_page import Elements

from dipddpm import __version__
from dipddpm.cli import main
from dipddpm.measure.gate.merge import merge
from dipddpm.measure.record import Measure, MeasureError, Run
from dipddpm.measure.submission import Submission
from dipddpm.report.public import agreement, markdown, public_boards
from dipddpm.session.submitting import complaints, submission_of, unsound

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def sound():
    return planted_submission.run()


@pytest.fixture
def made(sound):
    """A copy that a test may spoil."""
    return copy.deepcopy(sound)


@pytest.fixture
def files(sound, tmp_path, monkeypatch):
    """A folder with run.json, where the test goes on."""
    monkeypatch.chdir(tmp_path)
    sound.save(tmp_path / "run.json")
    return tmp_path


def at(run, arm, group="inpaint", budget=None):
    return next(
        i for i, r in enumerate(run.records) if r.arm == arm and r.group == group and budget in (None, r.budget)
    )


def change(run, arm, budget=None, **changes):
    i = at(run, arm, budget=budget)
    run.records[i] = replace(run.records[i], **changes)


def with_values(run, arm, name, values):
    record = run.records[at(run, arm)]
    measures = {**record.measures, name: replace(record.measures[name], values=values)}
    change(run, arm, measures=measures)


# ---- What is taken ------------------------------------------------------------------------------------------------


def test_a_sound_run_becomes_a_file_of_its_own(files, sound, capsys):
    assert main(["submit", "run.json", "--by", "A. Person"]) == 0
    (path,) = Path("results").iterdir()
    assert capsys.readouterr().out == f"wrote {path}\n"
    profile, data, version, content = path.stem.split("_")[1:]
    assert (profile.partition("-")[0], data, version, len(content)) == ("smoke", "photo-patches", __version__, 10)
    one = Submission.load(path)
    assert one.by == "A. Person" and one.run.content() == Run.load(Path("run.json")).content()
    assert not list(unsound(one)) and main(["submit", "--check", str(path)]) == 0
    before = path.read_bytes()
    assert main(["submit", "run.json"]) == 2 and "is there already" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_the_outcome_as_json(files, capsys):
    Path("bad.json").write_text(json.dumps(json.loads(Path("run.json").read_text()) | {"failed": 1}))
    assert main(["submit", "run.json", "bad.json", "--json"]) == 2
    first, second = json.loads(capsys.readouterr().out)
    assert Path(first["wrote"]).exists() and not first["refused"]
    assert second["wrote"] == "" and second["refused"] == [
        "1 tests failed: run all suites of the profile without a failure"
    ]


@pytest.mark.parametrize("name", ["../../etc/x", "/", "", ".", "CON:stream", "\x1b[31m\n", "é" * 400, "a\\b", "..._"])
def test_no_name_in_a_run_leads_out_of_the_folder(made, tmp_path, name):
    made.machine = made.machine | {"gpu": name or None, "cpu": name}
    made.settings = made.settings | {"profile": name, "data": name}
    one = Submission(made, __version__, "2026-01-01", "", {})
    path = one.save(tmp_path / "results")
    assert path.parent == tmp_path / "results" and path.name.isascii() and len(path.name) < 200
    assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_") and not path.name.startswith(".")


# ---- What is refused ----------------------------------------------------------------------------------------------


def unplanned(run):
    run.records = [r for r in run.records if r.arm != "biharmonic"]


def a_suite_without_records(run):
    run.records = [r for r in run.records if r.origin != "bench_training"]


def halved(run):
    record = run.records[at(run, "dip skip:32 20")]
    change(run, record.arm, record.budget, units={**record.units, "dip": record.units["dip"] / 2})


def cheaper(run):
    run.paces = [replace(p, samples=[s / 100 for s in p.samples]) if p.stage == "dip" else p for p in run.paces]


def another_choice(run):
    mine = [r for r in run.records if r.arm == "dip skip:32 20" and r.group == "inpaint" and r.budget]
    change(run, mine[0].arm, mine[0].budget, chosen=mine[-1].chosen)
    change(run, mine[-1].arm, mine[-1].budget, chosen=[])


def another_photograph(run):
    for i, record in enumerate(run.records):
        run.records[i] = replace(record, items=["x", *record.items[1:]]) if record.items else record


def swapped(run):
    change(run, "biharmonic", items=[*reversed(run.records[at(run, "biharmonic")].items)])


def uncounted(run):
    values = [float("nan"), *run.records[at(run, "biharmonic")].measures["psnr"].values[1:]]
    with_values(run, "biharmonic", "psnr", values)


def rates(run):
    of = {"seconds": [2.0], "images / s": [0.5], "iterations / s": [100.0]}
    measures = {name: Measure("", True, "timing", values) for name, values in of.items()}
    run.records.append(replace(run.records[-1], arm="fit", budget=20, measures=measures))


def unknown_prior(run):
    record = run.records[at(run, "biharmonic")]
    change(run, "biharmonic", axes={**record.axes, "prior": "theirs"})


PLANTED = {
    "a part": (lambda r: setattr(r, "selected", "-k inpaint"), "not a whole run (-k inpaint)"),
    "failed": (lambda r: setattr(r, "failed", 2), "2 tests failed"),
    "empty": (lambda r: setattr(r, "records", []), "holds no records"),
    "a rival left out": (unplanned, "/ inpaint / biharmonic / 1 / 0: planned by the profile, not in the run"),
    "a suite left out": (a_suite_without_records, "suite bench_training: was run, and none of its records are there"),
    "a suite not run": (lambda r: r.origins.pop("bench_t0"), "suite bench_t0: was not run"),
    "another suite": (lambda r: r.origins.update(bench_t0="x"), "suite bench_t0: has other code than in this version"),
    "another profile": (lambda r: r.settings.update(profile="quick"), "config: not that of profile 'quick'"),
    "no profile": (lambda r: r.settings.update(profile="huge"), "unknown profile 'huge'"),
    "another config": (lambda r: r.config.update({"restoration.trials": 99}), "restoration.trials"),
    "another rule": (lambda r: setattr(r, "margin", 3.0), "margin: 3.0, this version has 0.5"),
    "a leak hidden": (lambda r: change(r, "oracle", leak="none"), "leak 'none', oracle with fixed has 'clean-target'"),
    "a rival renamed": (lambda r: change(r, "biharmonic", role="bound"), "is called bound, and biharmonic is control"),
    "a prior of others": (unknown_prior, "prior 'theirs' is unknown here"),
    "out of range": (lambda r: with_values(r, "biharmonic", "psnr", [150.0] * 8), "psnr of 150 is outside of -20"),
    "NaN not counted": (uncounted, "1 images have a value that is not finite, 0 are counted"),
    "fewer passes": (halved, "20 passes of its first stage, 10 charged"),
    "a cheap pace": (cheaper, "stage dip took 0.2 s, its count times the pace is 0.002 s"),
    "a dear pace": (lambda r: change(r, "noise", 5, seconds={"diffusion": 9.0}), "stage diffusion took 9 s"),
    "more evaluations": (lambda r: with_values(r, "noise", "nfe", [50]), "50 evaluations measured, 1 charged"),
    "another choice": (another_choice, "the cell that psnr chose scores"),
    "no choice": (lambda r: change(r, "noise", 10, chosen=[]), "psnr chose 0 of its cells, and not one"),
    "twice": (lambda r: r.records.append(r.records[0]), "recorded 2 times"),
    "other images": (swapped, "is of other images or photographs than"),
    "no test images": (another_photograph, "its images are not the test images of photo-patches"),
    "another count": (lambda r: r.settings.update(data="x, 9 test images of 6 photographs"), "9 test images"),
    "rates": (rates, "its rates are not those of 2 seconds"),
    "splits that share": (lambda r: r.splits.update(equal=2), "2 pairs of equal images in different splits"),
    "another seed": (lambda r: change(r, "noise", 5, seeds={"seed": 3}), "seed 3, settings 0"),
    "a repeat left out": (lambda r: r.settings.update(profile=r.settings["profile"] + " seeds=2"), "has 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_named(made, case):
    spoil, message = PLANTED[case]
    spoil(made)
    found = list(complaints(made))
    assert any(message in line for line in found), found[:5]
    assert all("\n" not in line for line in found)


def test_a_file_that_was_changed_is_refused(files, sound, capsys):
    main(["submit", "run.json"])
    (path,) = Path("results").iterdir()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"chosen": ["psnr"', '"chosen": ["PSNR"', 1), encoding="utf-8")
    capsys.readouterr()
    assert main(["submit", "--check", str(path)]) == 2
    assert "its checksum is not that of its content" in capsys.readouterr().err


def test_what_is_quoted_has_to_follow_from_the_records(sound, tmp_path, capsys):
    one = submission_of(sound)
    row = next(i for i, row in enumerate(one.quoted["rows"]) if row["tested"])
    for changes, message in (
        ({"mean": 99.0}, "mean quoted as 99.0, its records give"),
        ({"seconds": 1e-3}, "seconds quoted as 0.001"),
        ({"control": "noise at last"}, "control quoted as 'noise at last'"),
        ({"arm": "another"}, "quoted, not in its records"),
    ):
        quoted = copy.deepcopy(one.quoted)
        quoted["rows"][row] |= changes
        assert message in next(unsound(replace(one, quoted=quoted)))
    claims = replace(one, quoted=copy.deepcopy(one.quoted) | {"verdicts": {"inpaint": "pays"}})
    path = claims.save(tmp_path)
    assert main(["submit", "--check", str(path)]) == 2
    assert "verdict of inpaint: quoted 'pays'" in capsys.readouterr().err


@pytest.mark.long
def test_another_version_or_name_is_not_taken_in(sound, tmp_path, capsys):
    old = replace(submission_of(sound), version="0.0.9").save(tmp_path)
    renamed = submission_of(sound).save(tmp_path)
    renamed = renamed.rename(tmp_path / "best.json")
    assert main(["submit", "--check", str(old), str(renamed)]) == 2
    err = capsys.readouterr().err
    assert "made by version 0.0.9" in err and "best.json: its name would be " in err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha256": 1, "quoted": 2}', b"\xff", b'{"format": 2}'])
def test_what_is_no_submission(tmp_path, content, capsys):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(MeasureError, match=r"x\.json: "):
        Submission.load(tmp_path / "x.json")
    assert main(["submit", "--check", str(tmp_path / "x.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---- The table ----------------------------------------------------------------------------------------------------


def moved(run, **machine):
    """The same run on another machine, of which every count and score is the same."""
    made = copy.deepcopy(run)
    made.machine = made.machine | {"id": "elsewhere"} | machine
    return made


def worse(run, by):
    made = moved(run)
    for i, record in enumerate(made.records):
        if "psnr" in record.measures:
            values = [v - by for v in record.measures["psnr"].values]
            measures = {**record.measures, "psnr": replace(record.measures["psnr"], values=values)}
            made.records[i] = replace(record, measures=measures)
    return made


def other_suites(run):
    made = moved(run)
    made.origins = dict.fromkeys(made.origins, "of before")
    return made


def other_data(run):
    made = moved(run)
    made.settings = made.settings | {"data": made.settings["data"].replace("photo-patches", "folder:mine")}
    return made


def test_what_compares_is_merged_and_the_rest_says_why(sound):
    given = {
        Path("new.json"): submission_of(sound),
        Path("elsewhere.json"): submission_of(moved(sound, cpu="another CPU")),
        Path("before.json"): replace(submission_of(worse(sound, 1.0)), version="0.0.9"),
        Path("again.json"): submission_of(sound, by="another"),
        Path("suites.json"): replace(submission_of(other_suites(sound)), version="0.0.8"),
        Path("data.json"): submission_of(other_data(sound)),
    }
    boards, refused = merge(given)
    assert sorted(len(board.members) for board in boards) == [1, 3]
    assert refused.keys() <= {Path("again.json"), Path("new.json"), Path("suites.json")} and len(refused) == 2
    assert "the code of suite bench_controls changed" in refused[Path("suites.json")]
    assert any(why.startswith("the same run as ") for why in refused.values())
    (main_board,) = (board for board in boards if len(board.members) == 3)
    first, second, before = main_board.members
    assert before.path.name == "before.json"
    assert agreement(first.against) == "" and "better" not in agreement(second.against)
    assert "better since" in agreement(before.against) and "worse" not in agreement(before.against)
    shown = public_boards([main_board])[0]
    assert shown.history["version"].tolist() == [__version__, __version__, "0.0.9"]
    (inpaint, *_) = shown.tasks
    assert len(inpaint.contrasts) == 6 and set(inpaint.arms["runs"]) == {"2"}
    assert inpaint.arms["PSNR dB"].str.contains(" to ").all()


def test_report_of_submissions(files, sound, capsys):
    hostile = "<img src=x onerror=alert(1)>|`"
    Path("results").mkdir()
    submission_of(sound, by=hostile).save(Path("results"))
    submission_of(moved(sound, cpu=hostile)).save(Path("results"))
    paths = [*map(str, Path("results").iterdir()), "run.json"]
    assert main(["report", *paths, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    names = [Path(path).name for path in said["wrote"]]
    assert names == ["README.md", "results.csv", "columns.md", "index.html"]
    assert said["refused"] == {"run.json": "a run file and no submission: `dipddpm submit` makes one of it"}
    text = Path("reports/public/README.md").read_text(encoding="utf-8")
    assert "### denoise 25" in text and "<img" not in text and hostile not in text and "run.json" in text
    page = Path("reports/public/index.html").read_text(encoding="utf-8")
    elements = Elements(page)
    assert "<img" not in page.split("<script")[0] and len(page) < 1_000_000
    assert all(attrs.get("href", "#").startswith(("#", "data:")) for _, attrs in elements.tags)
    assert not [tag for tag, attrs in elements.tags if "src" in attrs]
    assert main(["report", "run.json", "run.json"]) == 2
    assert "2 files and no submission among them" in capsys.readouterr().err
    assert main(["report", "results/none.json", paths[0]]) == 0
    assert "no such submission" in capsys.readouterr().err


@pytest.mark.long
def test_the_table_is_the_same_whatever_the_order(sound):
    given = {Path(f"{i}.json"): submission_of(moved(sound, cores=i)) for i in range(3)}
    tables = []
    for order in (given, dict(reversed(given.items()))):
        boards, refused = merge(order)
        tables.append(markdown(public_boards(boards), refused))
    assert tables[0] == tables[1]


# ---- CI -----------------------------------------------------------------------------------------------------------

results = script("results")


def test_a_change_may_only_add(tmp_path):
    changed = [
        ("M", Path("results/a.json")), ("D", Path("results/b.json")), ("A", Path("results/c.txt")),
        ("A", Path("results/deep/d.txt")), ("M", Path("results/README.md")),
    ]  # fmt: skip
    found = results.check(changed)
    assert len(found) == 4 and not any("README" in line for line in found)
    assert found[0].startswith("results/a.json: a change may add submissions")


@pytest.mark.long
def test_the_check_of_a_pull_request(files, sound):
    def git(*words):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *words], check=True, capture_output=True)

    def checked():
        git("add", "results"), git("commit", "-qm", "results")
        command, environment = [sys.executable, str(ROOT / ".ci" / "results"), "main"], {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=os.environ | environment, capture_output=True, encoding="utf-8")

    git("init", "-qb", "main"), git("commit", "-q", "--allow-empty", "-m", "begin"), git("checkout", "-qb", "change")
    assert main(["submit", "run.json"]) == 0
    done = checked()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything is in order" in done.stdout and "# Submitted runs" in done.stdout
    (path,) = Path("results").iterdir()
    path.write_text(path.read_text(encoding="utf-8").replace('"budget": 5', '"budget": 4', 1), encoding="utf-8")
    done = checked()
    assert done.returncode == 2 and "its checksum is not that of its content" in done.stdout
