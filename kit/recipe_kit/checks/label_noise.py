"""How many labels were drawn without looking at the row? Classes that overlap leave another trace than labels at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

CELLS, WORK = 60_000, 8_000_000  # rows times classes, and times columns, that are looked at: a few seconds at most
FOLDS = 5
SURE = 9.0  # twice the log-likelihood by which a share must beat the floor: three standard errors
STARTS = (0.05, 0.4)  # shares from which the best one is looked for: the likelihood may have two tops


@dataclass(frozen=True)
class Noise:
    """share: of labels that are drawn from the class shares whatever the row says. wrong: of labels that this makes wrong.
    sure: twice the log-likelihood ratio against the floor. doubt: the errors that a model without such labels would
    still make. blind: those of always naming the largest class."""

    share: float
    wrong: float
    sure: float
    doubt: float
    blind: float


def estimate(features: Any, votes: np.ndarray, y: np.ndarray, floor: float) -> Noise:
    """Copas' contaminated logistic model (1988), P(y) = (1 - e) softmax(scores) + e prior(y), fitted by maximum likelihood.

    features [n, d] dense or sparse; votes [n, k] out-of-fold chances; y [n] class numbers; floor: the share e that is
    no matter. Where classes merely overlap, the softmax fits with e = 0: the farther a row lies from the boundary, the
    rarer an error. Labels drawn at random put a floor under the errors of every row, however far. Scores are a free
    mixture of the logarithms of `votes` and of the out-of-fold scores of a linear model, which go on growing with the
    distance where votes level off; the linear model sees normal scores of each column (van der Waerden), so that a heavy
    tail is no distance. What e cannot tell is a class that is never sure for a reason: hence `doubt`.
    """
    rows, kept = _rows(y, votes.shape[1], features.shape[1])
    votes, y = votes[np.ix_(rows, kept)], np.searchsorted(kept, y[rows])
    votes, k = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-12), len(kept)
    if k < 2:
        return Noise(0.0, 0.0, 0.0, 0.0, 0.0)
    scores = [np.log((votes + 0.005) / (1 + 0.005 * k))]
    if not hasattr(features, "tocsr"):
        scores.append(_linear(np.asarray(features)[rows], y))
    prior = np.bincount(y, minlength=k) / len(y)
    least, weights = _fit(scores, y, prior, np.r_[np.full(len(scores), 0.5), np.zeros(k)], floor)
    best, share = least, floor
    for start in STARTS:
        value, found = _fit(scores, y, prior, np.r_[weights, np.log(start / (1 - start))])
        if value < best:
            best, share, weights = value, float(1 / (1 + np.exp(-found[-1]))), found[:-1]
    probability = np.exp(_log_softmax(scores, weights))
    sure = 2 * (least - best) if share > floor else 0.0
    wrong = share * (1 - float((prior**2).sum()))
    return Noise(share, wrong, sure, float(1 - probability.max(axis=1).mean()), float(1 - prior.max()))


def _rows(y: np.ndarray, k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a sample of the rows, and its classes: those with a row for each fold."""
    few = max(min(CELLS // k, WORK // (k * d)), 500)
    rows = np.random.default_rng(0).permutation(len(y))[:few]
    kept = np.flatnonzero(np.bincount(y[rows], minlength=k) >= FOLDS)
    return rows[np.isin(y[rows], kept)], kept


def _linear(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Out-of-fold log-chances of a logistic model of normal scores; missing values share the lowest rank."""
    from scipy.stats import norm, rankdata
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    ranks = (rankdata(np.where(np.isfinite(x), x, -np.inf), axis=0) - 0.5) / len(x)
    normal = norm.ppf(ranks)
    normal = (normal - normal.mean(axis=0)) / (normal.std(axis=0) + 1e-9)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    probability = cross_val_predict(
        LogisticRegression(max_iter=500, tol=1e-3), normal, y, cv=folds, method="predict_log_proba"
    )
    return np.maximum(probability, -30.0)


def _log_softmax(scores: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    mixed = sum(w * s for w, s in zip(weights, scores, strict=False)) + weights[len(scores) :]
    mixed = mixed - mixed.max(axis=1, keepdims=True)
    return np.asarray(mixed - np.log(np.exp(mixed).sum(axis=1, keepdims=True)))


def _fit(
    scores: list[np.ndarray], y: np.ndarray, prior: np.ndarray, start: np.ndarray, fixed: float | None = None
) -> tuple[float, np.ndarray]:
    """(negative log-likelihood, weights of the scores and of the classes): with the share fixed, or its logit as the last."""
    from scipy.optimize import minimize

    at, m, k = np.arange(len(y)), len(scores), len(prior)

    def cost(free: np.ndarray) -> tuple[float, np.ndarray]:
        share = fixed if fixed is not None else 1 / (1 + np.exp(-free[-1]))
        probability = np.exp(_log_softmax(scores, free[: m + k]))
        told = probability[at, y]
        likely = (1 - share) * told + share * prior[y] + 1e-300
        clean = (1 - share) * told / likely  # how likely the label of each row is no random one
        slope = -probability * clean[:, None]
        slope[at, y] += clean
        gradient = [*(float((slope * s).sum()) for s in scores), *slope.sum(axis=0)]
        if fixed is None:
            gradient.append(share * (1 - share) * float(((prior[y] - told) / likely).sum()))
        return -float(np.log(likely).sum()), -np.array(gradient)

    bounds = [(0.0, 50.0)] * m + [(-20.0, 20.0)] * k + ([] if fixed is not None else [(-9.0, 5.0)])
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100})
    return float(found.fun), np.asarray(found.x)
