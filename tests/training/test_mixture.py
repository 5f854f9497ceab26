"""The mixture of two Gaussians: equal to scikit-learn's, monotonic, and cautious."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture
from training_arguments import two_populations

from tbps.training.mixture import lower_of_two


@pytest.mark.parametrize(("low", "high"), [(800, 200), (500, 500), (150, 850)])
def test_the_mixture_is_that_of_scikit_learn(low: int, high: int) -> None:
    values = two_populations(low, high)
    found = lower_of_two(values)
    model = GaussianMixture(2, tol=1e-7, max_iter=500, random_state=0).fit(values[:, None])
    theirs = model.predict_proba(values[:, None])[:, model.means_.argmin()]
    between = (values > model.means_.min()) & (values < model.means_.max())
    assert np.abs(found - theirs)[between].max() < 1e-2
    assert ((found > 0.5) == (np.arange(low + high) < low)).mean() > 0.97


def test_trust_never_grows_with_the_loss() -> None:
    values = np.sort(np.concatenate([two_populations(900, 100), [-3.0, 14.0]]))
    found = lower_of_two(values)
    assert (np.diff(found) <= 1e-12).all()
    assert found[0] > 0.9
    assert found[-1] < 0.1


@pytest.mark.parametrize("values", [[], [2.0], [3.0, 3.0, 3.0]])
def test_equal_losses_are_all_trusted(values: list[float]) -> None:
    assert lower_of_two(np.array(values)).tolist() == [1.0] * len(values)


@pytest.mark.parametrize("draw", ["normal", "gumbel", "laplace", "logistic"])
def test_one_population_is_not_cut_in_two(draw: str) -> None:
    values = getattr(np.random.default_rng(0), draw)(size=2000)
    assert (lower_of_two(values) == 1).all()
