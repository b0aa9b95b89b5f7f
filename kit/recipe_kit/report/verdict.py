"""What the page says first, in plain words: does the model beat the baseline, what did the test say, what failed."""

from __future__ import annotations

from typing import Any

from ..owner.config import LOWER_IS_BETTER
from ..owner.engine.metrics import gain as gain_of
from ..owner.formatting import interval
from .records import Record


def verdict_lines(metric: str, records: dict[str, Record | None]) -> list[str]:
    """Against the best simple model, on the test part, what FAILs, and what was forced past a FAIL."""
    train, evaluated = records["train"], records.get("evaluate")
    against = train["result"].get("against_baseline") if train else None
    if train is None:
        first = "No model is trained yet."
    elif against:
        first = worth(train["result"]["model"], train["result"].get("metric", metric), against)
        simple = records.get("baseline")
        beaten = gain_of(train["result"].get("metric", metric), against)["low"] <= 0  # a NaN says nothing
        if beaten and simple and simple["result"].get("weights"):
            first += f" To use the best simple model as it is: recipe export --run {simple['id']}."
    else:
        first = "No baseline was run: the result cannot be judged."
    red = [f"{r['id']}: {f['check']}" for r in records.values() if r for f in r["findings"] if f["verdict"] == "FAIL"]
    forced = list(dict.fromkeys(line for r in records.values() if r for line in r.get("forced", [])))
    found = [first, *tested(train, evaluated), f"FAIL: {'; '.join(red)}." if red else "No check FAILs."]
    return [*found, *(f"Forced: {line}." for line in forced)]


def worth(model: str, metric: str, against: dict[str, Any]) -> str:
    """Whether the model beats the best simple one. Differences are the model's score minus the other's, so below zero is
    better where lower is better."""
    who = "The network" if model == "network" else model
    if None in (against["value"], against["low"], against["high"]):
        return f"{who} cannot be judged against {against['name']}: the difference is not a number."
    lower = metric in LOWER_IS_BETTER
    gain = gain_of(metric, against)
    words = (
        f"the difference is {interval(against, '+')} {metric} on validation{', where lower is better' if lower else ''}"
    )
    if gain["low"] > 0:
        return f"{who} beats the best simple model, {against['name']}: {words}."
    if gain["high"] < 0:
        return f"{who} does not beat {against['name']}, which is better: {words}."
    return f"{who} is not shown to beat {against['name']} on this evidence: {words}, and its interval holds 0."


def tested(train: Record | None, evaluated: Record | None) -> list[str]:
    """What the test part said, for which run, and whether it was looked at once."""
    if evaluated is None:
        return ["The test part is still shut."]
    result = evaluated["result"]
    looks = [f for f in evaluated["findings"] if f["check"] == "test access"]
    times = looks[0]["evidence"].get("openings", 1) if looks else len(result["openings"])
    clean = "opened once" if times == 1 else f"opened {times} times, so this is no clean test"
    other = "" if train and train["id"] == result["run"] else f" It was another run, {result['run']}."
    scored = f"{result['metric']} {interval(result['metrics'][result['metric']])}"
    return [f"Test ({clean}, {result['rows']:,} rows): {scored}.{other}"]
