"""Training: known losses, an average that is one, and a run that resumes to the same numbers."""

import json
import math
from functools import partial
from itertools import count

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dipddpm import training as updates
from dipddpm.checkpoints import read_state, save_checkpoint
from dipddpm.cli import main
from dipddpm.cli import train as cli_train
from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.distributed import Processes
from dipddpm.errors import InputError
from dipddpm.injection import injection
from dipddpm.injection.weights import Weights
from dipddpm.rng import ImageRng, seed_for
from dipddpm.schedule import Schedule
from dipddpm.train import KEPT_EVERY, train
from dipddpm.training import EMA, Diverged, Training, TrainingSettings, learning_rate
from dipddpm.training_loss import HELD_OUT_T, ddpm_loss, draw_batch, held_out_loss
from dipddpm.unet import UNet

SCHEDULE = Schedule.linear()
IMAGES = open_dataset("photo-patches", size=16).load("train")[:50]


def small():
    torch.manual_seed(0)
    return UNet(size=16, channels=(8, 16), attention_at=(8,))


def run(out, steps, save=save_checkpoint, images=IMAGES, held_out=IMAGES[:8], given=None, save_every=3, **options):
    settings = TrainingSettings(steps, **{"batch": 8, "warmup": 2} | options)
    return train(
        images, held_out, out, model=small(), schedule=SCHEDULE, settings=settings, save_every=save_every, save=save,
        **(given or {}),
    )  # fmt: skip


def updates_in(out):
    """The updates behind the state that a run left."""
    return int(torch.load(state_of(out), weights_only=True)["tensors"]["done"])


def state_of(out):
    return out.with_suffix(".safetensors.state")


def assert_same_run(out, record, whole, whole_record):
    """Weights, loss curve and held-out loss are those of a run that was never stopped."""
    assert record["held_out_loss"] == whole_record["held_out_loss"]
    assert record["loss_curve"] == whole_record["loss_curve"]
    a, b = load_file(whole), load_file(out)
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_loss_of_known_predictors():
    x_0, eps = torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)
    t = torch.tensor([0, 10, 500, 999])
    assert torch.allclose(ddpm_loss(lambda x, t: torch.zeros_like(x), SCHEDULE, x_0, t, eps), torch.ones(4))
    perfect = ddpm_loss(lambda x, t: x / SCHEDULE.sigma(t, x), SCHEDULE, x_0, t, eps)
    assert torch.allclose(perfect, torch.zeros(4), atol=1e-6)


def test_batches_depend_on_seed_and_step_alone_and_visit_every_image():
    a, b = draw_batch(IMAGES, SCHEDULE, 8, 0, 5), draw_batch(IMAGES, SCHEDULE, 8, 0, 5)
    assert all(torch.equal(u, v) for u, v in zip(a[:3], b[:3], strict=True))
    assert not torch.equal(a[2], draw_batch(IMAGES, SCHEDULE, 8, 0, 6)[2])
    assert not torch.equal(a[2], draw_batch(IMAGES, SCHEDULE, 8, 1, 5)[2])
    numbered = torch.arange(24, dtype=torch.uint8)[:, None, None, None].expand(24, 3, 2, 2).contiguous()
    seen = torch.cat([draw_batch(numbered, SCHEDULE, 8, 0, step)[0][:, 0, 0, 0] for step in range(3)])
    assert len(seen.unique()) == 24  # one epoch
    t = a[1]
    assert t.min() >= 0 and t.max() < 1000 and t.diff().abs().remainder(1000).min() >= 124  # spread evenly


def test_the_order_of_a_batch_across_epochs_and_its_shares():
    """Ten images, batches of 8: an epoch ends within a batch, and one image may stand twice in it."""
    numbered = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 2, 2).contiguous()
    batches = [draw_batch(numbered, SCHEDULE, 8, 0, step) for step in range(5)]
    seen = torch.cat([batch.x_0[:, 0, 0, 0] for batch in batches]).reshape(4, 10)
    assert all(len(epoch.unique()) == 10 for epoch in seen)
    whole = draw_batch(numbered, SCHEDULE, 32, 0, 1)  # more than an epoch
    assert len(whole.x_0[:10].unique()) >= 8 and len(whole.t) == 32
    for part in batches[0][:3]:
        shares = [Processes(rank, 4).share(part) for rank in range(4)]
        assert torch.equal(torch.cat(shares), part)


def test_a_batch_is_drawn_by_the_generator_of_its_update():
    """Philox, whose numbers are those of every device: what another device would draw is known from here."""
    batch, rng = draw_batch(IMAGES, SCHEDULE, 8, 3, 5), ImageRng([seed_for(3, "update", 5)])
    mirrored, offset, eps = rng.rand(8)[0] < 0.5, rng.rand(1)[0], rng.randn(*batch.x_0.shape)[0]
    assert torch.equal(batch.eps, eps) and mirrored.any() and not mirrored.all()
    assert torch.equal(batch.t, ((offset + torch.arange(8) / 8) % 1 * 1000).long())


def test_ema_against_its_recursion():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    ema, expected = EMA(model, decay=0.5), 1.0
    for n, value in enumerate([2.0, 3.0, 4.0, 5.0], start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update(model)
        rate = min(0.5, (1 + n) / (10 + n))
        expected = rate * expected + (1 - rate) * value
        assert ema.shadow["weight"].item() == pytest.approx(expected)


def test_learning_rate_warms_up_and_decays():
    rates = [learning_rate(step, 100, 1.0, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.03


def test_training_lowers_the_loss(tmp_path):
    record = run(tmp_path / "a.safetensors", 60, lr=3e-3)
    assert record["loss_curve"][-1][1] < 0.9
    assert all(0 < loss < 1.0 for loss in record["held_out_loss"].values())


@pytest.mark.numerics
def test_a_stopped_run_ends_with_the_same_numbers(tmp_path):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    with pytest.raises(Killed):  # dies at update 5, after the state of update 3
        run(cut, 8, save=kill, given={"keep_at": (5,)})
    assert not cut.exists() and updates_in(cut) == 3
    assert_same_run(cut, run(cut, 8), whole, run(whole, 8))


class Killed(BaseException):
    """Like a signal: nobody handles it."""


def kill(*arguments):
    raise Killed


def test_a_run_killed_at_a_checkpoint_still_owes_it(tmp_path):
    out = tmp_path / "a.safetensors"
    for stop in (Killed, KeyboardInterrupt):
        with pytest.raises(stop):  # while the checkpoint of update 3 is written, for which a state is due, too
            run(out, 4, save=lambda *a, stop=stop: (_ for _ in ()).throw(stop()), given={"keep_at": (3,)})
    run(out, 4, given={"keep_at": (3,)})
    assert (tmp_path / "a-3.safetensors").exists() and out.exists()


def interrupted_at(update, monkeypatch, place=updates, name="ddpm_loss"):
    """Ctrl-C in the work of an update, counted from 1."""
    work, calls = getattr(place, name), []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == update:
            raise KeyboardInterrupt
        return work(*arguments)

    monkeypatch.setattr(place, name, interrupted)


def test_ctrl_c_loses_no_update_that_was_done(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    interrupted_at(6, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(cut, 8, save_every=100)
    monkeypatch.undo()
    assert updates_in(cut) == 5
    assert_same_run(cut, run(cut, 8), whole, run(whole, 8))


def test_ctrl_c_amid_a_change_of_the_weights_keeps_the_state_before(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    interrupted_at(6, monkeypatch, EMA, "update")
    with pytest.raises(KeyboardInterrupt):
        run(cut, 8)
    monkeypatch.undo()
    assert updates_in(cut) == 3
    assert_same_run(cut, run(cut, 8), whole, run(whole, 8))


def test_the_state_is_written_about_once_a_minute(tmp_path):
    out, now = tmp_path / "a.safetensors", iter(0.4 * KEPT_EVERY * n for n in range(100))
    with pytest.raises(Killed):  # the clock was read once before the first update
        run(out, 8, save=kill, save_every=100, given={"keep_at": (5,), "clock": lambda: next(now)})
    assert updates_in(out) == 3


def test_state_of_another_run_is_refused(tmp_path):
    out = tmp_path / "a.safetensors"
    record = run(out, 4)
    with pytest.raises(InputError, match=r"belongs to a run with other settings \(steps\): delete it or choose"):
        run(out, 5)
    with pytest.raises(InputError, match=r"other settings \(images_hash\)"):  # as many, but other ones
        run(out, 4, images=IMAGES.flip(3))
    with pytest.raises(InputError, match=r"other settings \(held_out_hash\)"):
        run(out, 4, held_out=IMAGES[8:16])
    assert record["images_hash"] != record["held_out_hash"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"text"])
def test_a_damaged_state_is_named(tmp_path, damage):
    out = tmp_path / "a.safetensors"
    run(out, 1)
    state_of(out).write_bytes(damage(state_of(out).read_bytes()))
    with pytest.raises(InputError, match=r"a\.safetensors\.state is damaged: delete it, and the run begins anew"):
        run(out, 1)
    torch.save({"tensors": {}}, state_of(out))
    with pytest.raises(InputError, match="is damaged"):
        read_state(state_of(out), {})


def test_initial_weights_are_fitted_once_charged_and_part_of_the_run(tmp_path):
    out, ticks, fitted = tmp_path / "a.safetensors", count(), []

    def initialise(model):
        fitted.append([next(ticks) for _ in range(6)])

    def start(**made_with):
        given = {"injection": injection("weights"), "initialise": initialise, "initialised": {"seed": 0} | made_with}
        return run(out, 2, given=given | {"clock": lambda: next(ticks)})

    first, again = start(), start()
    assert len(fitted) == 1, "fitted again for a run that goes on"
    assert first["prior_seconds"] == again["prior_seconds"] == 7 and first["seconds"] == again["seconds"] == 2
    assert first["initialised"] == {"seed": 0}
    with pytest.raises(InputError, match=r"other settings \(initialised\)"):
        start(seed=1)


def test_a_short_schedule_has_a_held_out_loss_too():
    losses = held_out_loss(small(), Schedule.linear(400), IMAGES[:4], torch.device("cpu"))
    assert list(losses) == [t for t in HELD_OUT_T if t < 400] == [50, 150, 300]


def test_a_loss_that_is_nan_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    out = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match=r"became (nan|inf|-inf) at update \d+; last good state: none was saved yet"):
        run(out, 40, lr=math.inf, clip=math.inf)
    assert not out.exists() and not out.with_suffix(".safetensors.state").exists()


def test_a_loss_that_turns_nan_later_leaves_the_state_before(tmp_path, monkeypatch):
    out, loss = tmp_path / "a.safetensors", updates.ddpm_loss
    calls = []

    def spoilt(*arguments):
        calls.append(1)
        return loss(*arguments) * (math.nan if len(calls) == 9 else 1)  # update 8, counted from 0

    monkeypatch.setattr(updates, "ddpm_loss", spoilt)
    with pytest.raises(InputError, match=r"the loss became nan at update 8; last good state: .*state, of update 6"):
        run(out, 12)
    state = torch.load(out.with_suffix(".safetensors.state"), weights_only=True)["tensors"]
    assert int(state["done"]) == 6 and all(value.isfinite().all() for value in state.values())
    monkeypatch.undo()
    resumed, whole = run(out, 12), run(tmp_path / "whole.safetensors", 12)  # a glitch, not a property of the run
    assert resumed["held_out_loss"] == whole["held_out_loss"]


@pytest.mark.parametrize("seen_by", ["update", "check", "state"])
def test_an_update_that_is_looked_at_later_changes_no_weight(monkeypatch, seen_by):
    """As on a GPU, where the host goes on meanwhile: the optimiser skips a step whose gradient is no number."""
    loss, training = updates.ddpm_loss, Training(small(), SCHEDULE, TrainingSettings(9, batch=8, warmup=2))
    patient = Training(small(), SCHEDULE, TrainingSettings(9, batch=8, warmup=2))
    training.waits = False
    for _ in range(2):
        assert float(training.update(IMAGES)) == patient.update(IMAGES)
    monkeypatch.setattr(updates, "ddpm_loss", lambda *arguments: loss(*arguments) * math.nan)
    training.update(IMAGES)
    assert training.done == 3
    with pytest.raises(Diverged, match="the loss became nan at update 2"):
        training.update(IMAGES) if seen_by == "update" else getattr(training, seen_by)()
    assert training.done == training.ema.updates == 2 and training.whole
    monkeypatch.undo()
    training.ema.shadow = {name: value.clone() for name, value in patient.ema.shadow.items()}  # moved once more
    mine, other = training.state(), patient.state()
    assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
    assert float(training.update(IMAGES)) == patient.update(IMAGES)


def test_a_run_that_looks_later_ends_with_the_same_numbers(tmp_path, monkeypatch):
    whole, whole_record = tmp_path / "whole.safetensors", run(tmp_path / "whole.safetensors", 8)
    begin, later = Training.__init__, tmp_path / "later.safetensors"

    def looks_later(self, *arguments):
        begin(self, *arguments)
        self.waits = False

    monkeypatch.setattr(Training, "__init__", looks_later)
    with pytest.raises(Killed):
        run(later, 8, save=kill, given={"keep_at": (5,)})
    record = run(later, 8)
    assert_same_run(later, record, whole, whole_record)


def test_images_are_copied_to_a_gpu_once_and_only_where_they_fit(monkeypatch):
    training, copies = Training(small(), SCHEDULE, TrainingSettings(4, batch=8)), []
    assert training._near(IMAGES) is IMAGES  # on a CPU they are there
    training.device = torch.device("cuda")
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: copies.append(device) or self.clone())
    assert training._near(IMAGES) is training._near(IMAGES) is not IMAGES and copies == [training.device]
    monkeypatch.setattr(updates, "RESIDENT", IMAGES.nbytes - 1)
    assert training._near(IMAGES) is IMAGES


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    training = Training(small(), SCHEDULE, TrainingSettings(4, batch=8))
    with torch.no_grad():
        next(training.model.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match="the weights became NaN or infinite before update 0"):
        training.state()


def test_bfloat16_learns_almost_the_same_and_keeps_float32_weights():
    runs = []
    for precision in ("fp32", "bf16"):
        training = Training(small(), SCHEDULE, TrainingSettings(20, batch=8, warmup=2, lr=3e-3, precision=precision))
        runs.append([training.update(IMAGES) for _ in range(20)])
        assert all(p.dtype == torch.float32 for p in training.model.parameters())
    assert runs[0] != runs[1] and runs[1] == pytest.approx(runs[0], abs=0.05)


@pytest.mark.numerics
def test_a_compiled_network_takes_the_same_updates(monkeypatch):
    """Traced, and run without the backend, which takes a minute on a CPU and is torch's to test."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    runs = []
    for compiled in (False, True):
        training = Training(small(), SCHEDULE, TrainingSettings(3, batch=8, warmup=2, compiled=compiled))
        runs.append([training.update(IMAGES) for _ in range(3)])
        assert (training._network is training.model) != compiled
    assert runs[1] == pytest.approx(runs[0], abs=1e-5)


def test_a_longer_run_without_decay_begins_as_a_shorter_one():
    short, long = (Training(small(), SCHEDULE, TrainingSettings(n, batch=8, warmup=2, decay=False)) for n in (4, 400))
    for _ in range(4):
        assert short.update(IMAGES) == long.update(IMAGES)


def test_train_command_writes_a_checkpoint_that_opens(tmp_path, capsys):
    out = tmp_path / "tiny.safetensors"
    command = f"train --out {out} --steps 2 --batch 4 --size 16 --channels 8,16 --held-out 8 --device cpu"
    assert main(command.split()) == 0
    assert "after 2 updates; held-out loss t=50" in capsys.readouterr().out
    record = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["data"] == "photo-patches" and record["seed"] == 0 and record["command"].startswith("dipddpm ")
    assert len(record["held_out_loss"]) == 5
    denoiser = open_denoiser(f"unet:{out}")
    assert denoiser.eps(torch.zeros(2, 3, 16, 16), 10).shape == (2, 3, 16, 16)


TINY = "train --steps 2 --batch 4 --size 16 --channels 8,16 --held-out 8 --device cpu --dip-iterations 2"


def test_train_command_goes_on_from_its_initial_weights_and_no_other(tmp_path, capsys, monkeypatch):
    fitted, fit = [], Weights.initialise
    monkeypatch.setattr(Weights, "initialise", lambda *a: fitted.append(1) or fit(*a))
    command = [*TINY.split(), "--injection", "weights", "--out", str(tmp_path / "a.safetensors")]
    assert main(command) == main(command) == 0 and len(fitted) == 1
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert record["initialised"] == {"task": "inpaint", "iterations": 2, "seed": 0} and "prior_seconds" in record
    for other in (["--task", "denoise_25"], ["--dip-iterations", "3"]):
        assert main([*command, *other]) == 2
        assert "other settings (initialised)" in capsys.readouterr().err
    plain = TINY.replace(" --dip-iterations 2", "").split()
    assert main([*plain, "--out", str(tmp_path / "b.safetensors")]) == 0
    assert len(fitted) == 1 and json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["initialised"] is None


def test_train_command_finds_the_priors_of_a_file(tmp_path, monkeypatch):
    command = [*TINY.split(), "--injection", "residual", "--prior", "pinv"]
    priors = tmp_path / "made" / "mu.safetensors"
    assert main([*command, "--cache", str(tmp_path), "--out", str(tmp_path / "a.safetensors")]) == 0
    named = [*command, "--priors", str(priors)]
    assert main([*named, "--cache", str(tmp_path), "--out", str(tmp_path / "b.safetensors")]) == 0
    monkeypatch.setattr(cli_train, "make_priors", None)  # called, it would fail
    for file in (priors, tmp_path / "a.priors.safetensors"):
        out = ["--priors", str(file), "--out", str(tmp_path / f"{file.parent.name}-again.safetensors")]
        assert main([*command, *out, "--cache", str(tmp_path / "empty")]) == 0
    assert sorted(path.name for path in priors.parent.iterdir()) == ["mu.held-out.safetensors", "mu.safetensors"]


def test_train_command_names_widths_that_do_not_fit(tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.safetensors"), "--device", "cpu"]
    assert main(["train", "--channels", "20,40", *out]) == 2
    assert "channels 20,40: each width must be a multiple of 8" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--channels", "", *out])
    assert "write a whole number from 1, not ''" in capsys.readouterr().err


def test_every_process_says_its_own_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    assert main(["train", "--dataset", "nowhere", "--out", str(tmp_path / "x.safetensors")]) == 2
    assert capsys.readouterr().err.startswith("rank 3: dipddpm: unknown data set 'nowhere'")


def test_train_command_with_bad_input_is_one_line(tmp_path, capsys):
    assert main(["train", "--dataset", "nowhere", "--out", str(tmp_path / "x.safetensors")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dipddpm: unknown data set 'nowhere': choose from") and error.count("\n") == 1
