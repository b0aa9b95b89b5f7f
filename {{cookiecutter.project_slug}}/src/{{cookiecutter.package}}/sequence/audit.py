"""What only series can have wrong: steps that are not even, moments that come twice, channels that say nothing, and a length, a
padding or gaps that name the answer. `recipe audit` tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..task import Data
from .data import arrays

if TYPE_CHECKING:
    from .recipe import Config

IRREGULAR = 0.01  # share of the steps that may differ from the usual one
HALF = 0.5  # of the way from chance to certain, from which the length or the padding alone tells too much
DENSE = 1.5  # times as many numbers as there are rows may be passed over by what numbers them
MOST = 20_000  # series that are looked at
BY_CHANCE = 1e-6  # of a value that comes with one class alone, for all values of a place together

# A check, what was observed, and: fail, warn, share, evidence and words for its sentences.
Finding = tuple[str, str, dict[str, Any]]


def findings(config: Config, data: Data) -> list[Finding]:
    """Each check with what it observed."""
    rows = np.sort(np.random.default_rng(0).permutation(len(data))[:MOST])
    some = data.take(rows)
    values, starts = arrays(some.frame, some.columns("series"))
    found = [time_steps(config, data, note.facts) for note in data.notes if note.about == "steps"]
    found += [left_out(config, data), constant(some, values, starts), row_numbers(config, some, values, starts)]
    if not config.horizon:  # where the windows of a forecast begin tells nothing
        found.append(telling(config, some, values, starts))
    if config.task != "regression":
        found.append(marked(some, values, starts))
    return found


def time_steps(config: Config, data: Data, facts: dict[str, Any]) -> Finding:
    """How even the steps are, and whether a moment comes twice in a series."""
    unit = " s" if facts["moments"] else ""
    repeated = f"{facts['repeated']:,} rows have the {config.step} of the row before, in {facts['series']:,} series"
    observed = f"usually {facts['usual']:g}{unit} apart, {facts['irregular']:.1%} of {facts['steps']:,} steps are not; {repeated}"
    warn = facts["irregular"] > IRREGULAR or facts["repeated"] > 0
    share = min(facts["series"] / len(data), 1.0)
    return "time steps", observed, {"warn": warn, "share": share, "evidence": facts, "step": config.step}


def left_out(config: Config, data: Data) -> Finding:
    """Columns that nothing reads, since no setting names them, though they say more than which row it is."""
    names = [] if config.channels else [n for n in data.columns("drop") if n not in config.drop]
    many = {name: data.frame[name].n_unique() for name in names}
    names = [n for n in names if many[n] > 1 and (many[n] < len(data) or data.frame[n].dtype.is_float())]
    words = ", ".join(names[:8])
    return "columns left out", words or "none", {"warn": bool(names), "evidence": {"columns": names}, "names": words}


def constant(data: Data, values: np.ndarray, starts: np.ndarray) -> Finding:
    """Channels that do not change within a series, and those that have one value everywhere."""
    names = data.columns("series")
    low = np.fmin.reduceat(values, starts[:-1], axis=0)
    high = np.fmax.reduceat(values, starts[:-1], axis=0)
    flat = ~(high > low)  # all gaps are flat too
    share = {name: float(flat[:, i].mean()) for i, name in enumerate(names)}
    same = ~(np.fmax.reduce(high) > np.fmin.reduce(low))
    everywhere = [name for name, one in zip(names, same, strict=True) if one]
    dead = float(flat.all(axis=1).mean())
    never = [n for n in names if share[n] == 1 and n not in everywhere]
    words = ", ".join(f"{n} {share[n]:.1%}" for n in sorted(names, key=lambda n: -share[n])[:5] if share[n])
    observed = f"constant in a series: {words or 'none'}; {dead:.1%} of the series change in no channel"
    observed += f"; the same in all series: {', '.join(everywhere)}" if everywhere else ""
    warn = dead > 0.01 or bool(everywhere or never)
    told = {"warn": warn, "share": dead, "evidence": {"share": share, "everywhere": everywhere}}
    told |= {"fail": len(everywhere) == len(names), "names": ", ".join(everywhere or never) or "the channel"}
    return "constant channels", observed, told


def row_numbers(config: Config, data: Data, values: np.ndarray, starts: np.ndarray) -> Finding:
    """Channels of whole numbers that are all different and leave few out: the rows of the file by number. They say where a series
    stood in the file; a FAIL where that predicts the target."""
    found = {}
    for i, name in enumerate(data.columns("series")):
        known = values[~np.isnan(values[:, i]), i]
        whole = len(known) > 20 and bool((known == np.round(known)).all())
        if whole and len(np.unique(known)) == len(known) and np.ptp(known) < DENSE * len(known):
            first = np.nan_to_num(values[starts[:-1], i])[:, None]
            found[name] = skill(config, data, first) if len(data) >= 40 else 0.0
    words = ", ".join(f"{n} numbers the rows and predicts the target {found[n]:.0%} of the way" for n in found)
    drop = f"drop = [{', '.join(repr(name) for name in (*config.drop, *found))}]".replace("'", '"')
    told = {"fail": any(worth > HALF for worth in found.values()), "warn": bool(found), "evidence": found}
    told |= {"names": ", ".join(found), "edit": drop}
    return "row number as channel", words or "no channel numbers the rows", told


def marked(data: Data, values: np.ndarray, starts: np.ndarray) -> Finding:
    """A value with which a channel begins or ends in many series of one class and in none of another."""
    y, found = data.frame[data.target].rank("dense").to_numpy(), dict[str, str]()
    for i, name in enumerate(data.columns("series")):
        for verb, place in (("begins", starts[:-1]), ("ends", starts[1:] - 1)):
            seen, at, many = np.unique(values[place, i], return_inverse=True, return_counts=True)
            for k in np.argsort(-many)[:5]:
                own = y[at == k]
                if (own == own[0]).all() and many[k] * np.log((y == own[0]).mean()) < np.log(BY_CHANCE / len(seen)):
                    value = "a gap" if np.isnan(seen[k]) else f"{seen[k]:g}"
                    found[name] = f"{name} {verb} with {value} in {many[k]:,} series, all of one class"
    observed = "; ".join([*found.values()][:3]) or "no channel begins or ends with a value of one class alone"
    return "mark of one class", observed, {"warn": bool(found), "evidence": found, "names": ", ".join(found)}


def telling(config: Config, data: Data, values: np.ndarray, starts: np.ndarray) -> Finding:
    """Whether length, zeros at both ends and gaps alone predict the target: how the series were cut or padded, not what they are."""
    x = marks(values, starts)
    varied = np.ptp(x, axis=0) > 0
    check = "length and padding"
    if not varied.any() or len(data) < 40:
        same = f"all series have {int(x[0, 0])} steps, no zeros at their ends and no gaps"
        return check, "too few series" if varied.any() else same, {"evidence": {}, "half": HALF}
    names = [name for name, one in zip(MARKS, varied, strict=True) if one]
    alone = {name: skill(config, data, x[:, [MARKS.index(name)]]) for name in names}
    together = skill(config, data, x)
    best = max(alone, key=lambda name: alone[name])
    observed = f"they predict the target {together:.0%} of the way from chance to certain, the {best} {alone[best]:.0%}"
    evidence, warn = {"together": together, **alone}, max(together, alone[best]) > HALF
    return check, observed, {"warn": warn, "evidence": evidence, "best": best, "half": HALF}


MARKS = ("length", "zeros at the start", "zeros at the end", "share of gaps")


def marks(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """What MARKS names of each series [n, 4]."""
    length = np.diff(starts)
    empty = (np.nan_to_num(values) == 0).all(axis=1)
    place = np.arange(len(values))
    filled = np.where(empty, len(values), place), np.where(empty, -1, place)
    first = np.minimum(np.minimum.reduceat(filled[0], starts[:-1]), starts[1:]) - starts[:-1]
    last = starts[1:] - 1 - np.maximum(np.maximum.reduceat(filled[1], starts[:-1]), starts[:-1] - 1)
    gaps = np.add.reduceat(np.isnan(values).mean(axis=1), starts[:-1]) / length
    return np.stack([length, first, last, gaps], axis=1).astype(np.float64)


def skill(config: Config, data: Data, x: np.ndarray) -> float:
    """Out-of-fold, from 0 for chance to 1: balanced accuracy of a small tree, or its share of the variance of numbers."""
    from sklearn.metrics import balanced_accuracy_score, r2_score
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    column = data.frame[data.target]
    if config.task == "regression":
        y = column.to_numpy().astype(np.float64)
        regressor = DecisionTreeRegressor(max_depth=4, min_samples_leaf=5)
        folds = KFold(4, shuffle=True, random_state=0)
        return max(float(r2_score(y, cross_val_predict(regressor, x, y, cv=folds))), 0.0)
    y = column.rank("dense").to_numpy().astype(np.int64)
    y = np.where(np.bincount(y)[y] < 4, np.bincount(y).argmax(), y)
    if len(np.unique(y)) < 2:
        return 0.0
    tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=5, class_weight="balanced")
    found = cross_val_predict(tree, x, y, cv=StratifiedKFold(4, shuffle=True, random_state=0))
    chance = 1 / len(np.unique(y))
    return max((float(balanced_accuracy_score(y, found)) - chance) / (1 - chance), 0.0)
