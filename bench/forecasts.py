"""Forecasts of the project beside exponential smoothing, on series that a package ships.

python bench/forecasts.py FOLDER      writes docs/forecasts.md (about 20 minutes on one core)

FOLDER has statsmodels and patsy in it: pip install --target FOLDER --no-deps statsmodels patsy. They are no part of the project.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), sys.argv[1]]

from conftest import bake  # noqa: E402

SEEDS = 3
# name -> file of statsmodels/datasets, what it is, horizon, season
SETS = {
    "sunspots": ("sunspots/sunspots.csv", "sunspots, by year", 11, 11),
    "co2": ("co2/co2.csv", "carbon dioxide at Mauna Loa, by month", 12, 12),
    "elnino": ("elnino/elnino.csv", "temperature of the Pacific, by month", 12, 12),
    "elec_equip": ("elec_equip/elec_equip.csv", "orders of electrical equipment, by month", 12, 12),
    "unemployment": ("macrodata/macrodata.csv", "unemployment in the United States, by quarter", 4, 4),
}


def series(name: str) -> pl.DataFrame:
    """Columns at (1, 2, ...) and value (gaps are null) of one set, an even step apart."""
    import statsmodels.datasets as shipped

    path = Path(shipped.__file__).parent / SETS[name][0]
    frame = pl.read_csv(path, infer_schema_length=None, null_values=["", "NA"], comment_prefix="#")
    if name == "co2":
        month = pl.col("date").cast(pl.String).str.slice(0, 6).cast(pl.Int64)
        frame = frame.group_by(month.alias("month"), maintain_order=True).agg(pl.col("co2").mean())
        line = frame["co2"]
    elif name == "elnino":
        line = pl.Series(frame.drop("YEAR").to_numpy().ravel())
    else:
        line = frame["unemp" if name == "unemployment" else frame.columns[-1]]
    return pl.DataFrame({"at": range(1, len(line) + 1), "value": line.cast(pl.Float64)})


def smoothing(line: pl.DataFrame, known: int, season: int, asked: pl.DataFrame) -> np.ndarray:
    """Forecasts of ETS(A, Ad, A): parameters from the first `known` steps, then the state carried on to each origin. asked: columns
    at and ahead."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    whole = line["value"].interpolate().fill_null(strategy="backward").to_numpy()
    kind = {"error": "add", "trend": "add", "damped_trend": True, "seasonal": "add", "seasonal_periods": season}
    fitted = ETSModel(whole[:known], **kind).fit(disp=False)
    found = {}
    for origin in asked.select(pl.col("at") - pl.col("ahead")).unique().to_series():
        state = ETSModel(whole[:origin], **kind).smooth(fitted.params)
        found |= {(origin, ahead): value for ahead, value in enumerate(state.forecast(asked["ahead"].max()), start=1)}
    return np.array([found[at - ahead, ahead] for at, ahead in asked["at", "ahead"].iter_rows()])


def errors(name: str, folder: Path) -> tuple[int, dict[str, list[float]]]:
    """(test values, model -> mean absolute error on the test part, in those of a seasonal naive forecast within train: MASE)."""
    import project_code as code

    _, _, horizon, season = SETS[name]
    line = series(name)
    line.write_csv(folder / f"{name}.csv")
    common = {"data": str(folder / f"{name}.csv"), "target": "value", "step": "at", "time": "at", "task": "regression", "tracker": "none"}
    settings = {**common, "horizon": horizon, "season": season, "max_length": 4 * season, "device": "cpu", "metric": "mae"}
    config = code.Config(**settings)
    project = code.Project(folder, config, code.TASK, quiet=True)
    part = code.assign(config, project.data)
    train, val, test = (project.data.take(np.flatnonzero(part == i)) for i in range(3))
    prep = code.TASK.prepare(config, train)
    truth = test.frame["value"].to_numpy()
    before = train.frame["value"].to_numpy()
    naive = float(np.abs(before[season:] - before[:-season]).mean())

    def mase(outputs: np.ndarray) -> float:
        return float(np.abs(outputs[:, 0] * prep["target_scale"] + prep["target_mean"] - truth).mean()) / naive

    found = {n: [mase(fitted.predict(test))] for n, fitted in code.TASK.baselines(config, prep, train).items()}
    told = smoothing(line, int(train.frame["at"].max()), season, test.frame["at", "ahead"])
    found["ETS(A, Ad, A)"] = [float(np.abs(told - truth).mean()) / naive]
    encoded = [code.TASK.examples(config, prep, d) for d in (train, val, test)]
    for seed in range(SEEDS):
        of_seed = code.Config(**settings, seed=seed)
        model, _ = code.fit(of_seed, code.TASK, prep, *encoded[:2], project.begin("train").folder)
        found.setdefault("network", []).append(mase(code.predict(model, encoded[2], of_seed)))
    return len(test), found


def main() -> None:
    """Run all sets and write the table."""
    warnings.simplefilter("ignore")
    began, rows = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generated = bake(folder, modality="sequence")
        sys.path[:0] = [str(folder), str(generated / "src")]
        (folder / "project_code.py").write_text(
            "from my_model.sequence.recipe import TASK, Config\nfrom recipe_kit.project import Project\n"
            "from my_model.engine.splits import assign\nfrom my_model.engine.loop import fit, predict\n"
        )
        import torch

        torch.set_num_threads(1)
        for one in SETS:
            rows[one] = errors(one, folder)
            print(one, rows[one], flush=True)
    models = ["last_value", "seasonal_naive", "ETS(A, Ad, A)", "ridge", "lightgbm", "network"]
    lines = [
        "# Forecasts beside exponential smoothing",
        "",
        f"Made by `python bench/forecasts.py` in {(time.monotonic() - began) / 60:.0f} minutes on one core. Mean absolute error on the test part,",
        "the last 15 % of each series, divided by that of a seasonal naive forecast within the training part (MASE, Hyndman and Koehler",
        "2006): under 1 is better than it was there. Origins lie one horizon apart; nothing was tuned, and no model saw the test part.",
        "Those of the project are fitted on the training part alone and use validation for stopping at most; ETS gets its parameters from the",
        f"same steps, and its state is carried on to each origin. The network has default settings; mean of {SEEDS} seeds, least to greatest.",
        "",
        f"| series | test values | horizon | {' | '.join(models)} |",
        f"|---|---|---|{'---|' * len(models)}",
    ]
    for one, (n, found) in rows.items():
        least = min(np.mean(found[m]) for m in models)
        cells = [f"{np.mean(found[m]):.2f}" + (f" ({min(found[m]):.2f} to {max(found[m]):.2f})" if len(found[m]) > 1 else "") for m in models]
        cells = [f"**{cell}**" if np.mean(found[m]) == least else cell for m, cell in zip(models, cells, strict=True)]
        lines.append(f"| {SETS[one][1]} | {n} | {SETS[one][2]} | {' | '.join(cells)} |")
    (ROOT / "docs" / "forecasts.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
