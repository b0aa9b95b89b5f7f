"""The prediction log: a sample of inputs and answers in one SQLite table. It never blocks a response and never breaks one.

Answered batches go into a bounded queue; one thread makes rows of them and writes them, many in a transaction, in WAL mode:
what was committed survives a kill. While another process holds the file locked, batches wait in the queue; rows that find
it full, or that the disk refuses, are counted as lost. The file is readable by its owner alone, is made anew when it was deleted, and
forgets its oldest rows beyond MOST_BYTES.

    predictions(id TEXT PRIMARY KEY, at REAL, version TEXT, prediction TEXT, score REAL, latency_ms REAL,
                inputs TEXT, watched TEXT, answer TEXT)

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
    DELETE FROM predictions WHERE at < strftime('%s', 'now') - 90 * 86400;
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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pydantic_core import to_json

from ..owner.errors import UserError

FILE = "predictions.db"
WAITING = 16 << 20  # bytes of requests that may wait for the disk; the rows of more are counted as lost
SECONDS = 0.1  # that rows are gathered for one transaction
LOCKED = 5.0  # seconds that one attempt waits for a file that another process holds locked
MOST_BYTES = 1 << 30  # of the file; beyond, the oldest tenth of the rows is deleted
TABLE = """CREATE TABLE IF NOT EXISTS predictions(id TEXT PRIMARY KEY, at REAL NOT NULL, version TEXT NOT NULL,
    prediction TEXT, score REAL, latency_ms REAL, inputs TEXT, watched TEXT, answer TEXT)"""


class Row(NamedTuple):
    """One line of the table; inputs, watched and answer are still dicts."""

    id: str
    at: float
    version: str
    prediction: str
    score: float
    latency_ms: float
    inputs: dict[str, Any]
    watched: dict[str, Any]
    answer: dict[str, Any]


class Batch(NamedTuple):
    """Answers to be logged. make: the sampled rows. rows: how many there are at most. size: bytes of their requests."""

    make: Callable[[], list[Row]]
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
        self.queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        try:
            connect(path).close()
        except sqlite3.Error as error:
            raise UserError(f"{path} cannot be opened: {error}; fix it, move it away, or use --log") from None
        self.thread = threading.Thread(target=self._write, daemon=True, name="prediction-log")
        self.thread.start()

    def sampled(self) -> bool:
        """Whether this answer is one of the sample."""
        return self.random.random() < self.share

    def add(self, make: Callable[[], list[Row]], rows: int, size: int) -> None:
        """Hand answers over (see Batch); never waits."""
        if self.given - self.taken > WAITING:
            self.lost += rows
            return
        self.given += size
        self.queue.put(Batch(make, rows, size))

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, and stop; a file that stays locked is waited for no longer."""
        self.closing = True
        self.queue.put(None)
        self.thread.join(seconds)

    def _write(self) -> None:
        connection: sqlite3.Connection | None = None
        last = False
        while not last:
            flat, size, last = self._gather()
            waits = bool(flat)
            while waits:
                connection, waits = self._store(self._present(connection), flat)
            self.taken += size
        if connection:
            connection.close()

    def _store(
        self, connection: sqlite3.Connection | None, flat: list[tuple[Any, ...]]
    ) -> tuple[sqlite3.Connection | None, bool]:
        """Commit the rows; (the connection to go on with, whether to try again because the file is locked)."""
        try:
            connection = connection or connect(self.path)
            with connection:
                connection.executemany("INSERT OR REPLACE INTO predictions VALUES (?,?,?,?,?,?,?,?,?)", flat)
            self.written += len(flat)
            forget(connection)
            return connection, False
        except (sqlite3.Error, OSError) as error:
            if _is_locked(error) and not self.closing:
                return connection, True
            self.lost += len(flat)
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

    def _flat(self, batch: Batch) -> list[tuple[Any, ...]]:
        """The rows of a batch as the table holds them."""
        try:
            rows = [
                row._replace(inputs=self._kept(row.inputs), watched=self._kept(row.watched)) for row in batch.make()
            ]
            return [(*row[:6], *(to_json(part, inf_nan_mode="null").decode() for part in row[6:])) for row in rows]
        except Exception:  # whatever cannot be logged costs its own batch, and no answer
            self.lost += batch.rows
            return []

    def _kept(self, part: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in part.items() if name not in self.exclude} if self.exclude else part

    def _gather(self) -> tuple[list[tuple[Any, ...]], int, bool]:
        """The next rows to write together, the bytes of their requests, and whether they are the last."""
        batches = [self.queue.get()]
        if batches[0] and not self.closing:
            time.sleep(SECONDS)  # not waked by every batch, which would take its time from the next answer
        while batches[-1] and not self.queue.empty():
            batches.append(self.queue.get())
        known = [batch for batch in batches if batch]
        flat = [row for batch in known for row in self._flat(batch)]
        return flat, sum(batch.size for batch in known), batches[-1] is None


def forget(connection: sqlite3.Connection) -> None:
    """Delete the oldest rows, a tenth at a time, while the file is larger than its bound; the pages are used again."""
    oldest = "SELECT rowid FROM predictions ORDER BY at LIMIT (SELECT max(count(*) / 10, 1) FROM predictions)"
    with contextlib.suppress(sqlite3.Error):  # a file that is locked now is trimmed next time
        while _used(connection) > MOST_BYTES:
            with connection:
                if not connection.execute(f"DELETE FROM predictions WHERE rowid IN ({oldest})").rowcount:
                    return


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of the file's pages that hold something."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _is_locked(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


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
    connection.execute(TABLE)
    connection.execute("CREATE INDEX IF NOT EXISTS predictions_at ON predictions(at)")
    connection.commit()
    return connection


def read(path: Path, since: float, until: float, version: str) -> pl.DataFrame:
    """The rows of one version that were answered between two moments (seconds since 1970): the columns of the table."""
    words = f"{', '.join(Row._fields)} FROM predictions WHERE at >= ? AND at <= ? AND version = ? ORDER BY at"
    found = _select(path, words, since, until, version)
    kinds = dict.fromkeys(Row._fields, pl.String) | dict.fromkeys(("at", "score", "latency_ms"), pl.Float64)
    return pl.DataFrame(found, schema=kinds, orient="row")


def moments(path: Path, since: float) -> np.ndarray:
    """When each answer from `since` on was asked for, ascending, of all versions; seconds since 1970."""
    return np.array([at for (at,) in _select(path, "at FROM predictions WHERE at >= ? ORDER BY at", since)])


def _select(path: Path, words: str, *values: Any) -> list[tuple[Any, ...]]:
    if not path.is_file():
        raise UserError(f"there is no prediction log {path}; recipe serve writes one; or: recipe monitor FILE")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(f"SELECT {words}", values).fetchall()
    except sqlite3.Error as error:
        raise UserError(f"the prediction log {path} cannot be read: {error}; restore it, or move it away") from None


def watched(rows: pl.DataFrame) -> pl.DataFrame:
    """The watched quantities of logged rows, a column each."""
    parsed = [json.loads(text) for text in rows["watched"]]
    return pl.DataFrame(parsed, infer_schema_length=None)
