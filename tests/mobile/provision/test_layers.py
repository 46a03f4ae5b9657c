"""Layers are the same bytes everywhere, whole or not there, and built once."""

from __future__ import annotations

import json
import os
import tarfile
import threading

import pytest

from mobile.deadline import Deadline
from mobile.errors import DeadlineExceeded, SetupError
from mobile.provision.cache import cache_folder, locked
from mobile.provision.layers import MARK, layer, pack


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tree_of(folder, order=1):
    for name, body in sorted({"b/x.py": "1", "a.py": "2", "bin/run": "#!"}.items())[::order]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
    (folder / "bin/run").chmod(0o755)
    return folder


def test_the_same_files_are_the_same_layer_whenever_and_by_whomever_it_is_packed(tmp_path):
    first = tree_of(tmp_path / "one")
    second = tree_of(tmp_path / "two", order=-1)
    os.utime(second / "a.py", (1, 1))
    (second / "a.py").chmod(0o600)
    assert pack("n", first, {"x": "1"}) == pack("n", second, {"x": "1"})


def test_another_byte_or_another_permission_is_another_layer(tmp_path):
    tree = tree_of(tmp_path / "one")
    before = pack("n", tree, {}).address
    (tree / "bin/run").chmod(0o644)
    between = pack("n", tree, {}).address
    (tree / "a.py").write_text("3")
    assert len({before, between, pack("n", tree, {}).address}) == 3


def test_an_archive_ends_with_its_mark_and_has_no_owner_and_no_time(tmp_path):
    made = pack("n", tree_of(tmp_path / "one"), {"x": "1"})
    with tarfile.open(made.archive) as tar:
        members = tar.getmembers()
        mark = json.loads(tar.extractfile(MARK).read())
    assert [member.name for member in members] == ["a.py", "b/x.py", "bin/run", MARK]
    assert mark == {"name": "n", "contents": {"x": "1"}}
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 0)}
    assert [oct(member.mode) for member in members] == ["0o644", "0o644", "0o755", "0o644"]
    assert made.unpacked_bytes == 3 * 4096


def test_a_link_is_refused(tmp_path):
    tree = tree_of(tmp_path / "one")
    (tree / "link").symlink_to("a.py")
    with pytest.raises(SetupError, match="a link in a layer"):
        pack("n", tree, {})


def test_a_layer_is_built_once(tmp_path):
    built = []

    def build(tree):
        built.append(tree)
        tree_of(tree)
        return {"x": "1"}

    first = layer("n", {"k": 1}, build, Deadline(10))
    assert layer("n", {"k": 1}, build, Deadline(10)) == first
    assert len(built) == 1
    assert layer("n", {"k": 2}, build, Deadline(10)).address == first.address
    assert len(built) == 2
    layer("n", {"k": 1}, build, Deadline(10), renew=True)
    assert len(built) == 3


@pytest.mark.parametrize("damage", ["truncate", "unlink", "index"])
def test_a_damaged_cache_is_built_anew(damage, cache):
    def build(tree):
        tree_of(tree)
        return {}

    made = layer("n", {}, build, Deadline(10))
    if damage == "truncate":
        made.archive.write_bytes(made.archive.read_bytes()[:-1])
    elif damage == "unlink":
        made.archive.unlink()
    else:
        (index,) = (cache / "layers").glob("*.json")
        index.write_text("{")
    again = layer("n", {}, build, Deadline(10))
    assert again == made
    assert again.archive.stat().st_size == again.archive_bytes


def test_a_build_that_fails_leaves_nothing(cache):
    def build(tree):
        tree_of(tree)
        raise SetupError("no")

    with pytest.raises(SetupError):
        layer("n", {}, build, Deadline(10))
    assert [path.suffix for path in (cache / "layers").iterdir()] == [".lock"]


def test_two_builders_of_one_layer_wait_for_each_other_and_not_for_ever(cache):
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with locked(cache / "x.lock", Deadline(10)):
            inside.set()
            leave.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(10)
    with pytest.raises(DeadlineExceeded, match=r"x\.lock"), locked(cache / "x.lock", Deadline(0.2)):
        pass
    leave.set()
    holder.join(10)
    with locked(cache / "x.lock", Deadline(10)):
        pass


def test_the_cache_is_where_the_variable_says_else_where_the_platform_has_it(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("EDGEWISE_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "platform")
    assert cache_folder() == tmp_path / "platform"
