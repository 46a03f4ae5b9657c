"""What a recording holds, checked: it may come from anybody, and its paths become files."""

from __future__ import annotations

import posixpath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mobile.errors import InputError

SCHEMA_MAJOR = 1
MAX_PATH_CHARS = 1024
MAX_NAME_BYTES = 255  # of Linux file systems
MAX_FILES = 20_000

Kind = Literal["file", "folder", "link to file", "link to folder", "dead link"]


def _is_path(path: str) -> str:
    names = path.split("/")[1:]
    plain = path.startswith("/") and posixpath.normpath(path) == path and not path.startswith("//")
    if not plain or len(path) > MAX_PATH_CHARS or not all(map(_fits, names)):
        raise ValueError("not an absolute path without '.', '..' and '//'")
    return path


def _is_name(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or not _fits(name):
        raise ValueError("not the name of a file")
    return name


def _fits(name: str) -> bool:
    return "\0" not in name and len(name.encode("utf-8", "surrogateescape")) <= MAX_NAME_BYTES


DevicePath = Annotated[str, AfterValidator(_is_path)]
FileName = Annotated[str, AfterValidator(_is_name)]
ProgramName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Content(_Part):
    """What one reading of a file gave: its text, or the name of the error (EIO)."""

    text: str | None = Field(default=None, max_length=1 << 20)
    error: str | None = Field(default=None, pattern=r"^E[A-Z0-9]{1,16}$")


class RecordedFile(_Part):
    """A file by its real path. ``turns``: [pass, index of the content that it gave]."""

    path: DevicePath
    mode: str | None = Field(default=None, pattern=r"^0?[0-7]{4}$")
    contents: tuple[Content, ...] = Field(min_length=1, max_length=64)
    turns: tuple[tuple[int, int], ...] = Field(default=(), max_length=1024)
    took_us: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(), max_length=1024)

    def at(self, turn: int) -> Content:
        """The content in a pass; the first one when that pass did not reach the file."""
        index = next((index for number, index in self.turns if number == turn), 0)
        return self.contents[index] if 0 <= index < len(self.contents) else self.contents[0]


class RecordedFolder(_Part):
    """A folder that was listed, or the error that this gave."""

    path: DevicePath
    error: str | None = Field(default=None, pattern=r"^E[A-Z0-9]{1,16}$")
    entries: dict[FileName, Kind] = Field(default={}, max_length=MAX_FILES)


class ProgramRun(_Part):
    """One run of a program: when it began, how long it took, how it ended, what it printed."""

    t_s: Seconds = 0.0
    took_s: Seconds = 0.0
    exit: int | None = None
    error: str | None = None
    stdout: str = Field(default="", max_length=1 << 20)
    stderr: str = Field(default="", max_length=1 << 20)
    late: bool = False
    line_s: tuple[Seconds, ...] = Field(default=(), max_length=1024)  # of a program that runs on: when each line came


class RecordedProgram(_Part):
    """A program with one set of arguments, and its runs in turn."""

    name: ProgramName
    path: DevicePath
    arguments: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(default=(), max_length=64)
    runs: tuple[ProgramRun, ...] = Field(min_length=1, max_length=256)


class Recording(_Part):
    """A whole recording, as the agent's verb ``record`` gives it."""

    schema_: str = Field(alias="schema", pattern=r"^\d{1,4}\.\d{1,4}$")
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    agent: str = Field(max_length=64)
    as_root: bool = False
    times_s: tuple[Seconds, ...] = Field(default=(), max_length=1024)
    files: tuple[RecordedFile, ...] = Field(default=(), max_length=MAX_FILES)
    folders: tuple[RecordedFolder, ...] = Field(default=(), max_length=MAX_FILES)
    links: dict[DevicePath, Annotated[str, Field(min_length=1, max_length=4096)]] = Field(
        default={}, max_length=MAX_FILES
    )
    programs: tuple[RecordedProgram, ...] = Field(default=(), max_length=1024)
    looked_for: dict[ProgramName, DevicePath | None] = Field(default={}, max_length=1024)
    facts: dict[str, Any] = {}
    sensors: tuple[dict[str, Any], ...] = Field(default=(), max_length=MAX_FILES)
    readings: dict[str, Any] = {}
    notes: tuple[str, ...] = Field(default=(), max_length=1024)
    redacted: dict[str, int] = {}

    @property
    def board(self) -> str:
        """What board it is, in words."""
        return str(self.facts.get("model") or self.facts.get("soc") or "unknown board")


def recording_of(document: Any, source: str) -> Recording:
    """The recording of a JSON object. InputError, with ``source`` in it, when it is none that this edgewise reads."""
    major = str(document.get("schema", "")).split(".")[0] if isinstance(document, dict) else ""
    if major != str(SCHEMA_MAJOR):
        raise InputError(f"{source}: not a recording of schema {SCHEMA_MAJOR}")
    try:
        return Recording.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{source}: {where}: {first['msg']}", "The recording is damaged: make it anew.") from error
