"""Accuracy for compute: processor time against score on unseen rows, ours and others with their usual settings.

python bench/accuracy_per_compute.py [SET ...]      writes its part of docs/benchmarks.md and a plot (about 10 minutes on one core)

Competitors are no dependencies of the project; one that is not installed is left out, with a line that says so. To have them, see
bench/loops.py for fastai; `pip install autogluon.tabular` (it brings an older pandas: use an environment of its own).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench"), str(ROOT / "demo")]
LANDED = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"]
# name -> (settings, metric, repeats): flights are split by time and repeated over seeds, the others over folds.
SETS: dict[str, tuple[dict[str, Any], str, int]] = {
    "diabetes": ({"task": "regression"}, "r2", 5),
    "flights": ({"task": "binary", "target": "late", "drop": LANDED, "time": "time_hour"}, "auc", 3),
    "breast_cancer": ({"task": "binary"}, "auc", 5),
    "digits": ({"task": "multiclass"}, "accuracy", 5),
}
OURS = ("network (ours)", "LightGBM (ours)", "linear (ours)", "RBF-SVC (ours)")
WARM: set[str] = set()  # who has been called once
PLOT = "benchmarks-compute.svg"


def spent() -> float:
    """Processor seconds of this process and of those it started and saw end."""
    return sum(os.times()[:4])


def cut(name: str, n: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to learn from, to stop by, and to be judged on: the last tenths in time, or one of five folds."""
    if name == "flights":
        return np.split(np.arange(n), [int(0.8 * n), int(0.9 * n)])
    order = np.random.default_rng(0).permutation(n)
    unseen = order[number::5]
    rest = np.setdiff1d(order, unseen, assume_unique=True)
    rest = np.random.default_rng(number).permutation(rest)
    return rest[len(rest) // 8 :], rest[: len(rest) // 8], unseen


def network(project: Any, parts: list[Any]) -> np.ndarray:
    """`recipe train` with default settings."""
    from my_model.engine.loop import fit, predict

    task, config = project.task, project.config
    prep = task.prepare(config, parts[0])
    train, val, unseen = (task.examples(config, prep, part) for part in parts)
    model, _ = fit(project.config, project.task, prep, train, val, project.begin("train").folder)
    return outputs(config, prep, predict(model, unseen, config))


def baseline(project: Any, parts: list[Any], only: str) -> np.ndarray:
    """One of the models of `recipe baseline`."""
    prep = project.task.prepare(project.config, parts[0])
    fitted = project.task.baselines(project.config, prep, parts[0], only)
    return outputs(project.config, prep, next(iter(fitted.values())).predict(parts[2]))


def outputs(config: Any, prep: dict[str, Any], raw: np.ndarray) -> np.ndarray:
    """Probabilities [n, k], or values [n] in the units of the target."""
    from my_model.engine import metrics

    return metrics.values(prep, raw) if config.task == "regression" else metrics.class_probabilities(raw)


def frames(project: Any, parts: list[Any]) -> list[Any]:
    """The same rows for the competitors, as pandas: the columns that our network sees, and the target."""
    import pandas as pd

    names = parts[0].columns("numeric", "categorical")
    tables = [pd.DataFrame(p.frame.select(*names, p.target).to_dict(as_series=False)) for p in parts]
    for name in parts[0].columns("categorical"):
        kind = pd.CategoricalDtype(sorted(set().union(*(t[name].dropna() for t in tables))))
        for table in tables:
            table[name] = table[name].astype(kind)
    return tables


def scikit(project: Any, tables: list[Any], kind: str) -> np.ndarray:
    """scikit-learn's MLP behind its usual preprocessing, or LightGBM's own scikit-learn interface; default settings."""
    import pandas as pd
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    target, seed, regression = project.config.target, project.config.seed, project.config.task == "regression"
    seen = pd.concat(tables[:2])
    x, new = seen.drop(columns=target), tables[2].drop(columns=target)
    if kind == "LightGBM":
        model = (LGBMRegressor if regression else LGBMClassifier)(random_state=seed, n_jobs=1, verbose=-1)
    else:
        words = list(x.select_dtypes("category").columns)
        numbers = [name for name in x.columns if name not in words]
        columns = make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore"), words),
        )
        model = make_pipeline(columns, (MLPRegressor if regression else MLPClassifier)(random_state=seed))
    model.fit(x, seen[target])
    return model.predict(new) if regression else model.predict_proba(new)


def fastai(project: Any, tables: list[Any]) -> np.ndarray:
    """fastai's tabular learner: one cycle of 5 epochs on flights, of 30 on the small sets."""
    import pandas as pd
    from fastai.tabular.all import (
        Categorify,
        CategoryBlock,
        FillMissing,
        Normalize,
        RegressionBlock,
        TabularDataLoaders,
        set_seed,
        tabular_learner,
    )  # fmt: skip

    target, regression = project.config.target, project.config.task == "regression"
    set_seed(project.config.seed)
    seen = pd.concat(tables[:2], ignore_index=True)
    words = list(seen.drop(columns=target).select_dtypes("category").columns)
    numbers = [name for name in seen.columns if name not in (*words, target)]
    seen[numbers], tables[2][numbers] = seen[numbers].astype(float), tables[2][numbers].astype(float)
    loaders = TabularDataLoaders.from_df(
        seen, procs=[Categorify, FillMissing, Normalize], cat_names=words, cont_names=numbers, y_names=target,
        y_block=RegressionBlock() if regression else CategoryBlock(),
        valid_idx=list(range(len(tables[0]), len(seen))), bs=64, device="cpu",
    )  # fmt: skip
    learner = tabular_learner(loaders)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(5 if len(seen) > 10_000 else 30)
        found = learner.get_preds(dl=loaders.test_dl(tables[2].drop(columns=target)))[0].numpy()
    return found[:, 0] if regression else found


def autogluon(project: Any, tables: list[Any]) -> np.ndarray:
    """AutoGluon with its default preset, 20 seconds at most."""
    import pandas as pd
    from autogluon.tabular import TabularPredictor

    target, regression = project.config.target, project.config.task == "regression"
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(target, problem_type=project.config.task, path=folder, verbosity=0)
        predictor.fit(pd.concat(tables[:2]), time_limit=20, num_cpus=1, num_gpus=0)
        new = tables[2].drop(columns=target)
        return predictor.predict(new).to_numpy() if regression else predictor.predict_proba(new).to_numpy()


def score(metric: str, truth: np.ndarray, found: np.ndarray) -> float:
    """On the unseen rows, the same function for everybody."""
    from sklearn.metrics import r2_score, roc_auc_score

    _, codes = np.unique(truth, return_inverse=True)
    if metric == "auc":
        return float(roc_auc_score(codes, found[:, 1]))
    if metric == "accuracy":
        return float((found.argmax(axis=1) == codes).mean())
    return float(r2_score(truth, found))


def contenders(project: Any, rows: int) -> dict[str, Any]:
    """name -> function of (project, parts); the kernel machine where `recipe baseline` would have it."""
    from my_model.engine.kernel import SVC_ROWS

    linear = "ridge" if project.config.task == "regression" else "logistic"
    found: dict[str, Any] = {
        OURS[0]: network,
        OURS[1]: lambda project, parts: baseline(project, parts, "lightgbm"),
        OURS[2]: lambda project, parts: baseline(project, parts, linear),
        "MLP (scikit-learn)": lambda project, parts: scikit(project, frames(project, parts), "MLP"),
        "LightGBM (as it comes)": lambda project, parts: scikit(project, frames(project, parts), "LightGBM"),
    }
    if project.config.task != "regression" and rows < SVC_ROWS:
        found[OURS[3]] = lambda project, parts: baseline(project, parts, "rbf_svc")
    for name, package, way in (("fastai tabular", "fastai", fastai), ("AutoGluon", "autogluon", autogluon)):
        if find_spec(package):
            found[name] = lambda project, parts, way=way: way(project, frames(project, parts))
        else:
            print(f"{name} is not installed and left out; see the top of {Path(__file__).name}", flush=True)
    return found


def one_set(name: str, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """(processor seconds, score) of every contender, for every seed or fold."""
    import data
    from my_model.tabular.recipe import TASK, Config
    from recipe_kit.project import Project

    settings, metric, repeats = SETS[name]
    path = folder / f"{name}.csv"
    getattr(data, name)(path)
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(repeats):
        config = Config(data=str(path), tracker="none", device="cpu", seed=number, **settings)
        project = Project(folder, config, TASK, quiet=True)
        parts = [project.data.take(rows) for rows in cut(name, len(project.data), number)]
        truth = parts[2].frame[config.target].to_numpy()
        for who, way in contenders(project, len(parts[0])).items():
            if who not in WARM:
                way(project, parts)  # pays for imports
                WARM.add(who)
            before = spent()
            predicted = way(project, parts)
            found.setdefault(who, []).append((spent() - before, score(metric, truth, predicted)))
            print(f"{name} {number} {who}: {found[who][-1][0]:.1f} s, {found[who][-1][1]:.4f}", flush=True)
    return found


def table(name: str, found: dict[str, list[tuple[float, float]]]) -> list[str]:
    """One row a contender, and a sentence on who is both faster and better than the best of ours."""
    means = {
        who: (statistics.mean(t for t, _ in runs), statistics.mean(s for _, s in runs)) for who, runs in found.items()
    }
    best = max((who for who in OURS if who in means), key=lambda who: means[who][1])
    lines = [f"| {name}: {SETS[name][1]} | score, mean | sd | processor seconds |", "|---|---|---|---|"]
    for who, runs in found.items():
        sd = statistics.stdev(s for _, s in runs)
        lines.append(f"| {who} | {means[who][1]:.4f} | {sd:.4f} | {means[who][0]:.2f} |")
    said = f"The best of ours is {best}; {ahead(found, means, best)}."
    if best != OURS[0]:
        said += f" Against our network: {ahead(found, means, OURS[0])}."
    return [*lines, "", said]


def ahead(found: dict[str, list[tuple[float, float]]], means: dict[str, tuple[float, float]], mine: str) -> str:
    """Which competitors are both faster and better than `mine`, and by how much."""
    said = []
    for who, (seconds, value) in means.items():
        if who not in OURS and seconds < means[mine][0] and value > means[mine][1]:
            gains = [a[1] - b[1] for a, b in zip(found[who], found[mine], strict=True)]
            said.append(
                f"{who} (by {statistics.mean(gains):+.4f}, sd of the differences {statistics.stdev(gains):.4f}, n = {len(gains)})"
            )
    return f"both faster and better: {'; '.join(said)}" if said else "nobody else is both faster and better"


def plot(found: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    """A panel a set: processor seconds (logarithmic) against score, mean over repeats; ours filled, a triangle for below zero."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "compute", "svg.fonttype": "none"}
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    names = dict.fromkeys([*OURS, *(who for runs in found.values() for who in runs)])
    colors = {who: f"C{i}" for i, who in enumerate(names)}
    figure, axes = pyplot.subplots(1, len(found), figsize=(3.5 * len(found), 3.8), layout="constrained", squeeze=False)
    for axis, (name, runs) in zip(axes[0], found.items(), strict=True):
        for who, values in runs.items():
            x, y = (statistics.mean(v[i] for v in values) for i in (0, 1))
            style = {
                "color": colors[who],
                "markerfacecolor": colors[who] if who in OURS else "white",
                "markersize": 8,
            }
            axis.plot(x, max(y, 0), "o" if y >= 0 else "v", **style)
        axis.set(title=name, xscale="log", xlabel="processor seconds", ylabel=SETS[name][1])
        axis.margins(0.1)
    marks = {
        who: Line2D([], [], marker="o", linestyle="", color=c, markerfacecolor=c if who in OURS else "white")
        for who, c in colors.items()
    }
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=4)
    figure.savefig(ROOT / "docs" / PLOT, metadata={"Date": None})


def main(names: list[str]) -> None:
    """Every set, then the page."""
    from page import replace_part

    with tempfile.TemporaryDirectory() as name:
        from conftest import link

        link(Path(name))
        sys.path.insert(0, name)
        import torch

        torch.set_num_threads(1)
        found = {data_set: one_set(data_set, Path(name)) for data_set in names or SETS}
    (Path(tempfile.gettempdir()) / "compute.json").write_text(json.dumps(found))
    lines = [
        "Everybody gets the same rows and default settings, one thread, and is judged on rows that nobody has seen: flights of two",
        "months by time (the last tenth, three seeds), the others in each of five folds. Ours stops by an eighth of its rows (flights: the",
        "tenth before the last); the others use those rows as they like. Time is processor time of preprocessing, fitting and",
        "predicting; a first call of each, which pays for imports, is left out. fastai: one cycle of 5 epochs on flights, 30 on the",
        "small sets; AutoGluon: its default preset, at most 20 s, without CatBoost and XGBoost, which it does not bring along. Ours are the network of `recipe train` and the models of",
        "`recipe baseline`; `recipe export` makes a package of either. The kernel machine is for classes and under 10,000 rows.",
        "",
        f"![Processor seconds against score; filled: ours; a triangle: below zero]({PLOT})",
    ]
    for data_set, runs in found.items():
        lines += ["", *table(data_set, runs)]
    plot(found)
    replace_part("Accuracy for compute", "python bench/accuracy_per_compute.py", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
