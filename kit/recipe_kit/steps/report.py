"""Self-contained HTML pages from the records there are: one for the project, one for each run; plots first, no script."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..owner.config import make_config
from ..owner.engine.files import read_json, write_atomic
from ..owner.errors import UserError
from ..project import Project, Run
from ..publish import publish
from ..report.examples import seen_section, worst_section
from ..report.experiments import runs_section, studies_section
from ..report.inputs import inputs_section
from ..report.page import Section, render
from ..report.records import Record, diagnoses, finished, notices, shown
from ..report.run_tables import environment_section, findings_sections, ledger_section
from ..report.scores import test_section, validation_section
from ..report.training import training_section
from ..report.verdict import verdict_lines

PAGE = "report.html"


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Write report.html in the project's folder and here, and one page into the folder of each training run."""
    runs = finished(project)
    if args.run and args.run not in [r["id"] for r in runs]:
        raise UserError(
            f"--run {args.run!r} is not a finished training run; there are: {', '.join(r['id'] for r in runs) or 'none'}"
        )
    records = shown(project, args.run)
    for record in runs:
        if not up_to_date(project, record):
            write_atomic(project.root / "runs" / record["id"] / PAGE, run_page(project, record))
    page = project_page(project, records)
    write_atomic(project.root / PAGE, page)
    write_atomic(run.folder / PAGE, page.replace('href="runs/', 'href="../../runs/'))  # from there to the same pages
    run.result |= {
        "page": PAGE,
        "bytes": len(page.encode()),
        "runs": len(runs),
        "of": {step: record["id"] for step, record in records.items() if record},
    }
    publish(run, project.root / PAGE)
    project.say(f"  {len(page.encode()) // 1024} kB, and a page for each of {len(runs)} runs -> {project.root / PAGE}")


def up_to_date(project: Project, record: Record) -> bool:
    """Whether a run's page is younger than all that it shows, and than the code that draws it."""
    runs = project.root / "runs"
    page, code = runs / record["id"] / PAGE, (p for p in Path(__file__).parents[1].glob("report/*") if p.is_file())
    more = [r for step in ("evaluate", "diagnose") for r in project.records(step) if r["result"]["run"] == record["id"]]
    sources = [runs / r["id"] / "record.json" for r in (record, *more)]
    return page.exists() and page.stat().st_mtime > max(path.stat().st_mtime for path in (*sources, *code))


def project_page(project: Project, records: dict[str, Record | None]) -> str:
    """All runs, and the shown one in full."""
    evaluated = records["evaluate"]
    sections = [
        runs_section(project, records),
        test_section(evaluated) if evaluated else None,
        *(run_sections(project, records["train"], records) if records["train"] else []),
        studies_section(records),
        batch_section(project, records),
        *findings_sections(records),
        ledger_section(project),
        environment_section(records),
    ]
    return _page(project, sections, records, notices(project, records), project.root.name, "")


def batch_section(project: Project, records: dict[str, Record | None]) -> Section | None:
    """The batch that the checks looked at; its classes are named by the preprocessing of a run or of the baseline."""
    runs, check = project.root / "runs", records["check"]
    known = [runs / r["id"] / "prep.json" for r in (records["train"], records["baseline"]) if r]
    prep = next((path for path in known if path.exists()), None)
    if not check or not prep:
        return None
    return seen_section(runs / check["id"], read_json(prep, "the preprocessing of a run", "train again: recipe train"))


def run_page(project: Project, record: Record) -> str:
    """One training run by itself."""
    tested = [r for r in project.records("evaluate") if r["result"]["run"] == record["id"]]
    records: dict[str, Any] = {"train": record, "evaluate": tested[-1] if tested else None}
    sections = [
        test_section(tested[-1]) if tested else None,
        *run_sections(project, record, records),
        environment_section({"train": record}),
    ]
    return _page(project, sections, records, [], f"{project.root.name}: {record['id']}", f"../../{PAGE}")


def run_sections(project: Project, record: Record, records: dict[str, Record | None]) -> list[Section | None]:
    """Curves, classes on validation (where this run was not tested), and the worst examples of one run."""
    folder: Path = project.root / "runs" / record["id"]
    evaluated = records.get("evaluate")
    diagnosed = diagnoses(project, record)
    found: list[Section | None] = [training_section(folder, record, records.get("lr_find"), diagnosed)]
    if not evaluated or evaluated["result"]["run"] != record["id"]:
        prep = read_json(folder / "prep.json", "the preprocessing of a run", "train again: recipe train")
        config = make_config(project.task.settings, record["config"], f"the config of {record['id']}")
        found.append(validation_section(config, folder, prep["classes"]))
    return [*found, worst_section(folder), inputs_section(folder)]


def _page(
    project: Project,
    sections: list[Section | None],
    records: dict[str, Record | None],
    old: list[str],
    name: str,
    back: str,
) -> str:
    config = project.config
    return render(
        [s for s in sections if s],
        name=name,
        about=f"{config.task} on {config.target}, judged by {config.resolved_metric}",
        verdict=verdict_lines(config.resolved_metric, records),
        notices=old,
        back=back,
    )
