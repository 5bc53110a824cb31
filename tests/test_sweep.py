"""Sweeps: points become tasks, tasks become results, whatever the order, the number of workers and their deaths."""

import os
import random
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from sweep_calls import dies, dies_once, doubled, hangs, refused, slowly

from dipddpm.cli import command_line, main
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.extractors import NamedExtractor
from dipddpm.measure.instruments.alone import alone
from dipddpm.measure.instruments.machine import decides_numbers
from dipddpm.measure.record import MeasureError
from dipddpm.measure.store import Call, Made, Store, make
from dipddpm.session.figures import Figures
from dipddpm.session.suites import pytest_addoption
from dipddpm.session.threads import remember_threads, remembered_threads
from dipddpm.sweep import claims as claiming
from dipddpm.sweep.claims import Claims
from dipddpm.sweep.command import _share
from dipddpm.sweep.local import LocalEngine
from dipddpm.sweep.on_ray import RayEngine
from dipddpm.sweep.parcels import Unpacker, pack
from dipddpm.sweep.plan import Plan
from dipddpm.sweep.points import Asking, Attempt, NotYet, _NoFigures
from dipddpm.sweep.progress import Progress
from dipddpm.sweep.sweeping import Sweep
from dipddpm.sweep.work import Paces, kind_of_work, steps
from dipddpm.sweep.worker import Answer, Terms, answer

LARGE = torch.arange(30_000.0)


def test_a_sweep_draws_nothing_and_suites_need_not_know(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures = _NoFigures()
    figures.add("grid", "key", lambda: pytest.fail(f"drawn into {figures.folder}"))
    assert isinstance(figures, Figures) and not figures.paths and not list(tmp_path.iterdir())


# ---- Parcels ------------------------------------------------------------------------------------------------------


def test_a_call_travels_and_is_known_by_the_same_name(tmp_path):
    store, known = Store(tmp_path), {}
    denoiser = open_denoiser("unet")
    call = store.call(doubled, {"x": LARGE, "name": {"denoiser": denoiser, "extractor": NamedExtractor()}})
    parcel = pack(call, "cpu", known)
    assert len(parcel.content) < 20_000 and len(parcel.parts) == 3, "tensor, network and extractor travel apart"
    unpacker = Unpacker()
    got, device = unpacker.unpack(parcel.content, parcel.parts.__getitem__)
    assert got.key == store.call(got.function, got.arguments).key == call.key and device == "cpu"

    again = pack(store.call(doubled, {"x": LARGE, "name": "other"}), "cpu", known)
    assert set(again.parts) < set(parcel.parts) and not unpacker.lacks(list(again.parts))
    other, _ = unpacker.unpack(again.content, lambda name: pytest.fail("it is here already"))
    assert other.arguments["x"] is got.arguments["x"]


def test_a_view_does_not_take_the_whole_tensor_along(tmp_path):
    call = Store(tmp_path).call(doubled, {"x": torch.zeros(100, 30_000)[:1]})
    (part,) = pack(call, "cpu", {}).parts.values()
    assert len(part) < 150_000


def test_what_cannot_be_sent_is_named(tmp_path):
    call = Call(doubled, {"x": (i for i in ())}, {}, {})
    with pytest.raises(InputError, match="doubled: its arguments cannot be sent to a worker"):
        pack(call, "cpu", {})


@pytest.mark.parametrize(
    ("numbers", "described", "error"),
    [
        ({"cpu": "abacus"}, {}, "its cpu is .* and the driver's 'abacus'"),
        ({}, {"code": "of another version"}, "the code here is not that of the driver"),
    ],
)
def test_a_worker_that_would_compute_other_numbers_says_so(tmp_path, numbers, described, error):
    call = Store(tmp_path).call(doubled, {"x": LARGE})
    parcel = pack(Call(call.function, call.arguments, {}, call.described | described), "cpu", {})
    found = answer("key", parcel.content, parcel.parts.__getitem__, Terms(numbers, torch.get_num_threads()))
    assert found.misfit and found.made is None
    with pytest.raises(AssertionError, match=error):
        raise AssertionError(found.error)


# ---- The loop, with an engine of this process ---------------------------------------------------------------------


class InTurns:
    """An engine that does its tasks when it is asked for answers, in an order of its own."""

    def __init__(self, workers, seed=0, fails=()):
        self.workers, self.random, self.fails = workers, random.Random(seed), fails
        self.taken, self.order, self.most = [], [], 0

    def room(self):
        return self.workers - len(self.taken)

    def submit(self, parcel):
        self.taken.append(parcel)
        self.order.append(parcel.kind)
        self.most = max(self.most, len(self.taken))

    def answers(self, seconds):
        if not self.taken:
            return []
        parcel = self.taken.pop(self.random.randrange(len(self.taken)))
        if parcel.kind in self.fails:
            return [Answer(parcel.key, error="Traceback\nValueError: planted")]
        call, device = Unpacker().unpack(parcel.content, parcel.parts.__getitem__)
        return [Answer(parcel.key, make(call, device))]

    def news(self):
        return []


def first(x):
    return {"x": x + 1}


def second(x):
    return {"x": x * 3}


@alone
def timed(x):
    return {"x": x}


class Chains:
    """Points that ask for one result after the other, as suites do."""

    def __init__(self, store, chains):
        self.memo, self.chains, self.found = Asking(store), chains, {}
        self.items = [SimpleNamespace(name=name, nodeid=name) for name in chains]

    def attempt(self, item):
        self.memo.asked = None
        try:
            x = torch.zeros(2)
            for function, start in self.chains[item.name]:
                x = self.memo(function, {"x": x + start}).value["x"]
            self.found[item.name] = x
        except NotYet:
            return Attempt(self.memo.asked)
        return Attempt()


CHAINS = {
    "short": [(first, 0)],
    "long": [(first, 0), (second, 1), (second, 2)],
    "other": [(first, 5), (second, 1)],
    "with a timing": [(first, 5), (timed, 0), (second, 7)],
}


def swept(folder, engine, chains=CHAINS):
    store = Store(folder)
    points, progress = Chains(store, chains), Progress(1)
    outcome = Sweep(store, engine, Plan(Paces(store)), progress).run(points)
    return outcome, points.found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_in_any_order_gives_the_same(tmp_path, workers, seed):
    outcome, found = swept(tmp_path, InTurns(workers, seed))
    assert outcome.done == {"first": 2, "second": 4, "timed": 1} and outcome.points == 4 and not outcome.failed
    assert found["long"].tolist() == [24.0, 24.0] and found["with a timing"].tolist() == [39.0, 39.0]
    again, _ = swept(tmp_path, InTurns(0))  # nothing is left to be done, and nobody could do it
    assert again.points == 4 and not again.done
    assert not list((tmp_path / "claims").iterdir())


def test_the_longest_path_goes_first_and_a_timing_goes_alone(tmp_path):
    store = Store(tmp_path)
    plan = Plan(Paces(store), paths={"short": 1, "long": 30, "other": 5, "with a timing": 9})
    chains = {"short": [(second, 0)], "long": [(first, 0)], "with a timing": [(timed, 0)]}
    busy = []

    class Watched(InTurns):
        def submit(self, parcel):
            super().submit(parcel)
            busy.append((parcel.kind, len(self.taken)))

    Sweep(store, engine := Watched(2), plan, Progress(1)).run(Chains(store, chains))
    assert engine.order == ["first", "second", "timed"] and busy[-1] == ("timed", 1)


def test_a_task_that_raises_fails_its_points_and_no_other(tmp_path):
    outcome, found = swept(tmp_path, InTurns(2, fails=("timed",)))
    assert outcome.points == 3 and set(found) == {"short", "long", "other"}
    ((what, why),) = outcome.failed.items()
    assert what.startswith("timed ") and "planted" in why


def test_results_of_another_sweep_are_waited_for_and_taken(tmp_path):
    """What another sweep has claimed is not computed here; its result counts as soon as it is there."""
    store = Store(tmp_path)
    others = Claims(tmp_path)
    call = store.call(first, {"x": torch.zeros(2)})
    assert others.take(call.key)

    class Meanwhile(InTurns):
        def answers(self, seconds):
            if not self.taken and not store.has(call):
                store.add(call, make(call, "cpu"))
                others.drop(call.key)
            return super().answers(seconds)

    outcome, found = swept(tmp_path, Meanwhile(2))
    assert outcome.points == 4 and outcome.done == {"first": 1, "second": 4, "timed": 1}
    assert found["short"].tolist() == [1.0, 1.0]


def test_claims_of_a_sweep_that_was_killed_are_free_again(tmp_path, monkeypatch):
    mine, theirs = Claims(tmp_path), Claims(tmp_path)
    assert theirs.take("a") and not mine.take("a") and mine.take("b")
    os.utime(tmp_path / "claims" / "a", (time.time() - 2 * claiming.FRESH,) * 2)
    assert mine.take("a")
    monkeypatch.setattr(claiming, "RENEW", -1)
    os.utime(tmp_path / "claims" / "b", (0, 0))
    mine.renew()
    assert not theirs.take("b")
    mine.close(), theirs.close()
    assert not list((tmp_path / "claims").glob("[!.]*"))


# ---- Hours --------------------------------------------------------------------------------------------------------


def test_counted_work_is_images_times_steps():
    settings = [{"dipddpm.restore:Setting": {"nfe": 5}}, {"dipddpm.restore:Setting": {"nfe": 20}}]
    tuning = {"function": "tune", "arguments": {"seeds": [1, 2, 3], "mus": [0, 0], "settings": settings}}
    assert steps(tuning) == 3 * 2 * 25
    fit = {"function": "fit", "arguments": {"seeds": [1, 2], "iterations": [0, 5, 50], "architecture": "a:Skip"}}
    assert steps(fit) == 100 and kind_of_work(fit) == ("fit", "a:Skip")
    training = {"settings": {"dipddpm.training:TrainingSettings": {"steps": 40, "batch": 16}}}
    assert steps({"function": "train_stretch", "arguments": training}) == 640
    assert steps({"function": "score", "arguments": {}}) == 1


def test_pace_is_that_of_this_machine_in_the_store(tmp_path):
    store = Store(tmp_path)
    assert Paces(store).seconds(store.call(doubled, {"x": LARGE}).described) is None
    call = store.call(slowly, {"x": torch.ones(2), "seconds": 0.2})
    store.add(call, make(call, "cpu"))
    assert 0.2 <= Paces(store).seconds(call.described) < 0.5
    (tmp_path / "slowly" / "broken.json").write_text("{")
    store.add(Call(slowly, {}, {}, {**call.described, "machine": "another"}), Made({}, 100.0, 0))
    assert 0.2 <= Paces(store).seconds(call.described) < 0.5, "what another machine took does not count"


# ---- Threads and shares -------------------------------------------------------------------------------------------


def options(cache, *given):
    return command_line.parser().parse_args(["sweep", "--device", "cpu", "--cache", str(cache), *given])


def test_a_plan_whose_paces_are_all_unknown_names_no_hours(tmp_path):
    expected = Plan(Paces(Store(tmp_path)), tasks={"key": ("tune", 12.0, None)})
    assert expected.sentence(2).startswith("The pace of tune is unknown")
    expected.tasks["other"] = ("run_arm", 12.0, 7200.0)
    assert expected.sentence(2).startswith("at least 2.00 hours of one worker. The pace of tune is unknown")


def test_the_store_keeps_with_how_many_threads_which_options_were_swept(tmp_path):
    remember_threads(options(tmp_path, "--profile", "smoke", "--axis", "nfe=1", "--axis", "t0=5"), 1)
    remember_threads(options(tmp_path, "--profile", "full"), 4)
    assert remembered_threads(options(tmp_path, "--profile", "smoke", "--axis", "t0=5", "--axis", "nfe=1")) == 1
    assert remembered_threads(options(tmp_path, "--profile", "full")) == 4
    assert remembered_threads(options(tmp_path, "--profile", "smoke")) is None
    (tmp_path / "threads.json").write_text("[")
    assert remembered_threads(options(tmp_path, "--profile", "full")) is None


def test_a_sweep_takes_the_options_that_name_the_experiments_of_a_session():
    named = set()

    def addoption(*names, **_):
        named.update(name.removeprefix("--").replace("-", "_") for name in names)

    pytest_addoption(SimpleNamespace(getgroup=lambda _: SimpleNamespace(addoption=addoption)))
    assert "axis" in named and named <= set(vars(options("x")))


def test_every_point_is_of_one_share_and_those_of_a_fit_of_the_same(tmp_path):
    def item(*values):
        return SimpleNamespace(nodeid="bench/x.py::y", callspec=SimpleNamespace(params={"experiments": 0, "p": values}))

    arm = SimpleNamespace(family="skip:32")
    ours = [_share(options(tmp_path, "--worker", f"{i}/3")) for i in range(3)]
    items = [item("inpaint", arm, 5), item("inpaint", arm, 20), item("denoise_25", arm, 5), item("inpaint", 3)]
    of = [[i for i in range(3) if ours[i](each)] for each in items]
    assert all(len(shares) == 1 for shares in of) and of[0] == of[1]
    with pytest.raises(InputError, match="--worker 3/3: write I/N with I from 0 to 2"):
        _share(options(tmp_path, "--worker", "3/3"))


def test_stores_are_merged_by_whole_results(tmp_path):
    a, b = Store(tmp_path / "a"), Store(tmp_path / "b")
    for x in range(3):
        a.measured(doubled, {"x": torch.full((2,), x)})
    damaged = next((tmp_path / "a" / "doubled").glob("*.json"))
    damaged.write_text(damaged.read_text().replace("doubled", "trebled"))
    with pytest.warns(UserWarning, match="damaged or incomplete"):
        assert b.merge(tmp_path / "a") == 2
    assert not (tmp_path / "b" / "doubled" / damaged.name).exists()
    with pytest.raises(MeasureError, match="no such store"):
        b.merge(tmp_path / "none")


# ---- Engines ------------------------------------------------------------------------------------------------------


def all_answers(engine, count, seconds=120):
    found, until = {}, time.monotonic() + seconds
    while len(found) < count and time.monotonic() < until:
        found |= {given.key: given for given in engine.answers(0.5)}
    return found


def test_processes_work_raise_and_die(tmp_path):
    """Two processes: results are those of this process, an exception is told, a killed process is replaced, and what
    hangs is ended."""
    store, threads = Store(tmp_path), torch.get_num_threads()
    numbers = {name: value for name, value in decides_numbers().items() if name != "threads"}
    calls = [
        store.call(doubled, {"x": LARGE}),
        store.call(doubled, {"x": LARGE + 1}),
        store.call(refused, {"reason": "planted"}),
        store.call(dies_once, {"folder": str(tmp_path)}),
        store.call(hangs, {"seconds": 600.0}),
    ]
    engine = LocalEngine(2, Terms(numbers, limit=1.0))
    try:
        for call in calls:
            engine.submit(pack(call, "cpu", {}))
        found = all_answers(engine, len(calls))
        told = engine.news()
    finally:
        engine.close()
    works, also, raised, revived, hanging = (found[call.key] for call in calls)
    assert torch.equal(works.made.value["x"], 2 * LARGE) and torch.equal(also.made.value["x"], 2 * LARGE + 2)
    assert works.made.value["threads"] == 1 and works.where != also.where and torch.get_num_threads() == threads
    assert raised.made is None and raised.error.endswith("ValueError: planted")
    assert revived.made.value == {"alive": True}
    assert hanging.made is None and "took longer than 1 s" in hanging.error and "time.sleep(0.05)" in hanging.error
    assert len(told) == 1 and "a worker died of dies_once" in told[0] and "-9" in told[0]


def test_behind_a_short_task_another_one_waits_in_the_worker(tmp_path):
    """It comes home, also where the task before it asks for parts meanwhile, or kills the worker."""
    store = Store(tmp_path)

    def parcel(function, **arguments):
        return pack(store.call(function, arguments), "cpu", {})

    def folder(name):
        (tmp_path / name).mkdir()
        return str(tmp_path / name)

    engine = LocalEngine(1, Terms({}))
    try:
        engine.submit(parcel(slowly, x=LARGE, seconds=0.01))
        assert engine.room() == 0, "whether the kind is short is not known yet"
        assert len(all_answers(engine, 1)) == 1 and engine.room() == 1
        asking = [parcel(slowly, x=LARGE + 1, seconds=0.5), parcel(slowly, x=LARGE + 2, seconds=0.01)]
        for each in asking:
            assert engine.room() == 1
            engine.submit(each)
        assert engine.room() == 0
        found = all_answers(engine, 2)
        assert [float(found[each.key].made.value["x"][0]) for each in asking] == [2, 4]

        engine.submit(parcel(dies_once, folder=folder("first")))
        assert len(all_answers(engine, 1)) == 1
        killing = [parcel(dies_once, folder=folder("second")), parcel(slowly, x=LARGE + 3, seconds=0.01)]
        for each in killing:
            engine.submit(each)
        found = all_answers(engine, 2)
        assert found[killing[0].key].made.value == {"alive": True}
        assert float(found[killing[1].key].made.value["x"][0]) == 6
        assert len(engine.news()) == 2, "one line for each death"
    finally:
        engine.close()


@pytest.mark.long
def test_a_task_that_kills_every_worker_is_given_up(tmp_path):
    store = Store(tmp_path)
    call = store.call(dies, {"reason": "memory"})
    engine = LocalEngine(1, Terms({}))
    try:
        engine.submit(pack(call, "cpu", {}))
        (given,) = all_answers(engine, 1).values()
    finally:
        engine.close()
    assert given.made is None and "the 4th one: is there too little memory" in given.error


def test_a_ray_cluster_works_and_raises(tmp_path, monkeypatch):
    """A real cluster, of this machine: results are those of this process, an exception is told, what hangs is ended."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # its workers import what we do
    store = Store(tmp_path)
    numbers = {name: value for name, value in decides_numbers().items() if name != "threads"}
    calls = [
        store.call(doubled, {"x": LARGE}),
        store.call(refused, {"reason": "planted"}),
        store.call(hangs, {"seconds": 600.0}),
    ]
    try:
        engine = RayEngine("", 1, 0.0, Terms(numbers, limit=5.0))
    except InputError as error:
        if "timed out during startup" in str(error):
            pytest.skip("this machine is too busy: Ray gives its own processes 30 seconds to start")
        raise
    try:
        assert engine.workers == 1
        for call in calls:
            engine.submit(pack(call, "cpu", {}))
        found = all_answers(engine, len(calls))
    finally:
        engine.close()
    works, raised, hanging = (found[call.key] for call in calls)
    assert torch.equal(works.made.value["x"], 2 * LARGE) and works.made.value["threads"] == 1
    assert raised.error.endswith("ValueError: planted") and "took longer than 5 s" in hanging.error


# ---- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--profile", "huge"], "unknown profile 'huge': choose from"),
        (["--merge", "no/such"], "no/such: no such store"),
        (["--worker", "2/2"], "--worker 2/2: write I/N with I from 0 to 1"),
    ],
)
def test_bad_input_is_one_line(given, message, tmp_path, capsys):
    threads = torch.get_num_threads()
    assert main(["sweep", "--cache", str(tmp_path), "--threads", str(threads), "--dry-run", *given]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"dipddpm: {message}") and "\n" not in error


def test_without_ray_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--engine ray: Ray is not installed: pip install 'dipddpm\[ray\]'"):
        RayEngine("", 1, 0.0, Terms({}))
