"""Where profiles are kept: a folder beside the run store, one file for each model and place, the newest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mobile.errors import InputError
from offload.costs.profile import Profile, read_profile, write_profile

FOLDER = "profiles"
MAX_FILES = 10_000


def shelf_of(store: Path) -> Path:
    """The folder of profiles that belongs to a run store's file."""
    return store.parent / FOLDER


def path_of(shelf: Path, model_sha256: str, place: str) -> Path:
    """The file of a model's profile at a place."""
    return shelf / f"{model_sha256[:16]}.{re.sub(r'[^A-Za-z0-9._-]', '-', place)[:100]}.json"


def keep(shelf: Path, profile: Profile) -> Path:
    """The file in which the profile now stands."""
    path = path_of(shelf, profile.model_sha256, profile.place.name)
    write_profile(path, profile)
    return path


def kept(shelf: Path, model_sha256: str, place: str) -> Profile:
    """The profile of a model at a place. InputError, with how to make one, when there is none."""
    path = path_of(shelf, model_sha256, place)
    if not path.is_file():
        raise InputError(f"this model was not profiled on {place}", f"`edgewise profile FILE --on {place}`")
    return read_profile(path)


def all_kept(shelf: Path) -> Iterator[Profile]:
    """Every profile that can be read."""
    if not shelf.is_dir():
        return
    for path in sorted(shelf.glob("*.json"))[:MAX_FILES]:
        try:
            yield read_profile(path)
        except InputError:  # of another edgewise, or damaged: it is no reason to refuse the others
            continue
