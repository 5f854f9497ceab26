"""A mixture of two Gaussians over scalar values, and which values belong to the lower one."""

import numpy as np

ROUNDS, TOLERANCE = 300, 1e-7
SEPARATED = 2.0  # Ashman's D: distance of the means over the root mean square of the deviations


def lower_of_two(values: np.ndarray) -> np.ndarray:
    """Fit a mixture of two Gaussians by expectation maximisation, started from the 10th and 90th percentiles.

    `sklearn.mixture.GaussianMixture` gives the same; this one-dimensional case saves the dependency. There is one
    difference: a value below the lower mean counts as that mean, and one above the upper mean as the upper mean.
    Otherwise, of a narrow and a wide Gaussian, the wide one would claim both ends.

    If Ashman's D of the two is not above 2 (Ashman, Bird and Zepf, AJ 1994), the values form one population, which any
    mixture would cut in two.

    Args:
        values: (N,) finite.

    Returns:
        (N,) in [0, 1], the posterior of the Gaussian with the lower mean. It never grows with the value, and is 1 for
        all values if there is one population only.
    """
    spread = values.std() if len(values) else 0.0
    if not spread > 0:
        return np.ones(len(values))
    values = (values.astype(np.float64) - values.mean()) / spread
    means, variances, weights = fit(values)
    if not abs(means[1] - means[0]) > SEPARATED * np.sqrt(variances.mean()):
        return np.ones(len(values))
    lower = int(means[1] < means[0])
    log_joint = log_density(np.clip(values, means.min(), means.max()), means, variances, weights)
    return np.exp(log_joint[:, lower] - np.logaddexp(log_joint[:, 0], log_joint[:, 1]))


def fit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit means, variances and weights, (2,) each, to (N,) values standardised to mean 0 and standard deviation 1."""
    means, variances, weights = np.quantile(values, [0.1, 0.9]), np.ones(2), np.full(2, 0.5)
    before = -np.inf
    for _ in range(ROUNDS):
        log_joint = log_density(values, means, variances, weights)  # (N, 2)
        log_total = np.logaddexp(log_joint[:, 0], log_joint[:, 1])
        posterior = np.exp(log_joint - log_total[:, None])
        counts = posterior.sum(axis=0) + 1e-10
        means = posterior.T @ values / counts
        variances = (posterior * (values[:, None] - means) ** 2).sum(axis=0) / counts + 1e-6
        weights = counts / counts.sum()
        if log_total.mean() - before < TOLERANCE:
            break
        before = log_total.mean()
    return means, variances, weights


def log_density(values: np.ndarray, means: np.ndarray, variances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log of weight times density of each Gaussian: (N,) values -> (N, 2)."""
    squares = (values[:, None] - means) ** 2 / variances
    return np.log(weights) - (squares + np.log(2 * np.pi * variances)) / 2
