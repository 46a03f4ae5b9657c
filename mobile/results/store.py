"""The run store: one SQLite file with every finished run, raw columns included.

A run is written in one transaction, so a program that is killed while writing leaves no half of one and harms
no other. Several processes may write at once. Each call opens the file and closes it again: a RunStore needs
no closing.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobile.errors import StoreError, UsageError
from mobile.results.document import from_document, to_columns, to_document
from mobile.results.migrations import migrate
from mobile.results.run import Run
from mobile.results.summary import summary

FILE_NAME = "runs.sqlite3"
LAST = "last"
DAMAGED = "damaged"  # the verdict of a run whose row cannot be read
BUSY_TIMEOUT_S = 30.0

Rows = list[dict[str, Any]]


def default_store_path() -> Path:
    """The user's store: $EDGEWISE_STORE, else runs.sqlite3 in the platform's data folder of edgewise."""
    named = os.environ.get("EDGEWISE_STORE")
    if named:
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("edgewise", appauthor=False) / FILE_NAME


class RunStore:
    """The runs in one file.

    ``path`` may be a folder, which then holds runs.sqlite3; it is made when first written to.
    Safe to use from several threads and processes. Every method raises StoreError, with the next step as
    hint, when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        chosen = Path(path) if path is not None else default_store_path()
        self.path = chosen / FILE_NAME if chosen.is_dir() else chosen

    def add(self, run: Run) -> None:
        """Nothing, once the run is kept, whole. StoreError also when a run of that id is there already."""
        document = json.dumps(to_document(run), allow_nan=False)
        about = json.dumps(summary(run), allow_nan=False)
        columns = list(to_columns(run))  # compressed before the transaction: it holds the lock only to write
        model = run.spec.model.name
        with self.transaction(write=True) as connection:
            cursor = connection.execute(
                "INSERT INTO runs (id, created_utc, device, model, summary, document) VALUES (?, ?, ?, ?, ?, ?)",
                (run.id, run.created_utc, run.spec.device, model, about, document),
            )
            connection.executemany(
                "INSERT INTO series VALUES (?, ?, ?, ?)", [(cursor.lastrowid, *column) for column in columns]
            )

    def has(self, run_id: str) -> bool:
        """True when a run of exactly that id is kept."""
        with self.transaction() as connection:
            return connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None

    def get(self, run_id: str = LAST) -> Run:
        """The run of an id, of the start of one, or the one added last.

        UsageError when none or several fit.
        """
        with self.transaction() as connection:
            number, document, _ = self._find(connection, run_id)
            columns = dict(connection.execute("SELECT name, data FROM series WHERE run = ?", (number,)))
        try:
            return from_document(json.loads(document), columns)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise StoreError(
                f"{self.path}: run {run_id} cannot be read: {error}", "Other runs may be whole; measure this one again."
            ) from error

    def id_of(self, run_id: str = LAST) -> str:
        """The whole id of the run that ``get`` would give, without reading it. UsageError when none or several fit."""
        with self.transaction() as connection:
            return self._find(connection, run_id)[2]

    def list(self, *, device: str | None = None, model: str | None = None, limit: int | None = None) -> Rows:
        """The summaries of the stored runs, newest first; no column is read.

        ``device`` and ``model`` are names. The keys of a summary are those of mobile.results.summary.
        """
        with self.transaction() as connection:
            rows = connection.execute(
                "SELECT id, created_utc, device, model, summary FROM runs WHERE (:device IS NULL OR device = :device)"
                " AND (:model IS NULL OR model = :model)"
                " ORDER BY number DESC LIMIT :limit",
                {"device": device, "model": model, "limit": -1 if limit is None else limit},
            ).fetchall()
        return [_listed(*row) for row in rows]

    def delete(self, run_id: str) -> str:
        """The full id of the run that was deleted. UsageError when none or several fit."""
        with self.transaction(write=True) as connection:
            number, _, whole = self._find(connection, run_id)
            connection.execute("DELETE FROM series WHERE run = ?", (number,))
            connection.execute("DELETE FROM runs WHERE number = ?", (number,))
        return whole

    def record_failure(self, device: str, model: str, code: str, message: str, hint: str | None = None) -> None:
        """Nothing, once it is kept that a measurement did not happen, and why."""
        created_utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self.transaction(write=True) as connection:
            connection.execute(
                "INSERT INTO failures (created_utc, device, model, code, message, hint) VALUES (?, ?, ?, ?, ?, ?)",
                (created_utc, device, model, code, message, hint),
            )

    def failures(self, *, device: str | None = None, limit: int | None = None) -> Rows:
        """The recorded failures, newest first: created_utc, device, model, code, message, hint."""
        keys = ("created_utc", "device", "model", "code", "message", "hint")
        with self.transaction() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(keys)} FROM failures WHERE (:device IS NULL OR device = :device)"  # noqa: S608
                " ORDER BY number DESC LIMIT :limit",
                {"device": device, "limit": -1 if limit is None else limit},
            ).fetchall()
        return [dict(zip(keys, row, strict=True)) for row in rows]

    def _find(self, connection: sqlite3.Connection, run_id: str) -> tuple[int, str, str]:
        if run_id == LAST:
            found = connection.execute("SELECT number, document, id FROM runs ORDER BY number DESC LIMIT 1").fetchall()
        else:
            # Not LIKE: an id is data, not a pattern. The exact id comes before longer ones that it begins.
            found = connection.execute(
                "SELECT number, document, id FROM runs WHERE substr(id, 1, length(:id)) = :id"
                " ORDER BY id != :id LIMIT 2",
                {"id": run_id},
            ).fetchall()
        if not found or not run_id:
            raise UsageError(
                f"there is no run in {self.path}" if run_id == LAST else f"there is no run {run_id!r} in {self.path}",
                "`edgewise runs` lists what is stored.",
            )
        if len(found) == 2 and found[0][2] != run_id:
            raise UsageError(f"several runs begin with {run_id!r}", "Give more of the id; `edgewise runs` lists them.")
        return int(found[0][0]), str(found[0][1]), str(found[0][2])

    @contextlib.contextmanager
    def transaction(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection inside one transaction: kept when the block ends, undone when it raises."""
        try:
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect(write)) as connection:
                _prepare(connection)
                migrate(connection, str(self.path))
                _use_write_ahead_log(connection)
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                with connection:
                    yield connection
        except sqlite3.IntegrityError as error:
            raise StoreError(f"{self.path}: {error}", "The run is stored already.") from error
        except sqlite3.Error as error:
            raise _store_error(self.path, error) from error
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror or error}", _ELSEWHERE) from error

    def _connect(self, write: bool) -> sqlite3.Connection:
        if not write and not self.path.exists():
            # Nothing was stored yet: an empty store answers, and reading leaves no file behind.
            return sqlite3.connect(":memory:", isolation_level=None)
        return sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _listed(run_id: str, created_utc: str, device: str, model: str, text: Any) -> dict[str, Any]:
    """A summary as it was stored; of one that cannot be read, what the row itself says."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    return {"id": run_id, "created_utc": created_utc, "device": device, "model": model, "verdict": DAMAGED}


_ELSEWHERE = "Name another file with --store or EDGEWISE_STORE."
_HINTS = {
    "disk is full": "Free some space, or name another file with --store or EDGEWISE_STORE.",
    "readonly": "Allow writing to it, or name another file with --store or EDGEWISE_STORE.",
    "unable to open": "Check the folder and its permissions, or name another file with --store or EDGEWISE_STORE.",
    "locked": "Another program holds it; try again, or name another file with --store.",
    "not a database": "It is no store of edgewise, or a damaged one; move it away, or name another with --store.",
    "malformed": "It is damaged; move it away (`sqlite3 FILE .recover` may save runs), or name another with --store.",
}


def _store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """SQLite's error in our words: the one place where they are mapped."""
    text = str(error)
    hint = next((hint for words, hint in _HINTS.items() if words in text), _ELSEWHERE)
    return StoreError(f"{path}: {text}", hint)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # a finished run outlives a power cut


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # After the check that this is our file: the mode is kept in it.
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode in ("wal", "memory"):
        return
    # Write-ahead log where it works: readers then do not wait for writers. On file systems without shared
    # memory (network shares) and while others hold the file, the rollback journal is as safe.
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
