"""Requests meet the model: those that wait are answered together, by the version that serves at that moment.

One task takes whatever waits and computes it, so batches form under load by themselves and a lone request never waits for
company. A promote or rollback is noticed by a second task: it loads the new version beside the old one and then changes one
reference, so that every request is answered by one version or the other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import itertools
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from fastapi import Request
from pydantic_core import to_json

from ..owner.engine.files import IMAGES
from ..owner.errors import UserError
from ..owner.task import Task
from ..project import Project
from ..terminal import say
from .log import Log, Record
from .metrics import Metrics
from .model import Answer, Package, load, replay
from .registry import FOLDER, HISTORY, find, promoted

TOGETHER = 256  # rows that are computed together
WAITING = 64  # requests that may wait; one more is told to come back
POLL = 0.25  # seconds between two looks at which version serves
PIXELS = 16 << 20  # of the images that are computed together: some ten bytes each while they are unpacked and scaled
NOTED = 100  # different failures that are printed
BRIEF = 0.02  # seconds that the event loop may compute itself: a thread costs more, and both would wait for one lock
GONE = 0.1  # seconds that a request waits before it is asked whether its client is still there

Told = Any  # (version, answers of the rows), or a Refused


class Refused(Exception):
    """A request that cannot be answered: HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


@dataclass
class Job:
    """One request. size: bytes of its body. pixels: of its images, unpacked. answered: (version, answers with ids), or a Refused."""

    rows: list[dict[str, Any]]
    size: int
    request: Request
    pixels: int
    answered: asyncio.Future[tuple[str, list[Answer]]]
    id: str
    began: float = field(default_factory=time.perf_counter)
    at: float = field(default_factory=time.time)

    async def given_up(self) -> bool:
        """Whether nobody waits for the answers any more: then nothing is computed."""
        if (
            not self.answered.done()
            and time.perf_counter() - self.began > GONE
            and await self.request.is_disconnected()
        ):
            self.answered.set_exception(Refused(499, "the client has gone"))
        return self.answered.done()


@dataclass
class Service:
    """package: the version that serves. fixed: it was named, so promotes are not followed. problem: why the promoted version
    does not serve, '' when it does. errors: requests that the model failed on. noted: failures printed already. took:
    seconds and rows of the last computation. name, numbers: what the ids of requests are made of."""

    project: Project
    package: Package
    log: Log | None
    fixed: bool = False
    problem: str = ""
    kept: dict[str, Package] = field(default_factory=dict)
    errors: int = 0
    noted: set[str] = field(default_factory=set)
    metrics: Metrics = field(default_factory=Metrics)
    took: tuple[float, int] = (BRIEF, 1)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    jobs: asyncio.Queue[Job] = field(default_factory=lambda: asyncio.Queue(WAITING))
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "model"))

    async def ask(
        self, rows: list[dict[str, Any]], size: int, request: Request, seconds: float
    ) -> tuple[str, list[Answer]]:
        """Answers to the rows, and the version that gave them. Raises Refused."""
        names = [column["name"] for column in self.package.columns if column["kind"] == "image"]
        pixels = await asyncio.to_thread(unpack, rows, names) if names else 0
        answered = asyncio.get_running_loop().create_future()
        job = Job(rows, size, request, pixels, answered, f"{self.name}-{next(self.numbers)}")
        try:
            self.jobs.put_nowait(job)
        except asyncio.QueueFull:
            raise Refused(503, f"{WAITING} requests wait already; try again in a second") from None
        try:
            async with asyncio.timeout(seconds):
                return await job.answered
        except TimeoutError:
            raise Refused(503, f"no answer within {seconds:g} seconds; send fewer rows, or try again later") from None

    async def work(self) -> None:
        """Answer jobs for ever, as many together as wait; what is brief is computed at once, anything else in a thread, so that
        the server answers /health meanwhile."""
        loop = asyncio.get_running_loop()
        while True:
            jobs: list[Job] = []
            rows = pixels = 0
            while not jobs or not (self.jobs.empty() or rows >= TOGETHER or pixels >= PIXELS):
                job = await self.jobs.get()
                if not await job.given_up():
                    jobs.append(job)
                    rows, pixels = rows + len(job.rows), pixels + job.pixels
            try:
                if self.took[0] * max(1.0, rows / self.took[1]) < BRIEF:
                    told = self.answer(self.package, jobs)
                else:
                    told = await loop.run_in_executor(self.pool, self.answer, self.package, jobs)
            except Exception as error:  # whatever breaks here breaks one batch, not the server
                self.note("answering", error)
                told = [Refused(500, f"the server failed: {type(error).__name__}")] * len(jobs)
            for job, result in zip(jobs, told, strict=True):
                if not job.answered.done():  # it was given up meanwhile
                    tell = job.answered.set_exception if isinstance(result, Refused) else job.answered.set_result
                    tell(result)  # type: ignore[arg-type]

    def answer(self, package: Package, jobs: list[Job]) -> list[Told]:
        """What each job is told; and hand it to the log.

        A row that cannot be read spoils its own request only. Where the model fails on all of them together, each job is
        computed alone, so that the one it fails on does not take the others with it.
        """
        rows, began = [row for job in jobs for row in job.rows], time.perf_counter()
        try:
            found = package.answer(rows)
            self.took = (time.perf_counter() - began, len(rows))
        except Exception as error:
            if len(jobs) > 1:
                return [self.answer(package, [job])[0] for job in jobs]
            return [Refused(*self.failed(error))]
        told: list[Told] = []
        at = seen = 0  # where a job's rows begin, among all and in the frame
        for job in jobs:
            span = slice(at, at := at + len(job.rows))
            answers = [{"id": f"{job.id}-{i}", **answer} for i, answer in enumerate(found.answers[span]) if answer]
            told.append(refusal(found.reasons[span]) or (package.version, answers))
            if self.log and len(answers) == len(job.rows) and (picked := self.log.sample(len(answers))):
                frame = None if found.frame is None else found.frame.slice(seen, len(answers))
                make = partial(logged, package, self.log, job, answers, frame, picked, time.perf_counter())
                self.log.add(make, len(picked), job.size, brief=frame is None)
            seen += len(answers)
        return told

    def failed(self, error: Exception) -> tuple[int, str]:
        """Status and sentence for a request that the model failed on. It counts; and where the model no longer answers the
        rows that it answered when it was loaded either, the server is not ready."""
        self.errors += 1
        self.note("the model", error)
        try:
            replay(self.package)
        except Exception:
            self.problem = f"{self.package.version} no longer answers its own examples"
        return 500, f"the model failed: {type(error).__name__}"

    def note(self, what: str, error: Exception) -> None:
        """Print a failure once, not for every request that meets it."""
        words = f"{what} failed: {type(error).__name__}: {str(error)[:200]}"
        if words not in self.noted and len(self.noted) < NOTED:
            self.noted.add(words)
            say(f"serve: {words} (said once; /health counts)", error=True)

    async def follow(self) -> None:
        """Take up whatever is promoted or rolled back to. A version that cannot be loaded changes nothing but `problem`."""
        path, seen = self.project.root / FOLDER / HISTORY, _modified(self.project.root / FOLDER / HISTORY)
        while not self.fixed:
            await asyncio.sleep(POLL)
            if (now := _modified(path)) != seen:
                seen = now
                await asyncio.get_running_loop().run_in_executor(None, self.take_up)

    def take_up(self) -> None:
        """Load what is promoted now, unless it is in memory, and let it serve from the next batch on."""
        try:
            version = promoted(self.project.root)
            package = self.kept.get(version) or load(
                self.project.task, find(self.project.root, version), self.project.config.device
            )
        except Exception as error:  # whatever is wrong with the new version, the old one goes on serving
            self.problem = f"{error}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            say(f"serve: {self.package.version} goes on serving: {self.problem}", error=True)
            return
        self.kept = {**{k: v for k, v in self.kept.items() if k == self.package.version}, version: package}
        self.package, self.problem = package, ""
        say(f"serve: {version} serves now")


def _modified(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
        return status.st_mtime_ns, status.st_ino
    except OSError:
        return 0, 0


def refusal(reasons: list[str]) -> Refused | None:
    """What is wrong with the rows of one request; None where nothing is."""
    if not any(reasons):
        return None
    bad = [(i, why) for i, why in enumerate(reasons) if why]
    where = f"row {bad[0][0]}" if len(reasons) > 1 else "the row"
    return Refused(422, f"{where} {bad[0][1]}{f' ({len(bad)} rows are refused)' if len(bad) > 1 else ''}")


def unpack(rows: list[dict[str, Any]], names: list[str]) -> int:
    """Replace images in base64, with or without the head of a data URL, by their bytes: a client never names a path. The
    pixels that they all unpack to, read from their headers. Raises Refused."""
    from PIL import Image

    pixels = 0
    for i, row in enumerate(rows):
        for name in names:
            if not isinstance(value := row.get(name), str):
                continue  # the schema says what is wrong with it
            try:
                row[name] = content = base64.b64decode(value.rpartition(",")[2], validate=True)
            except ValueError:
                sentence = f"row {i} has no base64 of a file in column {name!r}, which is an image"
                raise Refused(422, sentence) from None
            with contextlib.suppress(Exception), Image.open(io.BytesIO(content), formats=IMAGES) as image:
                pixels += image.width * image.height  # what cannot be opened is refused later, with its reason
    if pixels > PIXELS:
        raise Refused(413, f"the images of the request unpack to {pixels:,} pixels; at most {PIXELS:,} are taken")
    return pixels


def logged(
    package: Package,
    log: Log,
    job: Job,
    told: list[Answer],
    frame: pl.DataFrame | None,
    picked: Sequence[int],
    now: float,
) -> Record:
    """The picked rows of an answered job. frame: all of its rows as the model read them, None where they were plain."""
    rows = [job.rows[i] for i in picked]
    if frame is None and type(package.fitted.task).monitored_features is not Task.monitored_features:
        frame = package.read(job.rows)[0]
    watched = None
    if frame is not None:
        rows = [{name: shown(value) for name, value in row.items()} for row in rows]
        watched = text(package.watched(frame[picked]).to_dicts(), exclude=log.exclude)
    inputs = text(rows, include={column["name"] for column in package.columns} - log.exclude)
    answers = text([told[i] for i in picked])
    return Record(job.id, job.at, package.version, 1000 * (now - job.began), inputs, watched, answers, len(rows))


def shown(value: Any) -> Any:
    """What the log keeps of a value: of an image its hash."""
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value


def text(rows: list[dict[str, Any]], **names: Collection[str]) -> str:
    """Rows as JSON: of each the names to include, or all but those to exclude."""
    which: dict[str, Any] = {how: {"__all__": set(some)} for how, some in names.items()}
    return to_json(rows, inf_nan_mode="null", **which).decode()
