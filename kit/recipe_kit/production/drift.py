"""How rows of today differ from those of training: for each quantity a test, and a size with what chance alone gives.

A test says whether there is a difference, PSI how large it is. Both are needed: with many rows a test sees what does not
matter, with few PSI is large by chance. So PSI counts only above its expectation under no drift, (bins - 1) (1/n + 1/m),
and only what a test confirms after Holm's (1979) correction for all tests of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from ..owner.engine.target import as_text, counted

BINS = 10
SHARE = 0.01  # a share (missing, new categories) that grows by less is no alert
FEW = 5.0  # expected rows below which the values of a category are counted together

Measured = dict[str, Any]


def compare(name: str, reference: dict[str, Any], now: pl.Series) -> list[Measured]:
    """The tests of one quantity: its distribution, its missing values, its unseen values. Each has p and excess.

    excess: the size of the difference above what chance gives (PSI), or the growth of a share.
    """
    gone = share((reference["missing"], reference["rows"]), (now.null_count(), len(now)))
    found: list[Measured] = [{"name": name, "test": "missing", **gone}]
    if reference["kind"] == "number":
        values = now.cast(pl.Float64, strict=False).drop_nulls().drop_nans().to_numpy()
        known = np.array(reference["points"], dtype=float)
        if len(values) and len(known):
            found.append(
                {
                    "name": name,
                    "test": "distribution",
                    **numbers(known, reference["rows"] - reference["missing"], values),
                }
            )
    elif now.len() > now.null_count() and reference["counts"]:
        values_now = as_text(now).drop_nulls()
        counts = counted(values_now)
        rest = int(reference["rows"] - reference["missing"] - sum(reference["counts"].values()))  # not counted by value
        found.append({"name": name, "test": "distribution", **categories(reference["counts"], rest, counts)})
        if "known" in reference:
            found.append(_unseen(name, reference, values_now))
    return found


def numbers(known: np.ndarray, n: int, now: np.ndarray) -> Measured:
    """Kolmogorov-Smirnov and rank-sum test against a distribution known at points, from n rows; PSI and KL over tenths.

    KS sees any difference of shape, the rank sum more of a shift; p is the smaller of both, doubled for having two.
    """
    known, now, m = np.sort(known), np.sort(now), len(now)
    at = np.concatenate([known, now])
    there = np.searchsorted(known, at, side="right") / len(known)
    here = np.searchsorted(now, at, side="right") / m
    apart = float(np.abs(there - here).max())
    effective = n * m / (n + m)
    p = min(1.0, 2 * min(float(stats.kstwo.sf(apart, max(round(effective), 1))), rank_sum(known, n, now)))
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    counted = [np.bincount(np.searchsorted(edges, v, side="left"), minlength=len(edges) + 1) for v in (known, now)]
    shares = {"edges": edges.tolist(), "then": (counted[0] / len(known)).tolist(), "now": (counted[1] / m).tolist()}
    middle = {"middle_then": float(np.median(known)), "middle_now": float(np.median(now))}
    return {"p": p, "ks": apart, **psi(counted[0] * n / len(known), counted[1]), **middle, "shares": shares}


def rank_sum(known: np.ndarray, n: int, now: np.ndarray) -> float:
    """Two-sided p of the Mann-Whitney test with its correction for ties; `known`, sorted, stands for n rows."""
    m = len(now)
    below = (np.searchsorted(known, now, side="left") + np.searchsorted(known, now, side="right")) / (2 * len(known))
    values, place = np.unique(np.concatenate([known, now]), return_inverse=True)
    weight = np.concatenate([np.full(len(known), n / len(known)), np.ones(m)])
    ties = np.bincount(place, weights=weight, minlength=len(values))
    total = n + m
    spread = (total + 1 - (ties**3 - ties).clip(min=0).sum() / (total * max(total - 1, 1))) / (12 * n * m)
    if spread <= 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(below.mean() - 0.5) / np.sqrt(spread)))


def categories(then: dict[str, int], rest: int, now: dict[str, int]) -> Measured:
    """Chi-squared test of the counts of each value, rare ones together; PSI and KL over the same cells."""
    n, m = sum(then.values()) + rest, sum(now.values())
    names = [name for name, count in then.items() if (count + now.get(name, 0)) * min(n, m) / (n + m) >= FEW]
    table = np.array([[d.get(name, 0) for name in names] for d in (then, now)], dtype=float).reshape(2, -1)
    others = np.array([[n - table[0].sum()], [m - table[1].sum()]])
    table = np.hstack([table, others]) if others.sum() else table
    p = float(stats.chi2_contingency(table, correction=False)[1]) if table.shape[1] > 1 and table.sum(0).all() else 1.0
    shares = {
        "names": [*names, "others"][: table.shape[1]],
        "then": (table[0] / n).tolist(),
        "now": (table[1] / m).tolist(),
    }
    return {"p": p, **psi(table[0], table[1]), "shares": shares}


def psi(then: np.ndarray, now: np.ndarray) -> Measured:
    """Population stability index and Kullback-Leibler divergence (now from then) of two counts over the same cells, half a
    row added to each cell; chance: what PSI is on average without drift."""
    n, m, cells = then.sum(), now.sum(), len(then)
    a, b = (then + 0.5) / (n + 0.5 * cells), (now + 0.5) / (m + 0.5 * cells)
    index = float(((b - a) * np.log(b / a)).sum())
    probability = (cells - 1) * (1 / n + 1 / m)
    return {"psi": index, "chance": probability, "excess": index - probability, "kl": float((b * np.log(b / a)).sum())}


def _unseen(name: str, reference: dict[str, Any], now: pl.Series) -> Measured:
    """Values that training never observed, against how often validation had such."""
    fresh = now.filter(~now.is_in(reference["known"]))
    common = list(counted(fresh))[:5]
    return {
        "name": name,
        "test": "unseen",
        **share(tuple(reference["unseen"]), (len(fresh), len(now))),
        "values": common,
    }


def share(then: tuple[int, int], now: tuple[int, int]) -> Measured:
    """Fisher's exact test that a share has grown. then, now: hits and rows."""
    table = [[now[0], now[1] - now[0]], [then[0], then[1] - then[0]]]
    p = float(stats.fisher_exact(table, alternative="greater")[1]) if now[0] else 1.0
    shares = [hits / max(rows, 1) for hits, rows in (then, now)]
    return {"p": p, "then": shares[0], "now": shares[1], "excess": shares[1] - shares[0]}


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down: p values that hold for all tests together, whatever their dependence."""
    given = np.asarray(p, dtype=float)
    order = np.argsort(given)
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def judge(found: list[Measured], rate: float, floor: float) -> list[Measured]:
    """Each test with its corrected p and whether it is an alert. Shares that cannot have grown are not counted as tests."""
    tests = [one for one in found if one["test"] == "distribution" or one["now"] > 0]
    for one, p in zip(tests, holm([one["p"] for one in tests]), strict=True):
        least = floor if one["test"] == "distribution" else SHARE
        one |= {"corrected": float(p), "alert": bool(p < rate and one["excess"] > least)}
    return tests
