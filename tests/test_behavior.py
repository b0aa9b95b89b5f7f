"""`recipe behavior`: what an owner expects of the model is tried on it; what it does not keep is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import data
import pytest
from inside import Inside


def walked(folder: Path, **settings: Any) -> Inside:
    """A project with a trained network."""
    project = Inside(folder / "p", target="target", **settings)
    if settings.get("modality") == "image":
        data.digit_images(project.root / "data" / "images", (0, 1))
    else:
        {"regression": data.diabetes, "multiclass": data.wine}[settings["task"]](project.root / "data" / "train.csv")
    for step in ("audit", "split", "baseline", "check", "train"):
        assert project.recipe(step, "--force", "the walk of a test").status == 0
    return project


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """Progression of diabetes; write behavior.toml, nothing else."""
    return walked(tmp_path_factory.mktemp("numbers"), task="regression", epochs=30)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """Wines of three growers."""
    return walked(tmp_path_factory.mktemp("classes"), task="multiclass", epochs=30)


def tried(project: Inside, *tests: str) -> list[str]:
    """Verdicts of the tests."""
    (project.root / "behavior.toml").write_text("\n".join(f'[[test]]\nname = "it"\n{test}' for test in tests))
    answer = project.recipe("behavior")
    found = [finding["verdict"] for finding in project.record("behavior")["findings"]]
    assert answer.status == int("FAIL" in found), answer.output
    return found


def test_directions_and_invariances_of_a_number(trained: Inside) -> None:
    found = tried(
        trained,
        'column = "bmi"\nadd = 0.05\nexpect = "up"',
        'column = "bmi"\nadd = 0.05\nexpect = "down"',
        'column = "bmi"\nadd = 0.05\nexpect = "same"\nwithin = 1',
        'column = "bmi"\nadd = 0.0001\nexpect = "same"\nwithin = 5',
    )
    assert found == ["PASS", "FAIL", "FAIL", "PASS"]


def test_rows_get_their_answer(trained: Inside, flowers: Inside) -> None:
    assert tried(trained, "rows = [{bmi = 0.1, bp = 0.1, s5 = 0.1}]\nexpect = [150, 400]", "rows = [{bmi = 0.1}]\nexpect = [0, 1]") == ["PASS", "FAIL"]
    first, *_ = (flowers.root / "data" / "train.csv").read_text().split("\n")[1:]
    names = (flowers.root / "data" / "train.csv").read_text().split("\n")[0].split(",")
    *values, label = first.split(",")
    row = ", ".join(f'"{name}" = {value}' for name, value in zip(names, values, strict=False))
    others = sorted({line.split(",")[-1] for line in (flowers.root / "data" / "train.csv").read_text().strip().split("\n")[1:]} - {label})
    assert tried(flowers, f'rows = [{{{row}}}]\nexpect = "{label}"', f'rows = [{{{row}}}]\nexpect = "{others[0]}"') == ["PASS", "FAIL"]


@pytest.mark.slow
def test_pictures_are_looked_at_as_those_to_predict(tmp_path: Path) -> None:
    drawn = {"modality": "image", "data": "data/images", "weights": "none", "size": 16, "lr": 0.003}
    project = walked(tmp_path, task="binary", epochs=6, **drawn)
    ones = [path.relative_to(project.root) for path in sorted((project.root / "data" / "images" / "1").iterdir())[:3]]
    rows = ", ".join(f'{{path = "{path}"}}' for path in ones)
    assert tried(project, f'rows = [{rows}]\nexpect = "1"', f'rows = [{rows}]\nexpect = "0"') == ["PASS", "FAIL"]
    changed = 'column = "path"\nvalues = ["a.png"]\nexpect = "same"'
    for test, said in (('rows = [{path = "none.png"}]\nexpect = "1"', "test 1: row 1 is missing"), (changed, "is missing")):
        (project.root / "behavior.toml").write_text(f'[[test]]\nname = "it"\n{test}')
        answer = project.recipe("behavior")
        assert answer.status == 2 and said in answer.output and "Traceback" not in answer.output


def test_few_rows_that_miss_are_a_suspicion(flowers: Inside) -> None:
    """What one of 26 rows misses is not surely more than a twentieth."""
    least = [flowers.module("engine.metrics").wilson(missed, 26)[0] for missed in (0, 1, 6)]
    assert least[0] == pytest.approx(0) and least[1] < 0.05 < least[2]


ODD = {
    'column = "none"\nadd = 1\nexpect = "up"': "has column 'none', which is no feature of the data",
    'column = "bmi"\nadd = "x"\nexpect = "up"': "has add = 'x'; it must be a number",
    'column = "bmi"\nreplace = {a = "b"}\nexpect = "same"': "column 'bmi' holds Float64; it takes",
    'column = "bmi"\nvalues = "ab"\nexpect = "same"': "has values = 'ab'; it must be a list of values",
    'column = "bmi"\nadd = 1\nat_most = "5%"\nexpect = "up"': "has at_most = '5%'; it must be a share",
    'column = "bmi"\nadd = 1\nat_most = 5\nexpect = "up"': "has at_most = 5; it is a share, from 0 to below 1",
    "rows = []\nexpect = [0, 1]": "has rows = []; it must be a list of rows",
    'column = "bmi"\nadd = 0\nexpect = "up"': "changes no validation row of column 'bmi'",
    'column = "bmi"\nadd = 1\nexpect = "better"': 'of changed rows it is "same", "up" or "down"',
    'rows = [{bmi = "fat"}]\nexpect = [0, 1]': "has 'fat' in column 'bmi', which is not a number",
    "rows = [{bmi = 0.1}]\nexpect = 3": "of a number it is [least, most]",
    'colum = "bmi"\nexpect = "up"': "has 'colum', which is none of",
    'column = "bmi"\nadd = 1': "needs name = a sentence, and expect",
}


@pytest.mark.parametrize("test", ODD)
def test_what_cannot_be_understood_is_one_sentence(test: str, trained: Inside) -> None:
    (trained.root / "behavior.toml").write_text(f'[[test]]\nname = "it"\n{test}')
    answer = trained.recipe("behavior")
    assert answer.status == 2 and ODD[test] in answer.output and "Traceback" not in answer.output


def test_no_tests_at_all(trained: Inside) -> None:
    for text, said in (("", "holds no [[test]]"), ("[[test]\n", "cannot be read as TOML")):
        (trained.root / "behavior.toml").write_text(text)
        answer = trained.recipe("behavior")
        assert answer.status == 2 and said in answer.output
    (trained.root / "behavior.toml").unlink()
    assert "does not exist; write what you expect" in trained.recipe("behavior").output
