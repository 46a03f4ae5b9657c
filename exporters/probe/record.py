"""What was measured on a device, as JSON by device and runtime, and the ranking that the exporter reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobile.errors import ConfigError, ExportError
from mobile.provision.cache import cache_folder

SCHEMA = 1
FLOAT = "float"  # the family of the weight that is not compressed
REAL = "real"  # the provenance of times that a device took itself, undisturbed


@dataclass(frozen=True)
class Measured:
    """The median time of one product [rows_m, columns] x [columns, rows] by one carrier, in seconds."""

    family: str
    carrier: str
    rows: int
    columns: int
    rows_m: int
    time_s: float


@dataclass(frozen=True)
class Probe:
    """The measurements of one device with one release of its runtime.

    ``provenance`` is that of the runs (real, emulated, slowed, replayed). ``missing`` says what has no time, and why;
    ``incomplete`` names the families of which a carrier could not be tried at all (a busy device, a lost link).
    """

    device: str
    runtime: str
    created_utc: str
    provenance: str
    measured: tuple[Measured, ...]
    facts: dict[str, Any]
    missing: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()

    def rank(self, kind: str, rows: int, columns: int, m: int) -> list[tuple[str, float]]:
        """(carrier, seconds) for a weight of the family ``kind``, fastest first; [] when not all of it was measured.

        Taken from the number of rows nearest to ``m``, then from the size nearest to ``rows`` x ``columns`` (both as
        ratios), and scaled by the number of weights: within a carrier the time of a product grows with it.
        """
        own = [found for found in self.measured if found.family == kind]
        if not own or kind in self.incomplete:
            return []
        near_m = min({found.rows_m for found in own}, key=lambda value: abs(math.log(value / max(m, 1))))
        size = rows * columns
        best: dict[str, tuple[float, float]] = {}
        for found in own:
            if found.rows_m == near_m:
                ratio = size / (found.rows * found.columns)
                candidate = (abs(math.log(ratio)), found.time_s * ratio)
                best[found.carrier] = min(best.get(found.carrier, candidate), candidate)
        return sorted(((carrier, time_s) for carrier, (_, time_s) in best.items()), key=lambda pair: pair[1])

    def said(self) -> str:
        """Where the ranking comes from, for a manifest; times that are not a real device's are called what they are."""
        words = f"carriers are ranked by what was measured on {self.device} ({self.runtime}) at {self.created_utc}"
        if self.provenance == REAL:
            return words
        return f"{words}: THESE TIMES ARE {self.provenance.upper()}, and a real board may rank them otherwise"

    def to_json(self) -> dict[str, Any]:
        """The probe as a JSON object."""
        return {
            "schema": SCHEMA, "device": self.device, "runtime": self.runtime, "created_utc": self.created_utc,
            "provenance": self.provenance, "facts": self.facts, "measured": [asdict(found) for found in self.measured],
            "missing": list(self.missing), "incomplete": list(self.incomplete),
        }  # fmt: skip

    def save(self) -> Path:
        """Writes it to the cache, whole or not at all, and returns the file. ExportError when it cannot be written."""
        from mobile.formats.atomic import write_atomically

        path = _path(self.device, self.runtime)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(self.to_json(), indent=1) + "\n").encode())
        except OSError as error:
            raise ExportError(f"{path}: cannot be written: {error.strerror or error}") from error
        return path


def probe_folder() -> Path:
    """Where probes are kept: they may be deleted at any time, and are measured again then."""
    return cache_folder() / "probes"


def find_probe(device: str, runtime: str) -> Probe | None:
    """The probe of a device with that release of its runtime ("onnxruntime==1.19.2"), None when it was not measured.

    ConfigError when the file is damaged.
    """
    path = _path(device, runtime)
    if not path.is_file():
        return None
    try:
        return _read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path}: is no probe that this edgewise reads: {' '.join(str(error).split())[:120]}",
            f"Measure again: edgewise probe {device}",
        ) from error


def _read(document: Any) -> Probe:
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']!r:.20} is not {SCHEMA}")
    return Probe(
        str(document["device"]), str(document["runtime"]), str(document["created_utc"]), str(document["provenance"]),
        tuple(_measured(document["measured"])), dict(document["facts"]), tuple(map(str, document["missing"])),
        tuple(map(str, document["incomplete"])),
    )  # fmt: skip


def _measured(entries: Iterable[dict[str, Any]]) -> Iterable[Measured]:
    for entry in entries:
        found = Measured(
            str(entry["family"]), str(entry["carrier"]), int(entry["rows"]), int(entry["columns"]),
            int(entry["rows_m"]), float(entry["time_s"]),
        )  # fmt: skip
        if min(found.rows, found.columns, found.rows_m) < 1 or not 0 < found.time_s < math.inf:
            raise ValueError(f"{found} is no measurement")
        yield found


def _path(device: str, runtime: str) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._=-]", "_", f"{device}--{runtime.replace('==', '-')}")
    return probe_folder() / f"{plain}.json"
