"""The prediction log: a sample of inputs and answers in one SQLite table. It never blocks a response and never breaks one.

Answered requests go into a bounded queue; one thread writes them, many in a transaction, in WAL mode:
what was committed survives a kill. While another process holds the file locked, requests wait in the queue; rows that find
it full, or that the disk refuses, are counted as lost. The file is readable by its owner alone, is made anew when it was deleted, and
forgets its oldest requests beyond MOST_BYTES. A request is one record, `requests`: a statement for every row would keep Python's
lock from the next answers. The view `predictions` shows the rows:

    predictions(id TEXT, at REAL, version TEXT, prediction, score REAL, latency_ms REAL, inputs TEXT, watched TEXT, answer TEXT)

id: what the client was told; labels are matched by it. at: seconds since 1970, UTC. score: the predicted value, the
probability of the positive class, or of the called one. inputs: the row as it came, JSON (an image: its sha256).
watched: what the monitor compares, JSON. answer: the whole answer, JSON. latency_ms: from the request to its answer.

    -- answers and mean latency by hour and version
    SELECT strftime('%Y-%m-%d %H', at, 'unixepoch') AS hour, version, count(*), avg(latency_ms)
    FROM predictions GROUP BY hour, version;
    -- the least certain answers of the last day, with one field of their input
    SELECT id, score, json_extract(inputs, '$.carrier') FROM predictions
    WHERE at > strftime('%s', 'now') - 86400 ORDER BY abs(score - 0.5) LIMIT 20;
    -- forget what is older than 90 days
    DELETE FROM requests WHERE at < strftime('%s', 'now') - 90 * 86400;
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ..owner.errors import UserError
from .schema import Column

FILE = "predictions.db"
WAITING = 16 << 20  # bytes of requests that may wait for the disk; the rows of more are counted as lost
SECONDS = 0.1  # that rows are gathered for one transaction
LOCKED = 5.0  # seconds that one attempt waits for a file that another process holds locked
MOST_BYTES = 1 << 30  # of the file; beyond, the oldest tenth of the requests is deleted
TABLES = """
CREATE TABLE IF NOT EXISTS requests(id TEXT PRIMARY KEY, at REAL NOT NULL, version TEXT NOT NULL, latency_ms REAL,
    inputs TEXT, watched TEXT, answers TEXT, rows INTEGER);
CREATE INDEX IF NOT EXISTS requests_at ON requests(at);
CREATE VIEW IF NOT EXISTS predictions AS SELECT
    json_extract(told.value, '$.id') AS id, at, version, json_extract(told.value, '$.prediction') AS prediction,
    coalesce((SELECT iif(count(*) = 2, json_extract(json_group_array(value), '$[1]'), max(value))
        FROM json_each(told.value, '$.probabilities')), json_extract(told.value, '$.prediction')) AS score,
    latency_ms, json_extract(inputs, '$[' || told.key || ']') AS inputs,
    json_extract(coalesce(watched, inputs), '$[' || told.key || ']') AS watched, told.value AS answer
FROM requests, json_each(answers) AS told;
"""


class Record(NamedTuple):
    """The sampled rows of one request. inputs, watched, answers: JSON, a list of an object for each; watched is None where the
    monitor compares the inputs as they are. rows: how many."""

    id: str
    at: float
    version: str
    latency_ms: float
    inputs: str
    watched: str | None
    answers: str
    rows: int


class Waiting(NamedTuple):
    """A request to be logged. rows: how many of its rows. size: its bytes."""

    make: Callable[[], Record | None]
    rows: int
    size: int


class Log:
    """Writes rows from one thread. written: rows on disk. lost: rows that found no room, or that the disk refused."""

    def __init__(self, path: Path, share: float = 1.0, exclude: Iterable[str] = ()) -> None:
        self.path, self.share, self.exclude = path, share, frozenset(exclude)
        self.written = self.lost = self.inode = 0
        self.given = self.taken = 0  # bytes of requests; one thread changes each
        self.closing = False
        self.random = random.Random()
        self.queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        try:
            connect(path).close()
        except sqlite3.Error as error:
            raise UserError(f"{path} cannot be opened: {error}; fix it, move it away, or use --log") from None
        self.thread = threading.Thread(target=self._write, daemon=True, name="prediction-log")
        self.thread.start()

    def sample(self, rows: int) -> Sequence[int]:
        """Which of so many rows are in the sample."""
        return range(rows) if self.share == 1 else [i for i in range(rows) if self.random.random() < self.share]

    def add(self, make: Callable[[], Record | None], rows: int, size: int, brief: bool = False) -> None:
        """Hand a request over (see Waiting); never waits for the disk. brief: make the record here, where that takes less
        time than the next answers would wait for Python's lock while the log's thread makes it."""
        if self.given - self.taken > WAITING:
            self.lost += rows
            return
        self.given += size
        record = self._made(make, rows) if brief else None
        self.queue.put(Waiting((lambda: record) if brief else make, rows, size))

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, and stop; a file that stays locked is waited for no longer."""
        self.closing = True
        self.queue.put(None)
        self.thread.join(seconds)

    def _write(self) -> None:
        connection: sqlite3.Connection | None = None
        last = False
        while not last:
            records, size, last = self._gather()
            waits = bool(records)
            while waits:
                connection, waits = self._store(self._present(connection), records)
            self.taken += size
        if connection:
            connection.close()

    def _store(
        self, connection: sqlite3.Connection | None, records: list[Record]
    ) -> tuple[sqlite3.Connection | None, bool]:
        """Commit the records; (the connection to go on with, whether to try again because the file is locked)."""
        rows = sum(record.rows for record in records)
        try:
            connection = connection or connect(self.path)
            with connection:
                connection.executemany("INSERT OR REPLACE INTO requests VALUES (?,?,?,?,?,?,?,?)", records)
            self.written += rows
            forget(connection)
            return connection, False
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and not self.closing:
                return connection, True
            self.lost += rows
            if connection:
                connection.close()
            return None, False  # a full disk or a broken file may be fixed meanwhile: the next rows try again

    def _present(self, connection: sqlite3.Connection | None) -> sqlite3.Connection | None:
        """The connection, unless its file was deleted or replaced: rows would vanish with it though SQLite takes them."""
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = -1
        if connection and inode != self.inode:
            connection.close()
            connection = None
        if not connection:
            self.inode = _make(self.path)
        return connection

    def _made(self, make: Callable[[], Record | None], rows: int) -> Record | None:
        try:
            return make()
        except Exception:  # whatever cannot be logged costs its own request, and no answer
            self.lost += rows
            return None

    def _gather(self) -> tuple[list[Record], int, bool]:
        """The next records to write together, the bytes of their requests, and whether they are the last."""
        waiting = [self.queue.get()]
        if waiting[0] and not self.closing:
            time.sleep(SECONDS)  # not waked by every request, which would take its time from the next answer
        while waiting[-1] and not self.queue.empty():
            waiting.append(self.queue.get())
        known = [one for one in waiting if one]
        records = [record for one in known if (record := self._made(one.make, one.rows))]
        return records, sum(one.size for one in known), waiting[-1] is None


def forget(connection: sqlite3.Connection) -> None:
    """Delete the oldest requests, a tenth at a time, while the file is larger than its bound; the pages are used again."""
    oldest = "SELECT rowid FROM requests ORDER BY at LIMIT (SELECT max(count(*) / 10, 1) FROM requests)"
    with contextlib.suppress(sqlite3.Error):  # a file that is locked now is trimmed next time
        while _used(connection) > MOST_BYTES:
            with connection:
                if not connection.execute(f"DELETE FROM requests WHERE rowid IN ({oldest})").rowcount:
                    return


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of the file's pages that hold something."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _make(path: Path) -> int:
    """The file, made for its owner alone where it is not there; its inode, -1 where it cannot be made."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            return os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
    except OSError:
        return -1


def connect(path: Path) -> sqlite3.Connection:
    """The log for writing; made when it is not there, for its owner alone. The caller closes it."""
    _make(path)
    connection = sqlite3.connect(path, timeout=LOCKED)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(TABLES)
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'predictions' AND type = 'view'").fetchone():
        connection.close()
        raise sqlite3.DatabaseError("it was written by an earlier version of this package")
    return connection


def read(path: Path, since: float, until: float, version: str) -> pl.DataFrame:
    """The rows of one version that were answered between two moments (seconds since 1970): id, inputs, watched and answer,
    texts."""
    names = ("id", "inputs", "watched", "answer")
    words = f"{', '.join(names)} FROM predictions WHERE at >= ? AND at <= ? AND version = ? ORDER BY at"
    return pl.DataFrame(_select(path, words, since, until, version), dict.fromkeys(names, pl.String), orient="row")


def moments(path: Path, since: float) -> np.ndarray:
    """When each answer from `since` on was asked for, ascending, of all versions; seconds since 1970."""
    found = np.array(_select(path, "at, rows FROM requests WHERE at >= ? ORDER BY at", since)).reshape(-1, 2)
    return np.repeat(found[:, 0], found[:, 1].astype(int))


def _select(path: Path, words: str, *values: Any) -> list[tuple[Any, ...]]:
    if not path.is_file():
        raise UserError(f"there is no prediction log {path}; recipe serve writes one; or: recipe monitor FILE")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(f"SELECT {words}", values).fetchall()
    except sqlite3.Error as error:
        raise UserError(f"the prediction log {path} cannot be read: {error}; restore it, or move it away") from None


def watched(rows: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """The watched quantities of logged rows, a column each. columns: what the model reads."""
    parsed = [json.loads(text) for text in rows["watched"]]
    numbers = {column["name"]: pl.Float64 for column in columns if column["kind"] == "number"}
    return pl.DataFrame(parsed, infer_schema_length=None, schema_overrides=numbers)
