"""`recipe check --static` and the files for a CI, in generated projects."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import bake, run, wines


@pytest.mark.parametrize("modality", ["tabular", "image", "text", "sequence"])
def test_the_rules_are_silent_on_a_generated_project_at_once_and_name_a_fault_in_it(tmp_path: Path, modality: str) -> None:
    project = bake(tmp_path, modality=modality, package="my_model")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = run(project, "check", "--static")
    assert (done.returncode, done.stderr) == (0, "") and "0 places" in done.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1
    loop = project / "src" / "my_model" / "engine" / "loop.py"
    text = loop.read_text()
    loop.write_text(text.replace("    optimizer.zero_grad(set_to_none=True)\n", "") + "\nimport no_such_module\n")
    line = loop.read_text().split(".backward()")[0].count("\n") + 1
    done = run(project, "check", "--static", "--json")
    assert done.returncode == 1
    assert [f["evidence"] for f in json.loads(done.stdout)] == [{"file": "src/my_model/engine/loop.py", "line": line, "rule": "cleared"}]


def test_a_step_writes_what_it_found_for_a_ci(tmp_path: Path) -> None:
    project = wines(tmp_path)
    done = run(project, "audit", "--sarif", "a.sarif", "--junit", "a.xml", "--quiet")
    assert done.returncode == 0, done.stderr
    findings = json.loads(next((project / "runs").glob("*-audit/record.json")).read_text())["findings"]
    cases = ElementTree.parse(project / "a.xml").getroot().findall("testcase")
    assert [case.get("name") for case in cases] == [f["check"] for f in findings]
    results = json.loads((project / "a.sarif").read_text())["runs"][0]["results"]
    assert [r["ruleId"] for r in results] == [f["check"] for f in findings if f["verdict"] in ("WARN", "FAIL")]
    lost = run(project, "split", "--junit", "nowhere/a.xml")
    assert lost.returncode == 2 and lost.stderr.count("\n") == 1 and "nowhere" in lost.stderr
    odd = run(project, "check", "src")
    assert odd.returncode == 2 and "--static" in odd.stderr
