"""Which records a page shows, what makes them out of date, and which runs may be compared with each other."""

from __future__ import annotations

from typing import Any

from ..checks.diagnosis import NAMES
from ..owner.errors import UserError
from ..project import DEPENDS, Project

Record = dict[str, Any]
STEPS = ("audit", "split", "baseline", "check", "lr_find", "cv", "learning_curve", "tune", "ablate", "evaluate")
LEARNS = ("data", "split", "preprocessing", "model", "loss", "optimizer", "schedule", "loop")

# What a step's record depends on beside what the gates ask for (DEPENDS): the settings and data that change what it says.
RELEVANT = {
    **DEPENDS,
    **dict.fromkeys(("cv", "learning_curve"), LEARNS),
    **dict.fromkeys(("tune", "ablate"), ("data", "split")),
    "lr_find": ("data", "split", "preprocessing", "model", "loss", "optimizer"),
    "evaluate": ("data", "split", "evaluation"),
}


def shown(project: Project, wanted: str) -> dict[str, Record | None]:
    """Step -> the record to show: the newest one on the data and split of the training run, else the newest.

    The training run is the wanted one, else the evaluated one, else the newest that finished.
    """
    train, newest = finished(project), _last(project.records("evaluate"))
    wanted = wanted or (newest["result"]["run"] if newest else "")
    chosen = next((r for r in train if r["id"] == wanted), _last(train))
    found: dict[str, Record | None] = {"train": chosen}
    for step in STEPS:
        records = project.records(step)
        alike = [r for r in records if chosen and comparable(r, chosen)]
        found[step] = _last(alike) or _last(records)
    return found


def finished(project: Project) -> list[Record]:
    """Training runs that came to a result, oldest first."""
    return [r for r in project.records("train") if "metrics" in r["result"]]


def diagnoses(project: Project, record: Record) -> list[dict[str, Any]]:
    """What ails a training run: the newest `recipe diagnose` of it, else what it said of itself at its end."""
    later = [r for r in project.records("diagnose") if r["result"]["run"] == record["id"]]
    return [f for f in (later[-1] if later else record)["findings"] if f["check"] in NAMES]


def comparable(one: Record, other: Record) -> bool:
    """Whether two records were made on the same data and the same split."""
    return all(one["fingerprint"].get(k) == other["fingerprint"].get(k) for k in ("data", "split"))


def notices(project: Project, records: dict[str, Record | None]) -> list[str]:
    """Sentences on what is out of date: made before the data, the settings or the code changed."""
    try:
        now = project.fingerprint
    except UserError as error:
        return [f"Whether these records are up to date cannot be told, since the data cannot be read: {error}"]
    found, older = [], []
    for step, record in records.items():
        if record is None:
            continue
        changed = [k for k in RELEVANT[step] if k != "code" and record["fingerprint"].get(k) != now[k]]
        if changed:
            command = f"recipe {step.replace('_', '-')}"
            found.append(f"{record['id']} was made before {_words(changed)} changed; to bring it up to date: {command}")
        if record["fingerprint"].get("code") != now["code"]:
            older.append(record["id"])
    if shown := records.get("train"):  # with settings that recipe.toml sets otherwise by now
        asked = project.config.model_dump()
        other = [f"{k} = {v!r} (now {asked[k]!r})" for k, v in shown["config"].items() if k in asked and asked[k] != v]
        found += [f"{shown['id']} was trained with {_words(other)}."] if other else []
    return found + ([f"The code has changed since {_words(older)}."] if older else [])


def _words(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _last(records: list[Record]) -> Record | None:
    return records[-1] if records else None
