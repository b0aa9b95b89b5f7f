"""The network with its default settings against scikit-learn's plain models, on the same folds of real data.

python bench/folds.py        writes docs/folds.md (about 4 minutes on two cores)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "demo")]

import data  # noqa: E402
from conftest import bake  # noqa: E402

FOLDS = 10
SETS = {
    "breast_cancer": {"task": "binary", "metric": "accuracy"},
    "wine": {"task": "multiclass"},
    "digits": {"task": "multiclass"},
    "diabetes": {"task": "regression", "metric": "r2"},
}


def competitors(task: str) -> dict:
    """scikit-learn's plain models, each behind a standard scaler."""
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if task == "regression":
        plain = {
            "ridge": RidgeCV(np.logspace(-3, 3, 13)),
            "MLP (scikit-learn)": MLPRegressor(max_iter=1000, random_state=0),
        }
    else:
        plain = {
            "logistic": LogisticRegression(max_iter=2000),
            "RBF-SVC": SVC(),
            "MLP (scikit-learn)": MLPClassifier(max_iter=1000, random_state=0),
        }
    return {name: make_pipeline(StandardScaler(), model) for name, model in plain.items()}


def one_set(name: str, settings: dict, folder: Path) -> dict[str, list[float]]:
    """Score of every model on every fold. All see the same training rows and are scored on the same validation rows."""
    import project_code as code

    path = folder / f"{name}.csv"
    getattr(data, name)(path)
    scores: dict[str, list[float]] = {}
    for fold in range(FOLDS):
        config = code.Config(
            data=str(path),
            iid="one row each",
            folds=FOLDS,
            fold=fold,
            test_share=0.05,
            tracker="none",
            device="cpu",
            **settings,
        )
        project = code.Project(folder, config, code.TASK, quiet=True)
        part = code.assign(config, project.data)
        train, val = (project.data.take(np.flatnonzero(part == i)) for i in (0, 1))
        prep = code.TASK.prepare(config, train)
        encoded = [code.TASK.examples(config, prep, d) for d in (train, val)]
        model, _ = code.fit(config, code.TASK, prep, *encoded, project.begin("train").folder)
        outputs = code.predict(model, encoded[1], config)
        scores.setdefault("network of the template", []).append(code.score(config, prep, outputs, code.Truth(encoded[1].y.numpy())))
        x, y = [e.x["numeric"].numpy() for e in encoded], [e.y.numpy() for e in encoded]
        for competitor, fitted in competitors(config.task).items():
            scores.setdefault(competitor, []).append(fitted.fit(x[0], y[0]).score(x[1], y[1]))
    return scores


def main() -> None:
    """Run all sets and write the table."""
    lines = [
        "# The network against plain models on the same folds",
        "",
        f"Made by `python bench/folds.py`: {FOLDS} folds, default settings, one seed; mean and standard deviation over folds.",
        "Accuracy; for diabetes the share of variance explained (R2). The network stops early on the very fold it is scored",
        "on, which flatters it a little; `recipe evaluate` does not have that flaw.",
        "",
        "| data | model | mean | sd | within one sd of the best plain model |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generated = bake(folder)
        sys.path.insert(0, str(generated / "src"))
        (folder / "project_code.py").write_text(
            "from my_model.tabular.recipe import TASK, Config\nfrom recipe_kit.project import Project\n"
            "from my_model.engine.splits import assign\nfrom my_model.engine.loop import fit, predict\nfrom my_model.engine.metrics import Truth, score\n"
        )
        sys.path.insert(0, str(folder))
        for data_set, settings in SETS.items():
            scores = one_set(data_set, settings, folder)
            best = max((m for m in scores if m != "network of the template"), key=lambda m: np.mean(scores[m]))
            for model, values in scores.items():
                inside = ""
                if model == "network of the template":
                    inside = "yes" if np.mean(values) >= np.mean(scores[best]) - np.std(scores[best], ddof=1) else "no"
                lines.append(
                    f"| {data_set} | {model} | {np.mean(values):.3f} | {np.std(values, ddof=1):.3f} | {inside} |"
                )
            print("\n".join(lines[-len(scores) :]), flush=True)
    (ROOT / "docs" / "folds.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
