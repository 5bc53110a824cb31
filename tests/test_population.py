"""Population metrics: closed forms, known answers, and what must be refused."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from dipddpm.errors import InputError
from dipddpm.population import population_metrics, title
from dipddpm.population.density_coverage import Coverage, Density, K
from dipddpm.population.diversity import Diversity, mean_pairwise_distance
from dipddpm.population.extrapolation import extrapolate
from dipddpm.population.fd import Fd, between
from dipddpm.population.floor import disjoint, floor
from dipddpm.population.intervals import around, interval
from dipddpm.population.kid import Kid
from dipddpm.population.memorisation import Memorisation, NearestRatio
from dipddpm.population.precision_recall import Precision, Recall

METRICS = population_metrics()


def gaussian(n, width=8, seed=0, mean=0.0, scale=1.0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) * scale + mean


def exactly(n, mean, cov, seed=0):
    """n rows whose sample mean and covariance are exactly these."""
    x = np.random.default_rng(seed).standard_normal((n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return torch.from_numpy(x @ np.linalg.cholesky(cov).T + mean)


# ---- every metric -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
def test_contract(name):
    metric = METRICS[name](held_out=gaussian(150, seed=3))
    assert metric.name == name and metric.label and metric.definition and isinstance(metric.higher_is_better, bool)
    samples, reference = gaussian(150, seed=1), gaussian(200, seed=2)
    value = metric(samples, reference)
    assert isinstance(value, float) and math.isfinite(value)
    assert value == metric(samples, reference)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    assert metric(samples[order], reference) == pytest.approx(value, abs=1e-9)
    worse = metric(gaussian(150, seed=1, mean=4.0, scale=0.1), reference)
    if name not in ("memorisation", "nearest-ratio"):  # being far off is no copying
        assert (worse < value) == metric.higher_is_better
    assert metric.resampled(samples, reference, [torch.arange(150)])[0] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_bad_features_are_refused(name):
    metric, good = METRICS[name](held_out=gaussian(20)), gaussian(20)
    for bad in (gaussian(20, width=7), good[:0], good[0], good * float("nan")):
        with pytest.raises(InputError):
            metric(bad, good)


def test_held_out_images_are_asked_for():
    with pytest.raises(InputError, match="memorisation: needs the features of held-out real images"):
        Memorisation()


# ---- Frechet distance ---------------------------------------------------------------------------------------------


def test_fd_is_the_closed_form_for_diagonal_covariances():
    rng = np.random.default_rng(1)
    (m1, m2), (s1, s2) = rng.normal(size=(2, 6)), rng.uniform(0.2, 2, size=(2, 6))
    expected = ((m1 - m2) ** 2).sum() + ((np.sqrt(s1) - np.sqrt(s2)) ** 2).sum()
    value = Fd()(exactly(50, m1, np.diag(s1), 1), exactly(70, m2, np.diag(s2), 2))
    assert value == pytest.approx(expected, rel=1e-9)


def test_fd_is_the_closed_form_for_full_covariances():
    rng = np.random.default_rng(2)
    m1, m2 = rng.normal(size=(2, 6))
    c1, c2 = (a @ a.T + 0.1 * np.eye(6) for a in rng.normal(size=(2, 6, 6)))
    root = sqrtm(c1)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(root @ c2 @ root).real)
    assert Fd()(exactly(60, m1, c1, 3), exactly(60, m2, c2, 4)) == pytest.approx(expected, rel=1e-7)


def test_fd_of_a_set_with_itself_and_of_one_dimension():
    x = gaussian(40)
    assert Fd()(x, x) == pytest.approx(0, abs=1e-7)
    one = {"mu": np.zeros(1), "sigma": np.ones((1, 1))}
    assert between(one, {"mu": np.ones(1) * 3, "sigma": np.ones((1, 1)) * 4}) == pytest.approx(9 + 1)


@pytest.mark.parametrize(("n", "m"), [(8, 100), (100, 8), (5, 5)])
def test_no_fd_with_as_few_images_as_features(n, m):
    with pytest.raises(InputError, match=rf"fd: {n} samples against {m} reference images, but with 8 features .* KID"):
        Fd()(gaussian(n), gaussian(m))
    assert Fd()(gaussian(9), gaussian(9, seed=1)) > 0


# ---- KID ----------------------------------------------------------------------------------------------------------


def test_kid_is_torch_fidelity_s_over_everything():
    x, y = gaussian(120, seed=1), gaussian(120, seed=2, mean=0.3)
    theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=120, verbose=False)
    assert Kid()(x, y) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)


def test_kid_is_unbiased_and_grows():
    values = [Kid()(gaussian(30, seed=2 * i), gaussian(50, seed=2 * i + 1)) for i in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(300)
    shifted = [Kid()(gaussian(100, seed=1, mean=shift), gaussian(100, seed=2)) for shift in (0, 0.3, 0.6, 1.2)]
    assert shifted == sorted(shifted) and shifted[1] > 0.05


# ---- manifolds ----------------------------------------------------------------------------------------------------


@pytest.mark.numerics
def test_precision_and_recall_are_torch_fidelity_s():
    x, y = gaussian(200, seed=1, scale=0.8), gaussian(150, seed=2)
    theirs = prc_features_to_metric(x, y, verbose=False)
    assert (Precision()(x, y), Recall()(x, y)) == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


@pytest.mark.numerics
def test_identical_and_disjoint_sets():
    x = gaussian(200, seed=1)
    assert [m()(x, x) for m in (Precision, Recall, Coverage, Diversity)] == pytest.approx([1.0] * 4)
    # The last of the K neighbours lies on the edge of a ball, which is outside, unless its distance was rounded down.
    assert 1 <= Density()(x, x) <= 1 + 1 / K
    far = x + 100
    assert [m()(far, x) for m in (Precision, Recall, Density, Coverage)] == [0.0] * 4
    assert Diversity()(far, x) == pytest.approx(1)


def test_a_lost_mode_lowers_recall_and_coverage_alone():
    modes = torch.tensor([[-20.0], [20.0]]).repeat(150, 1)
    reference = gaussian(300, seed=1) + modes
    whole, half = gaussian(300, seed=2) + modes, gaussian(300, seed=3) + 20
    for metric in (Recall(), Coverage(), Diversity()):
        assert metric(half, reference) < 0.6 * metric(whole, reference)
    for metric in (Precision(), Density()):
        assert metric(half, reference) > 0.9 * metric(whole, reference)


def test_an_outlier_carries_precision_and_not_density():
    reference = torch.cat([gaussian(200, seed=1), torch.full((1, 8), 60.0)])
    between_them = gaussian(200, seed=2, mean=20.0)
    assert Precision()(between_them, reference) == 1
    assert Density()(between_them, reference) < 0.3


def test_mean_pairwise_distance():
    assert mean_pairwise_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])) == pytest.approx(10 / 3)
    assert mean_pairwise_distance(torch.ones(5, 3)) == pytest.approx(0, abs=1e-6)
    assert mean_pairwise_distance(gaussian(2000, width=64)) == pytest.approx(math.sqrt(2 * 64), rel=0.02)


# ---- memorisation -------------------------------------------------------------------------------------------------


def test_fresh_samples_are_not_memorised_whatever_the_sizes():
    for train, held_out in ((gaussian(900, seed=1), gaussian(100, seed=2)), (gaussian(200, seed=1), gaussian(700))):
        assert Memorisation(held_out)(gaussian(1000, seed=5), train) == pytest.approx(0, abs=0.25)
        assert NearestRatio(held_out)(gaussian(500, seed=5), train) == pytest.approx(0, abs=0.05)


def test_planted_copies_are_caught():
    train, held_out, samples = gaussian(300, seed=1), gaussian(300, seed=2), gaussian(200, seed=3)
    found = []
    for copies in (0, 50, 100, 200):
        planted = torch.cat([train[:copies], samples[copies:]])
        found.append(Memorisation(held_out)(planted, train))
    assert found == sorted(found) and found[-1] == 1
    assert found[2] - found[0] == pytest.approx(0.5, abs=0.15)
    assert NearestRatio(held_out)(train[:200], train) == pytest.approx(1)
    nearly = train[:200] + 0.2 * gaussian(200, seed=9)
    assert NearestRatio(held_out)(nearly, train) > 0.5 > NearestRatio(held_out)(held_out + 1e-3, train)


# ---- floor, interval, extrapolation -------------------------------------------------------------------------------


def test_floor_halves_are_disjoint_and_the_same_every_time():
    real = torch.arange(100.0)[:, None]
    a, b = disjoint(real, 40, 60)
    assert sorted(torch.cat([a, b]).flatten().tolist()) == list(range(100))
    assert torch.equal(a, disjoint(real, 40, 60)[0]) and not torch.equal(a, disjoint(real, 40, 60, seed=1)[0])
    with pytest.raises(InputError, match="60 \\+ 60 disjoint real images asked for, there are 100"):
        disjoint(real, 60, 60)


def test_the_two_sets_of_a_floor_share_no_photograph():
    names = ["a"] * 30 + ["b"] * 50 + ["c"] * 20
    real = torch.tensor([[float("abc".index(name)), i] for i, name in enumerate(names)])
    firsts = set()
    for seed in range(20):
        a, b = disjoint(real, 25, 40, seed, names)
        assert len(a) == 25 and len(b) == 40 and len(torch.cat([a, b]).unique(dim=0)) == 65
        assert not set(a[:, 0].tolist()) & set(b[:, 0].tolist())
        firsts.add(tuple(sorted(set(a[:, 0].tolist()))))
    assert len(firsts) > 1, "the photographs that play the samples change"
    with pytest.raises(InputError, match="3 photographs with 100 images cannot be parted into 45 and 55 images"):
        disjoint(real, 45, 55, photographs=names)


def test_floor_falls_with_n():
    real = gaussian(2000)
    small, large = (np.mean(floor(Fd(), real, n, repeats=3)) for n in (100, 1000))
    assert 0 < large < small / 5
    assert len(floor(Kid(), real[:100])) == 1


@pytest.mark.parametrize("metric", [Fd(), Kid(), Recall()], ids=lambda m: m.name)
def test_interval_holds_what_fresh_samples_give(metric):
    reference = gaussian(600, seed=99, scale=1.2)
    fresh = [metric(gaussian(300, seed=i), reference) for i in range(20)]
    got = interval(metric, gaussian(300, seed=50), reference, resamples=50)
    assert got.low < got.value < got.high and got.n == 300
    assert got == interval(metric, gaussian(300, seed=50), reference, resamples=50)
    ratio = (got.high - got.low) / (3.92 * np.std(fresh))
    assert 0.5 < ratio < 2


@pytest.mark.parametrize("n", [3, 4, 5])
def test_an_interval_of_few_images_leaves_out_the_resamples_of_one(n):
    got = interval(Kid(), gaussian(n), gaussian(50, seed=1))
    assert got.low < got.value < got.high and math.isfinite(got.high - got.low)


def test_two_images_have_no_interval():
    got = interval(Kid(), gaussian(2), gaussian(50, seed=1))
    assert math.isfinite(got.value) and math.isnan(got.low) and math.isnan(got.high)
    assert math.isnan(around(1.0, [math.nan] * 3, 2).low)


def test_fd_infinity_recovers_what_finite_n_overstates():
    inside, finite = 0, []
    for seed in range(6):
        samples, reference = gaussian(800, 16, seed=2 * seed), gaussian(800, 16, 2 * seed + 1, mean=0.1, scale=1.2)
        true = 16 * (0.1**2 + 0.2**2)
        found = extrapolate(samples, reference, resamples=40)
        finite.append(Fd()(samples, reference))
        assert found.slope > 0 and found.values[0] > found.values[-1] > found.infinity.value and found.sizes[-1] == 800
        inside += found.infinity.low <= true <= found.infinity.high
    assert inside >= 5 and np.mean(finite) > 1.2 * true


def test_extrapolation_says_what_it_needs():
    with pytest.raises(InputError, match="8 features need 48 images in both sets, there are 40"):
        extrapolate(gaussian(40), gaussian(100))
    with pytest.raises(InputError, match="two sizes or more from 9 to 40"):
        extrapolate(gaussian(40), gaussian(100), sizes=(5, 20))
    once = extrapolate(gaussian(60), gaussian(60, seed=1), sizes=(20, 40, 60), resamples=5)
    assert once == extrapolate(gaussian(60), gaussian(60, seed=1), sizes=(20, 40, 60), resamples=5)


# ---- titles -------------------------------------------------------------------------------------------------------


@dataclass
class Named:
    name: str
    gives_fid: bool = False


def test_titles_say_fid_for_nothing_but_fid():
    small, inception = Named("embedded64"), Named("inception-v3", gives_fid=True)
    assert title("fd", inception, 50_000, "train") == "FID@50k-train"
    assert title("fd", inception, 2500, "test") == "FID@2500-test"
    assert title("fd", small, 1000, "train") == "FD-embedded64@1000-train"
    assert title("kid", small, 1000, "train") == "KID-embedded64@1000-train"
    assert title("kid", inception, 10_000, "train") == "KID@10k-train"
    assert title("precision", small, 12_345, "test") == "precision-embedded64@12345-test"
    assert "FID" not in title("fd", Named("inception-v3-0123abcd"), 50_000, "train")
    assert all("FID" not in title(name, small, 50_000, "train") for name in METRICS)
