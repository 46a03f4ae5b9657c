"""A manifest survives a round trip, is written whole or not at all, and refuses what is not one."""

import json
import os

import pytest

from mobile.errors import ModelError
from mobile.formats import Manifest, manifest_path
from mobile.formats.atomic import write_atomically


def _manifest(**changes):
    values = {
        "format": "onnx",
        "sha256": "0" * 64,
        "size_bytes": 12,
        "files": [{"location": "", "size_bytes": 12, "sha256": "0" * 64}],
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 3, None]}],
        "outputs": [],
        "origin": {"kind": "onnx", "name": "a.onnx", "sha256": "1" * 64, "size_bytes": 13},
        "scheme": None,
        "target": "ort-1.19",
        "opsets": {"": 17},
        "ir_version": 8,
        "edgewise_version": "0.1.0",
        "created_utc": "2026-01-01T00:00:00Z",
    }
    return Manifest(**{**values, **changes})


def test_round_trip(tmp_path):
    path = manifest_path(tmp_path / "m.onnx")
    manifest = _manifest(notes=["Ünïcode"], evidence=[{"kind": "parity", "ok": True}])
    manifest.save(path)
    assert path.name == "m.onnx.manifest.json"
    assert Manifest.load(path) == manifest


def test_unknown_fields_are_ignored(tmp_path):
    document = {**_manifest().to_json(), "later": 1}
    assert Manifest.from_json(document) == _manifest()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema"),
        ({"sha256": "xyz"}, "64 hexadecimal"),
        ({"size_bytes": "12"}, "size_bytes is '12', expected a whole number"),
        ({"size_bytes": True}, "size_bytes"),
        ({"scheme": 8}, "expected text or null"),
        ({"inputs": {}}, "expected a list"),
    ],
)
def test_a_wrong_field_is_named(change, said):
    with pytest.raises(ModelError, match=said):
        Manifest.from_json({**_manifest().to_json(), **change})


def test_a_missing_field_is_named():
    document = _manifest().to_json()
    del document["origin"]
    with pytest.raises(ModelError, match="origin is missing"):
        Manifest.from_json(document)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(tmp_path, content):
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        Manifest.load(path)


def test_missing_manifest(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        Manifest.load(tmp_path / "none.json")


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m.json"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_written_files_get_ordinary_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "m.json", json.dumps({}).encode())
    finally:
        os.umask(mask)
    assert (tmp_path / "m.json").stat().st_mode & 0o777 == 0o644
