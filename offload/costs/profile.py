"""A profile: what a model costs at one place, piece by piece and cut by cut, as a JSON document.

The sum of a model's operators is not its time: runtimes fuse across operators, a session has a price of its own, and
caches are warm or not. So a profile holds two times of each piece. ``head_s`` are fitted to measured heads (a device
runs those) and ``tail_s`` to measured tails (a server runs those): their sums are the measured times of what was
measured, cut by cut and as a whole. ``profiled_s`` is what the runtime's own profile says of the piece, uncorrected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mobile.errors import InputError
from offload.costs.coders import CodecTime
from offload.plan.costs import ASSUMED, MEASURED, PREDICTED

SCHEMA = 1
KIND = "edgewise-profile"
MAX_FILE_BYTES = 64 << 20
HOWS = (MEASURED, PREDICTED, ASSUMED)
LONGEST_S = 1e6


@dataclass(frozen=True)
class Place:
    """Where the times are from. ``provenance`` as that of runs; temperatures are degrees Celsius, None: not known."""

    name: str
    provenance: str = "real"
    runtime: str | None = None
    runtime_version: str | None = None
    provider: str | None = None
    threads: int | None = None  # None: the runtime's own choice
    cpus: tuple[int, ...] | None = None
    slow_down: float | None = None
    governor: str | None = None
    power_mode: Any = None
    start_temperature_c: float | None = None
    end_temperature_c: float | None = None


@dataclass(frozen=True)
class PieceTime:
    """One piece: its seconds in heads and in tails, and what makes it that expensive.

    ``profiled_s``: by the runtime's own profile, None where that does not tell. ``macs``: multiply-accumulates, None
    where they cannot be counted. ``how``: "measured" when the runtime's profile told the piece apart, "predicted" when
    its share of a measured stretch (or all of it) is a prediction.
    """

    name: str
    operators: tuple[str, ...]
    head_s: float
    tail_s: float
    how: str = MEASURED
    profiled_s: float | None = None
    macs: int | None = None
    input_bytes: int = 0
    output_bytes: int = 0
    weight_bytes: int = 0


@dataclass(frozen=True)
class Timed:
    """A part that ran on its own: the first ``cut`` pieces (a head) or all but these (a tail).

    ``seconds``: the median of ``count`` inferences in the stored ``runs``. ``residual_s``: that minus what the pieces'
    times sum up to.
    """

    cut: int
    seconds: float
    count: int = 0
    runs: tuple[str, ...] = ()
    peak_memory_bytes: int | None = None
    residual_s: float = 0.0


@dataclass(frozen=True)
class Cut:
    """Where a model can be cut: after the first ``cut`` pieces; what crosses there and how many bytes that is."""

    cut: int
    values: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Profile:
    """A model's times at one place. ``whole_s``: the median of the whole model, None when all is predicted.

    ``codecs``: what coding takes there. ``how``: "measured", or "predicted" when nothing of this model ran there.
    """

    model: str
    model_sha256: str
    place: Place
    pieces: tuple[PieceTime, ...]
    whole: Timed | None = None
    heads: tuple[Timed, ...] = ()
    tails: tuple[Timed, ...] = ()
    cuts: tuple[Cut, ...] = ()
    codecs: tuple[CodecTime, ...] = ()
    how: str = MEASURED
    created_utc: str = ""
    energy: dict[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def whole_s(self) -> float:
        """Seconds of the whole model: as measured, else the sum of its pieces."""
        return self.whole.seconds if self.whole is not None else sum(piece.head_s for piece in self.pieces)

    @property
    def pieces_how(self) -> str:
        """In one word where the pieces' times are from: "measured" only when that is true of every piece."""
        return MEASURED if all(piece.how == MEASURED for piece in self.pieces) else PREDICTED

    def head_s(self, cut: int) -> float:
        """Seconds of the first ``cut`` pieces, as they run alone."""
        return sum(piece.head_s for piece in self.pieces[:cut])

    def tail_s(self, cut: int) -> float:
        """Seconds of all pieces from ``cut`` on, as they run alone."""
        return sum(piece.tail_s for piece in self.pieces[cut:])

    def to_json(self) -> dict[str, Any]:
        """The document of schema 1."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "how": self.how,
            "created_utc": self.created_utc,
            "model": {"name": self.model, "sha256": self.model_sha256},
            "place": asdict(self.place),
            "whole_s": self.whole_s,
            "whole": asdict(self.whole) if self.whole is not None else None,
            "pieces": [asdict(piece) for piece in self.pieces],
            "prefixes": [asdict(timed) for timed in self.heads],
            "suffixes": [asdict(timed) for timed in self.tails],
            "cuts": [asdict(cut) for cut in self.cuts],
            "codecs": [asdict(time) for time in self.codecs],
            "energy": self.energy,
            "notes": list(self.notes),
        }


def write_profile(path: Path, profile: Profile) -> None:
    """Nothing, once the file is there, whole. InputError when it cannot be written."""
    from mobile.formats.atomic import write_atomically

    text = json.dumps(profile.to_json(), indent=1, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode("utf-8") + b"\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", "Name another file with -o.") from error


def read_profile(path: Path) -> Profile:
    """The profile of a file. InputError when it cannot be read or is none."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path}: {size} bytes are no profile")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", "`edgewise profile FILE --on NAME -o FILE`") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON: {str(error)[:80]}") from error
    return from_json(document, str(path))


def from_json(document: Any, where: str = "profile") -> Profile:
    """The profile of a document. InputError names what is wrong with it."""
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError(f"{where}: is no profile of edgewise", "`edgewise profile FILE --on NAME -o FILE` makes one.")
    if document.get("schema") != SCHEMA:
        raise InputError(f"{where}: has schema {document.get('schema')!r}, this edgewise reads {SCHEMA}")
    try:
        profile = _parsed(document)
        _check(profile)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: is damaged: {str(error)[:120]}") from error
    return profile


def _parsed(document: dict[str, Any]) -> Profile:
    model, whole = document["model"], document.get("whole")
    return Profile(
        model=str(model["name"]),
        model_sha256=str(model["sha256"]),
        place=_place(document["place"]),
        pieces=tuple(_piece(entry) for entry in document["pieces"]),
        whole=_timed(whole) if whole is not None else None,
        heads=tuple(_timed(entry) for entry in document["prefixes"]),
        tails=tuple(_timed(entry) for entry in document["suffixes"]),
        cuts=tuple(Cut(int(c["cut"]), tuple(map(str, c["values"])), int(c["size_bytes"])) for c in document["cuts"]),
        codecs=tuple(CodecTime.from_json(entry) for entry in document.get("codecs", ())),
        how=str(document["how"]),
        created_utc=str(document.get("created_utc", "")),
        energy=document.get("energy"),
        notes=tuple(str(note) for note in document.get("notes", ())),
    )


def _place(entry: dict[str, Any]) -> Place:
    known: dict[str, Any] = {name: entry[name] for name in Place.__dataclass_fields__ if name in entry}
    if known.get("cpus") is not None:
        known["cpus"] = tuple(int(cpu) for cpu in known["cpus"])
    return Place(**known)


def _piece(entry: dict[str, Any]) -> PieceTime:
    macs, profiled_s = entry.get("macs"), entry.get("profiled_s")
    return PieceTime(
        name=str(entry["name"]),
        operators=tuple(map(str, entry["operators"])),
        head_s=float(entry["head_s"]),
        tail_s=float(entry["tail_s"]),
        how=str(entry["how"]),
        profiled_s=float(profiled_s) if profiled_s is not None else None,
        macs=int(macs) if macs is not None else None,
        **{name: int(entry.get(name, 0)) for name in ("input_bytes", "output_bytes", "weight_bytes")},
    )


def _timed(entry: dict[str, Any]) -> Timed:
    memory = entry.get("peak_memory_bytes")
    return Timed(
        cut=int(entry["cut"]),
        seconds=float(entry["seconds"]),
        count=int(entry.get("count", 0)),
        runs=tuple(map(str, entry.get("runs", ()))),
        peak_memory_bytes=int(memory) if memory is not None else None,
        residual_s=float(entry.get("residual_s", 0.0)),
    )


def _check(profile: Profile) -> None:
    """Nothing, or ValueError: every time is a finite number of seconds of at least 0, every cut lies in the model."""
    if not profile.pieces:
        raise ValueError("there is no piece")
    if profile.how not in HOWS or any(piece.how not in HOWS for piece in profile.pieces):
        raise ValueError(f"how is none of {', '.join(HOWS)}")
    times = [time for piece in profile.pieces for time in (piece.head_s, piece.tail_s, piece.profiled_s or 0.0)]
    times += [time for codec in profile.codecs for time in (codec.encode_s, codec.decode_s)]
    timed = [*profile.heads, *profile.tails, *([profile.whole] if profile.whole else [])]
    for seconds in [*times, *(part.seconds for part in timed)]:
        if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_S):
            raise ValueError(f"{seconds} is no time in seconds")
    for cut in [*(part.cut for part in timed), *(cut.cut for cut in profile.cuts)]:
        if not 0 <= cut <= len(profile.pieces):
            raise ValueError(f"a cut after {cut} of {len(profile.pieces)} pieces")
    if profile.energy is not None and not isinstance(profile.energy, dict):
        raise ValueError("energy is no object")
    if profile.place.provenance not in ("real", "emulated", "slowed", "replayed"):
        raise ValueError(f"provenance {profile.place.provenance!r}")


def same_model(profiles: Sequence[Profile], sha256: str, pieces: Sequence[str]) -> None:
    """Nothing. InputError when a profile is of another model, or of the same one in other pieces."""
    for profile in profiles:
        if profile.model_sha256 != sha256:
            raise InputError(
                f"the profile of {profile.place.name} is of another model, {profile.model}",
                f"`edgewise profile FILE --on {profile.place.name}` measures this one.",
            )
        if [piece.name for piece in profile.pieces] != list(pieces):
            raise InputError(
                f"the profile of {profile.place.name} has other pieces than this edgewise makes of the model",
                f"`edgewise profile FILE --on {profile.place.name}` measures it again.",
            )
