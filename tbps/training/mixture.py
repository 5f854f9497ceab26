"""Two Gaussians on a line: which of the values belong to the lower one."""

import numpy as np

ROUNDS, TOLERANCE = 300, 1e-7
SEPARATED = 2.0  # Ashman's D: distance of the means over the root mean square of the deviations


def lower_of_two(values: np.ndarray) -> np.ndarray:
    """Fit a mixture of two Gaussians by expectation maximisation, from the 10th and the 90th percentile on.

    `sklearn.mixture.GaussianMixture` finds the same; this is the one-dimensional case, for which training need not
    depend on scikit-learn. Unlike there, a value below the lower mean counts as one at it and one above the upper mean
    as one at that: of a narrow and a wide Gaussian the wide one would claim both ends.

    Where the Gaussians are not apart by Ashman's D > 2 (Ashman, Bird and Zepf, AJ 1994), the values are of one
    population, which any mixture would cut in two.

    Args:
        values: (N,) finite.
    Returns:
        (N,) in [0, 1], posterior of the Gaussian with the lower mean, which never grows with the value; 1 for all where
        there is but one population.
    """
    spread = values.std() if len(values) else 0.0
    if not spread > 0:
        return np.ones(len(values))
    values = (values.astype(np.float64) - values.mean()) / spread
    means, variances, shares = fit(values)
    if not abs(means[1] - means[0]) > SEPARATED * np.sqrt(variances.mean()):
        return np.ones(len(values))
    lower = int(means[1] < means[0])
    log_joint = log_density(np.clip(values, means.min(), means.max()), means, variances, shares)
    return np.exp(log_joint[:, lower] - np.logaddexp(log_joint[:, 0], log_joint[:, 1]))


def fit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, variances and shares, (2,) each, of (N,) values of mean 0 and deviation 1."""
    means, variances, shares = np.quantile(values, [0.1, 0.9]), np.ones(2), np.full(2, 0.5)
    before = -np.inf
    for _ in range(ROUNDS):
        log_joint = log_density(values, means, variances, shares)  # (N, 2)
        log_total = np.logaddexp(log_joint[:, 0], log_joint[:, 1])
        belongs = np.exp(log_joint - log_total[:, None])
        counts = belongs.sum(axis=0) + 1e-10
        means = belongs.T @ values / counts
        variances = (belongs * (values[:, None] - means) ** 2).sum(axis=0) / counts + 1e-6
        shares = counts / counts.sum()
        if log_total.mean() - before < TOLERANCE:
            break
        before = log_total.mean()
    return means, variances, shares


def log_density(values: np.ndarray, means: np.ndarray, variances: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(N,) values -> (N, 2): log of share times density of each Gaussian."""
    squares = (values[:, None] - means) ** 2 / variances
    return np.log(shares) - (squares + np.log(2 * np.pi * variances)) / 2
