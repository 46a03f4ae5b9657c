"""What this host has asked for and started: so that a matrix can be taken up again, and a detached run found again.

A request is one `bench` command; its slots are its single measurements, numbered in the order asked for.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile.results.store import RunStore

RUNNING = "running"  # started, and not heard of since
ENDED = "ended"  # stored, or failed: the device has nothing of it any more


@dataclass(frozen=True)
class Started:
    """A run that this host started on a device and has not collected."""

    run: str
    created_utc: str
    device: str
    model: str
    request: str | None
    slot: int | None
    detached: bool


class StartedRuns:
    """The requests and started runs in a store. Thread-safe; StoreError as the store has it."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def new_request(self, content: str, total: int) -> str:
        """The id of a new request with ``total`` slots."""
        request = secrets.token_hex(6)
        with self._store.transaction(write=True) as connection:
            connection.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", (request, _now(), content, total))
        return request

    def unfinished_request(self, content: str) -> str | None:
        """The newest request of that content; None when there is none, or each of its slots has its run stored."""
        with self._store.transaction() as connection:
            row = connection.execute(
                "SELECT id, total FROM requests WHERE content = ? ORDER BY rowid DESC LIMIT 1", (content,)
            ).fetchone()
            if row is None:
                return None
            (stored,) = connection.execute(
                "SELECT count(DISTINCT slot) FROM started JOIN runs ON runs.id = started.run WHERE request = ?",
                (row[0],),
            ).fetchone()
        return str(row[0]) if stored < row[1] else None

    def stored_slots(self, request: str) -> dict[int, str]:
        """The id of the newest stored run of each slot that has one."""
        with self._store.transaction() as connection:
            rows = connection.execute(
                "SELECT slot, runs.id FROM started JOIN runs ON runs.id = started.run"
                " WHERE request = ? ORDER BY runs.number",
                (request,),
            ).fetchall()
        return dict(rows)

    def waiting_slots(self, request: str) -> dict[int, Started]:
        """The detached run of each slot that was started and not collected yet."""
        waiting = [started for started in self.pending(request=request) if started.detached]
        return {started.slot: started for started in waiting if started.slot is not None}

    def add(self, runs: Sequence[Started]) -> None:
        """Nothing, once it is kept that these runs are being started."""
        rows = [
            (run.run, run.created_utc, run.device, run.model, run.request, run.slot, int(run.detached), RUNNING)
            for run in runs
        ]
        with self._store.transaction(write=True) as connection:
            connection.executemany("INSERT INTO started VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def end(self, *runs: str) -> None:
        """Nothing, once it is kept that the devices have nothing more of these runs."""
        with self._store.transaction(write=True) as connection:
            connection.executemany("UPDATE started SET state = ? WHERE run = ?", [(ENDED, run) for run in runs])

    def pending(self, *, device: str | None = None, request: str | None = None) -> list[Started]:
        """The runs that were started and not collected, oldest first."""
        with self._store.transaction() as connection:
            rows = connection.execute(
                "SELECT run, created_utc, device, model, request, slot, detached FROM started WHERE state = :running"
                " AND (:device IS NULL OR device = :device) AND (:request IS NULL OR request = :request)"
                " ORDER BY rowid",
                {"running": RUNNING, "device": device, "request": request},
            ).fetchall()
        return [
            Started(run, created_utc, place, model, asked, slot, bool(detached))
            for run, created_utc, place, model, asked, slot, detached in rows
        ]


def content_of(document: Any) -> str:
    """A name for what was asked: equal for equal requests.

    >>> content_of({"a": 1, "b": 2}) == content_of({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
