"""Requests meet the model: those that wait are answered together, by the version that serves at that moment.

One thread computes. While it does, requests queue up; the next call takes all of them, so batches form under load by
themselves and a lone request never waits for company. A promote or rollback is noticed by a second task: it loads the new
version beside the old one and then changes one reference, so that every request is answered by one version or the other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ..engine.files import IMAGES
from ..engine.project import Project
from ..engine.terminal import say
from ..errors import UserError
from .log import Log, Row
from .model import Answer, Answered, Package, load, replay, score
from .registry import FOLDER, HISTORY, find, promoted

TOGETHER = 256  # rows that are computed together
WAITING = 64  # requests that may wait; one more is told to come back
POLL = 0.25  # seconds between two looks at which version serves
PIXELS = 16 << 20  # of the images that are computed together: some ten bytes each while they are unpacked and scaled
NOTED = 100  # different failures that are printed
KEPT = 2  # versions held in memory: the one before is there at once when it is rolled back to


class Refused(Exception):
    """A request that cannot be answered: HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


@dataclass
class Job:
    """One request. pixels: of all its images, unpacked. answered is set to (version, answers), or to a Refused. ids: one
    for each row."""

    rows: list[dict[str, Any]]
    pixels: int
    answered: asyncio.Future[tuple[str, list[Answer]]]
    began: float = field(default_factory=time.perf_counter)
    at: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def ids(self) -> list[str]:
        return [f"{self.id}-{i}" for i in range(len(self.rows))]


@dataclass
class Service:
    """package: the version that serves. fixed: it was named, so promotes are not followed. problem: why the promoted version
    does not serve, '' when it does. errors: requests that the model failed on. noted: failures printed already."""

    project: Project
    package: Package
    log: Log | None
    fixed: bool = False
    problem: str = ""
    kept: dict[str, Package] = field(default_factory=dict)
    errors: int = 0
    noted: set[str] = field(default_factory=set)
    jobs: asyncio.Queue[Job] = field(default_factory=lambda: asyncio.Queue(WAITING))
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "model"))

    async def ask(self, rows: list[dict[str, Any]], seconds: float) -> tuple[Job, str, list[Answer]]:
        """Answers to the rows, and the version that gave them. Raises Refused."""
        job = Job(rows, await self.weighed(rows), asyncio.get_running_loop().create_future())
        try:
            self.jobs.put_nowait(job)
        except asyncio.QueueFull:
            raise Refused(503, f"{WAITING} requests wait already; try again in a second") from None
        try:
            version, answers = await asyncio.wait_for(job.answered, seconds)
        except TimeoutError:
            raise Refused(503, f"no answer within {seconds:g} seconds; send fewer rows, or try again later") from None
        return job, version, answers

    async def weighed(self, rows: list[dict[str, Any]]) -> int:
        """Pixels that the images of a request unpack to, read from their headers. Raises Refused where they are too many."""
        names = [column["name"] for column in self.package.columns if column["kind"] == "image"]
        if not names:
            return 0
        pixels = await asyncio.to_thread(count_pixels, [row.get(name) for row in rows for name in names])
        if pixels > PIXELS:
            raise Refused(413, f"the images of the request unpack to {pixels:,} pixels; at most {PIXELS:,} are taken")
        return pixels

    async def work(self) -> None:
        """Answer jobs for ever, as many together as wait."""
        loop = asyncio.get_running_loop()
        while True:
            jobs = [await self.jobs.get()]
            while (
                not self.jobs.empty()
                and sum(len(job.rows) for job in jobs) < TOGETHER
                and sum(job.pixels for job in jobs) < PIXELS
            ):
                jobs.append(self.jobs.get_nowait())
            jobs = [job for job in jobs if not job.answered.done()]  # whoever gave up is not computed for
            if jobs:
                with contextlib.suppress(Exception):  # whatever breaks here breaks one batch, not the server
                    await loop.run_in_executor(self.pool, answer_jobs, self, jobs, loop)

    def failed(self, error: Exception) -> tuple[int, str]:
        """Status and sentence for a request that the model failed on. It counts; and where the model no longer answers the
        rows that it answered when it was loaded either, the server is not ready."""
        self.errors += 1
        self.note("the model", error)
        if isinstance(error, OSError):
            return 503, f"the request cannot be unpacked on this server: {error.strerror or error}; try again later"
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


def answer_jobs(service: Service, jobs: list[Job], loop: asyncio.AbstractEventLoop) -> None:
    """Compute all jobs in one call of the model and tell each its answers; what is logged is prepared after that.

    A row that cannot be read spoils its own request only. Where the model fails on all of them together, each job is
    computed alone, so that the one it fails on does not take the others with it.
    """
    package, log = service.package, service.log
    with contextlib.ExitStack() as held:  # unpacked images stay until the log has looked at them
        try:
            found = compute(package, jobs, held)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    answer_jobs(service, [job], loop)
                return
            loop.call_soon_threadsafe(_tell, jobs[0], Refused(*service.failed(error)))
            return
        told, at = [], 0
        for job in jobs:
            span = slice(at, at := at + len(job.rows))
            told.append(_result(package, job, found.answers[span], found.reasons[span]))
            loop.call_soon_threadsafe(_tell, job, told[-1])
        if log:
            try:  # a log that fails breaks no answer
                good = [not why for why in found.reasons]
                _log(package, log, list(zip(jobs, told, strict=True)), found.frame, good)
            except Exception as error:
                log.lost += sum(len(job.rows) for job in jobs)
                service.note("the log", error)


def compute(package: Package, jobs: list[Job], held: contextlib.ExitStack) -> Answered:
    """Answers to the rows of all jobs; images are unpacked first, into a folder that `held` removes."""
    rows = [row for job in jobs for row in job.rows]
    if not any(column["kind"] == "image" for column in package.columns):
        return package.answer(rows)
    folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="recipe-")))
    return package.answer([unpacked(package, row, folder) for row in rows])


def _result(package: Package, job: Job, answers: list[Any], reasons: list[str]) -> Any:
    bad = [(i, why) for i, why in enumerate(reasons) if why]
    if bad:
        where = f"row {bad[0][0]} " if len(reasons) > 1 else "the row "
        more = f" ({len(bad)} rows are refused)" if len(bad) > 1 else ""
        return Refused(422, f"{where}{bad[0][1]}{more}")
    return package.version, answers


def _tell(job: Job, result: Any) -> None:
    if job.answered.done():  # it was given up
        return
    if isinstance(result, Refused):
        job.answered.set_exception(result)
    else:
        job.answered.set_result(result)


def count_pixels(values: list[Any]) -> int:
    """Width times height of all images given in base64; 0 for what is none, which is refused later with its reason."""
    from PIL import Image

    pixels = 0
    for value in values:
        try:
            with Image.open(io.BytesIO(decoded(value)), formats=IMAGES) as image:
                pixels += image.width * image.height
        except Exception:  # decoders raise whatever a broken file makes them stumble over
            continue
    return pixels


def decoded(value: str) -> bytes:
    """The bytes of a file in base64, with or without the head of a data URL. Raises ValueError for others."""
    return base64.b64decode(value.rpartition(",")[2], validate=True)


def unpacked(package: Package, row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The row with its images as files: a client sends their bytes in base64, never a path."""
    row = dict(row)
    for name in (c["name"] for c in package.columns if c["kind"] == "image" and isinstance(row.get(c["name"]), str)):
        try:
            content = decoded(row[name])
        except ValueError:
            row[name] = row[name].encode(errors="replace")  # the schema says what is wrong with it
            continue
        path = folder / hashlib.sha256(content).hexdigest()
        if not path.exists():
            path.write_bytes(content)
        row[name] = str(path)
    return row


def _log(package: Package, log: Log, jobs: list[tuple[Job, Any]], frame: pl.DataFrame, good: list[bool]) -> None:
    """Hand the sampled rows of answered jobs to the log, with what the monitor will compare."""
    places = iter(range(frame.height))
    place = [next(places) if ok else -1 for ok in good]  # of each row of all jobs in the frame of the good ones
    at, sampled = 0, []
    for job, result in jobs:
        for i, (name, row) in enumerate(zip(job.ids(), job.rows, strict=True)):
            if not isinstance(result, Refused) and log.sampled():
                sampled.append((job, name, row, result[1][i], place[at + i]))
        at += len(job.rows)
    if not sampled:
        return
    seen = package.watched(frame[[p for *_, p in sampled]]).to_dicts()
    for (job, name, row, answer, _), watched in zip(sampled, seen, strict=True):
        latency = 1000 * (time.perf_counter() - job.began)
        kept = {c["name"]: shown(c["kind"], row.get(c["name"])) for c in package.columns}
        log.add(
            Row(name, job.at, package.version, str(answer["prediction"]), score(answer), latency, kept, watched, answer)
        )


def shown(kind: str, value: Any) -> Any:
    """What the log keeps of a value: of an image its hash."""
    return hashlib.sha256(str(value).encode()).hexdigest() if kind == "image" else value
