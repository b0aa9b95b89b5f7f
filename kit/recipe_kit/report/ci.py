"""What a CI reads: findings as SARIF 2.1.0, as JUnit, and as GitHub's annotations; and `recipe check --static`, which needs no project."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

Finding = dict[str, Any]  # as in a record
LEVELS = {"FAIL": "error", "WARN": "warning"}
TAGS = {"FAIL": "failure", "WARN": "system-out", "NOT APPLICABLE": "skipped"}
UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


def report(step: str, findings: list[Finding], sarif: str, junit: str) -> None:
    """Write the files that were asked for; on GitHub, annotate the lines of the code that findings name."""
    if sarif:
        Path(sarif).write_text(json.dumps(as_sarif(findings), indent=1) + "\n", encoding="utf-8")
    if junit:
        Path(junit).write_text(as_junit(step, findings), encoding="utf-8")
    for f in findings if os.environ.get("GITHUB_ACTIONS") == "true" else []:
        if f["verdict"] in LEVELS and "line" in f["evidence"]:
            print(
                f"::{LEVELS[f['verdict']]} file={f['evidence']['file']},line={f['evidence']['line']}::{_text(f)}",
                file=sys.stderr,
            )


def _text(finding: Finding) -> str:
    causes = "; ".join(cause["sentence"] for cause in finding["causes"][:1])
    return " ".join(f"{finding['check']}: {finding['observed']}. {causes}".split())


def as_sarif(findings: list[Finding]) -> dict[str, Any]:
    """Each WARN and FAIL as a result. What lies in no line of code is said of recipe.toml."""
    loud = [f for f in findings if f["verdict"] in LEVELS]
    rules = {f["check"]: {"id": f["check"], "shortDescription": {"text": f["expected"] or f["check"]}} for f in loud}
    results = []
    for f in loud:
        file, line = f["evidence"].get("file", "recipe.toml"), f["evidence"].get("line", 1)
        place = {"physicalLocation": {"artifactLocation": {"uri": file}, "region": {"startLine": line}}}
        told = {"ruleId": f["check"], "level": LEVELS[f["verdict"]], "message": {"text": _text(f)}}
        results.append({**told, "locations": [place]})
    run = {"tool": {"driver": {"name": "recipe", "rules": list(rules.values())}}, "results": results}
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def as_junit(step: str, findings: list[Finding]) -> str:
    """A test case each; a FAIL is a failure, a WARN passes with its text, and what does not apply is skipped."""
    count = Counter(f["verdict"] for f in findings)
    numbers = {"tests": len(findings), "failures": count["FAIL"], "errors": 0, "skipped": count["NOT APPLICABLE"]}
    suite = ElementTree.Element("testsuite", {"name": f"recipe {step}", **{k: str(n) for k, n in numbers.items()}})
    for f in findings:
        named = {"classname": f"recipe.{step}", "name": f["check"], "time": f"{f['seconds']:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", named)
        if f["verdict"] in TAGS:
            inner = ElementTree.SubElement(case, TAGS[f["verdict"]])
            inner.text = UNPRINTABLE.sub("?", _text(f))
            if f["verdict"] != "WARN":
                inner.set("message", inner.text)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def static(words: list[str]) -> int:
    """`recipe check --static [FOLDER]`: the rules on the text of the code alone, here or in a folder. 1 when one is FAIL."""
    from ..checks.static import training_code

    cli = argparse.ArgumentParser(prog="recipe check --static", description=static.__doc__, allow_abbrev=False)
    cli.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="folder or file (default: src, or here)")
    cli.add_argument("--static", action="store_true", help=argparse.SUPPRESS)
    for flag in ("--sarif", "--junit"):
        cli.add_argument(flag, default="", metavar="FILE", help=f"write what was found as {flag[2:]}")
    cli.add_argument("--json", action="store_true", help="print the findings as one line of JSON")
    args = cli.parse_intermixed_args(words)
    folder = args.folder or (Path("src") if Path("src").is_dir() else Path())
    try:
        findings = [found.record() for found in training_code(folder.resolve(strict=True), Path.cwd())]
        report("check", findings, args.sarif, args.junit)
    except OSError as error:
        print(f"recipe check: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    loud = [f for f in findings if f["verdict"] in LEVELS]
    for f in [] if args.json else loud:
        print(f"  {f['verdict']}  {f['observed']}\n{'':8}{f['causes'][0]['sentence']}")
    print(json.dumps(findings) if args.json else f"check --static: {len(loud)} places named in {folder}")
    return int(any(f["verdict"] == "FAIL" for f in findings))
