"""The store's schema as numbered steps.

A step is never changed once released; a new one is added behind it.
"""

from __future__ import annotations

import sqlite3
import time
from typing import NamedTuple

from mobile.errors import StoreError

APPLICATION_ID = 0x45645773  # "EdWs": marks a SQLite file as an edgewise store


class Migration(NamedTuple):
    """One step: what it is for, and its statements."""

    purpose: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "runs, their columns, and failures",
        (
            """CREATE TABLE runs (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                id TEXT NOT NULL UNIQUE,
                created_utc TEXT NOT NULL,
                device TEXT NOT NULL,
                model TEXT NOT NULL,
                summary TEXT NOT NULL,
                document TEXT NOT NULL
            )""",
            "CREATE INDEX runs_by_device ON runs (device, number)",
            "CREATE INDEX runs_by_model ON runs (model, number)",
            """CREATE TABLE series (
                run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
                name TEXT NOT NULL,
                count INTEGER NOT NULL,
                data BLOB NOT NULL,
                PRIMARY KEY (run, name)
            )""",
            """CREATE TABLE failures (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                created_utc TEXT NOT NULL,
                device TEXT NOT NULL,
                model TEXT NOT NULL,
                code TEXT NOT NULL,
                message TEXT NOT NULL,
                hint TEXT
            )""",
        ),
    ),
    Migration(
        "requests and the runs that were started for them",
        (
            """CREATE TABLE requests (
                id TEXT PRIMARY KEY,
                created_utc TEXT NOT NULL,
                content TEXT NOT NULL,
                total INTEGER NOT NULL
            )""",
            "CREATE INDEX requests_by_content ON requests (content)",
            """CREATE TABLE started (
                run TEXT PRIMARY KEY,
                created_utc TEXT NOT NULL,
                device TEXT NOT NULL,
                model TEXT NOT NULL,
                request TEXT REFERENCES requests (id),
                slot INTEGER,
                detached INTEGER NOT NULL,
                state TEXT NOT NULL
            )""",
            "CREATE INDEX started_by_request ON started (request, slot)",
            "CREATE INDEX started_by_state ON started (state)",
        ),
    ),
)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Nothing, once the store has this edgewise's schema.

    StoreError when it is newer, or no store of edgewise.
    Processes that open a new store together wait for each other; each step is applied once. sqlite3.Error
    passes through.
    """
    if _version(connection, path) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(_version(connection, path) + 1, len(MIGRATIONS) + 1):
            _apply(connection, number)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, path: str) -> int:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if not tables and application_id in (0, APPLICATION_ID):
        return 0
    if application_id != APPLICATION_ID or "migrations" not in tables:
        raise StoreError(f"{path}: a database, but no store of edgewise", "Name another file with --store.")
    (version,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: written by a newer edgewise (schema {version}, this one knows {len(MIGRATIONS)})",
            "Update edgewise, or name another file with --store.",
        )
    return int(version)


def _apply(connection: sqlite3.Connection, number: int) -> None:
    if number == 1:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(
            "CREATE TABLE migrations (number INTEGER PRIMARY KEY, purpose TEXT NOT NULL, applied_utc TEXT NOT NULL)"
        )
    migration = MIGRATIONS[number - 1]
    for statement in migration.statements:
        connection.execute(statement)
    applied_utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (number, migration.purpose, applied_utc))
