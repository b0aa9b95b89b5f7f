"""What deepchecks and cleanlab find by default in the same faulty tables, scored alike: an alarm that the control lacks.

Neither is pinned: deepchecks 0.19.1 wants an old numpy and scikit-learn, so it runs in an environment of its own.

python fault_injection/competitors.py tables competitors-out          the tables, faulty and sound, as CSV            (project environment)
python fault_injection/competitors.py cleanlab competitors-out        cleanlab on each                                  (project environment)
python -m venv competitors-env && competitors-env/bin/pip install deepchecks==0.19.1 "numpy<2" "scikit-learn<1.4" "pandas<2.2" "scipy<1.12" "setuptools<81"
competitors-env/bin/python fault_injection/competitors.py deepchecks competitors-out
python fault_injection/competitors.py score competitors-out           fault_injection/competitors.json, which `run.py --table` reads  (project environment)
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

SEED = 0
FILE = Path(__file__).parent / "competitors.json"


def tables(folder: Path) -> None:
    """Every fault that only changes the data of a table, at every strength; its controls; the sound projects' tables."""
    import numpy as np
    from controls import CONTROLS
    from faults import FAULTS
    from pool import BASES

    folder.mkdir(exist_ok=True)
    cases: list[tuple[str, Any, Any]] = []
    for fault in FAULTS:
        if BASES[fault.base].modality == "tabular" and not BASES[fault.base].service:
            cases += [(f"{fault.id} {s}", BASES[fault.base], f.data) for s, f in fault.strengths.items() if f.data]
    cases += [(f"control {name}", BASES[name], None) for name in sorted({base.name for _, base, _ in cases})]
    seen = {base.rows for _, base, _ in cases}
    for base, fault in CONTROLS:
        if base.modality == "tabular" and not fault.code and base.rows not in seen:
            seen.add(base.rows)
            cases.append((f"sound {base.name}", base, None))
    columns: dict[str, list[str]] = {}
    for name, base, edit in cases:
        random = np.random.default_rng([SEED, 7])
        rows, _ = base.rows(random)
        rows = edit(rows, random) if edit else rows
        columns[name] = rows.columns
        rows.write_csv(folder / f"{name.replace(' ', '_').replace('/', '-')}.csv")
    facts = {}
    for name, base, _ in cases:
        time = base.settings.get("time") if base.settings.get("time") in columns[name] else None
        told = {"name": name, "task": base.task, "target": base.settings.get("target", "target"), "time": time}
        facts[name.replace(" ", "_").replace("/", "-")] = told
    (folder / "cases.json").write_text(json.dumps(facts, indent=1))
    print(f"{len(cases)} tables")


def each(folder: Path, competitor: str, look: Any) -> None:
    """Run a competitor on every table; one JSON each, so that it can go on after a break."""
    warnings.simplefilter("ignore")
    cases = json.loads((folder / "cases.json").read_text())
    for name, facts in sorted(cases.items(), key=lambda case: not case[0].startswith("control")):  # nothing scores without
        out = folder / f"{name}.{competitor}.json"
        if out.exists():
            continue
        try:
            result: dict[str, Any] = {"red": look(folder / f"{name}.csv", facts)}
        except Exception as error:
            result = {"red": [], "error": f"{type(error).__name__}: {error}"[:300]}
        out.write_text(json.dumps(result))
        print(name, result, flush=True)


def by_deepchecks(path: Path, facts: dict[str, Any]) -> list[str]:
    """Names of the checks whose default conditions fail, in the suites data_integrity and train_test_validation.

    The parts: the first 80 % and the rest where there is a time column, else a random 80 % and the rest.
    """
    import pandas
    from deepchecks.tabular import Dataset
    from deepchecks.tabular.suites import data_integrity, train_test_validation

    frame = pandas.read_csv(path)
    words = frame.select_dtypes("object").columns.drop(facts["target"], errors="ignore")
    options = {"label": facts["target"], "cat_features": [c for c in words if c != facts["time"]]}
    options["label_type"] = facts["task"]
    whole = frame if facts["time"] else frame.sample(frac=1, random_state=SEED)
    cut = int(0.8 * len(whole))
    train, test = (Dataset(part, **options) for part in (whole[:cut], whole[cut:]))
    results = [
        *data_integrity().run(Dataset(frame, **options)).results,
        *train_test_validation().run(train, test).results,
    ]
    return sorted({r.get_header() for r in results if hasattr(r, "passed_conditions") and not r.passed_conditions()})


def by_cleanlab(path: Path, facts: dict[str, Any]) -> list[str]:
    """Issue types that Datalab reports on, with the features and, for classes, out-of-fold chances of a logistic model."""
    import contextlib
    import io

    import pandas
    from cleanlab import Datalab
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pandas.read_csv(path)
    label = frame[facts["target"]]
    x = (
        pandas.get_dummies(frame.drop(columns=[facts["target"], *([facts["time"]] if facts["time"] else [])]))
        .fillna(0)
        .to_numpy(float)
    )
    given: dict[str, Any] = {"features": StandardScaler().fit_transform(x)}
    if facts["task"] != "regression":
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        given["pred_probs"] = cross_val_predict(model, x, label, cv=5, method="predict_proba")
    with contextlib.redirect_stdout(io.StringIO()):
        task = "regression" if facts["task"] == "regression" else "classification"
        lab = Datalab({"y": label.tolist()}, task=task, label_name="y", verbosity=0)
        lab.find_issues(**given)
    summary = lab.get_issue_summary()
    return sorted(summary[summary["num_issues"] > 0]["issue_type"])


def score(folder: Path) -> None:
    """competitors.json: for each case and competitor the alarms that its control lacks; for controls and sound tables all alarms."""
    from faults import FAULTS

    base = {fault.id: fault.base for fault in FAULTS}
    facts = json.loads((folder / "cases.json").read_text())
    found: dict[str, dict[str, list[str]]] = {}
    for competitor in ("deepchecks", "cleanlab"):
        raw = {
            f["name"]: json.loads((folder / f"{n}.{competitor}.json").read_text())
            for n, f in facts.items()
            if (folder / f"{n}.{competitor}.json").exists()
        }
        for name, result in raw.items():
            if name.startswith(("control ", "sound ")):
                new = result["red"]
            else:
                control = raw.get(f"control {base[name.rsplit(' ', 1)[0]]}", {"red": []})["red"]
                new = [check for check in result["red"] if check not in control]
            found.setdefault(name, {})[competitor] = new
    FILE.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    """One of the steps above."""
    step, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    if step in ("deepchecks", "cleanlab"):
        each(folder, step, {"deepchecks": by_deepchecks, "cleanlab": by_cleanlab}[step])
    else:
        {"tables": tables, "score": score}[step](folder)


if __name__ == "__main__":
    main()
