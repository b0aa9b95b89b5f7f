"""Every bad input of fault_cases.py gets its sentence; the parsers meet whatever hypothesis thinks of; the page is complete.

`python tests/test_faults.py` (make bad-input) writes docs/bad-input.md from the same cases.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import faults
import pytest
from conftest import QUESTIONS, ROOT, module
from fault_cases import AREAS, SPLIT, honest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from test_bake import REFUSED

PAGE = ROOT / "docs" / "bad-input.md"
Workplace = tuple[dict[str, Path], Path]


def workplace(where: Path) -> Workplace:
    """Sound projects of all kinds, and a place for copies of them."""
    import torch

    torch.set_num_threads(1)
    bases = {kind: faults.make_base(kind, where) for kind in faults.SOUND}
    bases["packaged"] = faults.make_packaged(bases["tabular"], where)
    return bases, where


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return workplace(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("area", AREAS)
def test_bad_input_gets_one_sentence_and_changes_nothing(place: Workplace, area: str) -> None:
    wrong = []
    for case in AREAS[area][1]:
        answer, problem = faults.try_case(case, *place)
        if problem:
            wrong.append(f"{case.given}: {problem}: {answer.lines or answer.output[-300:]}")
    assert wrong == []


def test_a_sound_project_is_not_refused(place: Workplace) -> None:
    """The harness sees a fault where there is none, and none where there is one: it can fail."""
    assert faults.try_case(faults.Case("nothing", "", SPLIT), *place)[1] == "accepted in silence"
    assert "does not say" in faults.try_case(faults.Case("lr", "no such words", [*SPLIT, "lr=-1"]), *place)[1]
    shown = faults.Case("a file appears", "above 0", [*SPLIT, "lr=-1"])
    root = place[1] / "watched"
    root.mkdir()
    (root / "recipe.toml").write_text('modality = "tabular"\n')
    before = faults.files(root)
    (root / "new").write_text("x")
    assert before != faults.files(root) and shown.words


def test_the_page_names_every_case() -> None:
    text = PAGE.read_text()
    count = sum(len(cases) for _, cases in AREAS.values()) + len(REFUSED)
    assert count >= 150 and f"{count} bad inputs" in text
    assert [case.given for _, cases in AREAS.values() for case in cases if f"| {case.given} |" not in text] == []


# --- what hypothesis thinks of: every parser returns, or says one sentence -----------------------------------------------

SLOW = settings(
    max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
JSON: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def refused(place: Workplace, call: Any, *args: Any) -> str:
    """The sentence of the UserError that a call raises; '' when it returns. Anything else escapes and fails the test."""
    error = module("errors").UserError
    try:
        call(*args)
    except error as said:
        assert str(said) and "\n" not in str(said), repr(str(said))
        return str(said)
    return ""


@SLOW
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_as_recipe(place: Workplace, content: bytes) -> None:
    config = module("config")
    path = place[1] / "any.toml"
    path.write_bytes(content)
    refused(place, lambda: config.make_config(config.Config, config.read_toml(path), "any.toml"))


@SLOW
@given(
    values=st.dictionaries(
        st.sampled_from(("lr", "epochs", "drop", "target", "seed", "split", "x")) | st.text(), JSON, max_size=3
    )
)
def test_any_values_as_settings(place: Workplace, values: dict[str, Any]) -> None:
    config = module("config")
    refused(place, config.make_config, config.Config, values, "here")


@SLOW
@given(text=st.text(max_size=60) | st.text(max_size=30).map(lambda t: f"lr={t}"))
def test_any_text_as_override(place: Workplace, text: str) -> None:
    config = module("config")
    refused(place, config.parse_override, text)


@SLOW
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(("id", "step", "status", "overrides", "force", "metric", "value", "low")), JSON
        ),
        max_size=3,
    )
)
def test_any_rows_with_true_hashes_as_ledger(place: Workplace, rows: list[dict[str, Any]]) -> None:
    ledger = module("ledger")
    path = place[1] / "any.jsonl"
    try:
        path.write_bytes(honest(rows))
    except (UnicodeEncodeError, ValueError):
        return
    if not refused(place, ledger.read, path):
        refused(place, lambda: ledger.require_fields(ledger.read(path)) or ledger.table(ledger.read(path)))


@SLOW
@given(content=st.binary(max_size=300))
def test_any_bytes_as_ledger(place: Workplace, content: bytes) -> None:
    ledger = module("ledger")
    path = place[1] / "any.jsonl"
    path.write_bytes(content)
    assert refused(place, ledger.read, path) or not content.strip()


@st.composite
def damaged(draw: DrawFn) -> bytes:
    """A sound table with a piece cut out, doubled, or replaced by any bytes."""
    table = faults.table()
    at, size = draw(st.integers(0, len(table))), draw(st.integers(0, 200))
    return table[:at] + draw(st.binary(max_size=20)) + table[at + (size if draw(st.booleans()) else -size) :]


@SLOW
@given(content=damaged() | st.binary(max_size=400))
def test_any_bytes_as_table(place: Workplace, content: bytes) -> None:
    root, task = place[1] / "any", module("tabular.recipe").TASK
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data" / "train.csv").write_bytes(content)

    def read() -> None:
        config = task.settings(iid="drawn one by one")
        task.prepare(config, task.load(config, root))

    refused(place, read)


@SLOW
@given(content=JSON)
def test_any_json_as_split(place: Workplace, content: Any) -> None:
    parts, project = module("engine.splits"), module("project")
    root = place[1] / "manifest"
    root.mkdir(exist_ok=True)
    try:
        (root / "split.json").write_text(json.dumps(content), encoding="utf-8")
    except UnicodeEncodeError:
        return
    assert "not a split manifest" in refused(place, parts.read_manifest, project.Project(root, None, None))


def answers_page() -> list[str]:
    """Table lines for the template's own questions."""
    source = (ROOT / "hooks" / "pre_gen_project.py").read_text().split("\nfound = ")[0]
    hook: dict[str, Any] = {}
    exec(source.replace("{{ cookiecutter | jsonify }}", "{}"), hook)
    good = {k: v[0] if isinstance(v, list) else v for k, v in QUESTIONS.items()}
    good |= {"project_slug": "fine", "package": "fine"}
    lines = []
    for answers, _ in REFUSED:
        said = hook["problem"]({**good, **answers}) or "cookiecutter itself: the folder already exists"
        (name, value), *_ = answers.items()
        lines.append(f"| {name} = {faults.shown(repr(value)[:60])} | {faults.shown(said)} |")
    return lines


def page(at: Workplace) -> str:
    """docs/bad-input.md."""
    parts = []
    for title, cases in AREAS.values():
        lines = []
        for case in cases:
            answer, problem = faults.try_case(case, *at)
            assert not problem, (case.given, problem, answer.lines)
            sentence = answer.sentence.partition(": ")[2]
            lines.append(f"| {case.given} | {faults.shown(sentence)} |")
        parts += [f"\n## {title}\n", "| given | answer |", "|---|---|", *lines]
    parts += ["\n## Answers to the template's questions\n", "| given | answer |", "|---|---|", *answers_page()]
    count = sum(len(cases) for _, cases in AREAS.values()) + len(REFUSED)
    text = (ROOT / "tests" / "bad-input.md").read_text()
    return text.replace("<!-- count -->", f"{count} bad inputs").replace("<!-- tables -->", "\n".join(parts).strip())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(workplace(Path(folder))))
    sys.exit(0)
