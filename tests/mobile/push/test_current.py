"""Which model is in use: switched in one step, and back."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mobile.deadline import Deadline
from mobile.errors import RemoteFileError, UsageError
from mobile.push import DeviceStore
from mobile.push.current import in_use, kept_addresses, roll_back, switch
from tests.support.pushing import Watched

NAME = "odd 'name' $x\n.onnx"


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "work dir"


@pytest.fixture(params=["links", "no links"])
def store(workdir, tmp_path, request):
    if request.param == "links":
        return DeviceStore(Watched(), str(workdir))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ln").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "ln").chmod(0o755)
    return DeviceStore(Watched(env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}), str(workdir))


def deadline():
    return Deadline(30)


def put(store, data, name=NAME):
    return store.put_file(data, name, deadline=deadline())


def read(path):
    """What a program finds by the name under which the model is in use."""
    if os.path.islink(path):
        return Path(path).read_bytes()
    return Path(Path(path).read_text()[:-1]).read_bytes()


def test_a_model_is_in_use_after_the_switch_and_back_after_a_rollback(store, workdir):
    assert in_use(store, deadline=deadline()) == []
    paths = [put(store, data) for data in (b"one", b"two", b"three")]
    for path, data in zip(paths, (b"one", b"two", b"three"), strict=True):
        current = switch(store, path, deadline=deadline())
        assert current == f"{workdir}/current/{NAME}"
        assert read(current) == data
    (model,) = in_use(store, deadline=deadline())
    assert (model.name, model.address) == (NAME, Path(paths[2]).parent.name)
    assert [entry.address for entry in model.history] == [Path(path).parent.name for path in paths]
    for data in (b"two", b"one"):
        current, version = roll_back(store, NAME, deadline=deadline())
        assert read(current) == data
        assert version.switched_utc.endswith("Z")
    with pytest.raises(UsageError, match="no version"):
        roll_back(store, NAME, deadline=deadline())
    assert sorted(os.listdir(workdir / "current")) == sorted([".history", NAME])


def test_a_rollback_passes_over_what_was_pruned(store):
    paths = [put(store, data) for data in (b"one", b"two", b"three")]
    for path in paths:
        switch(store, path, deadline=deadline())
    store.prune(deadline=deadline(), keep={paths[0], paths[2]})
    current, _ = roll_back(store, NAME, deadline=deadline())
    assert read(current) == b"one"


def test_the_same_model_again_is_no_new_version(store):
    one, two = put(store, b"one"), put(store, b"two")
    for path in (one, two, two, two):
        switch(store, path, deadline=deadline())
    assert read(roll_back(store, NAME, deadline=deadline())[0]) == b"one"
    switch(store, two, deadline=deadline())
    assert read(roll_back(store, NAME, deadline=deadline())[0]) == b"one"


def test_models_are_apart_and_a_prune_spares_what_is_in_use(store):
    for name in ("a", "b"):
        for data in (b"1", b"2", b"3"):
            switch(store, put(store, name.encode() + data, name), deadline=deadline())
    models = in_use(store, deadline=deadline())
    assert [model.name for model in models] == ["a", "b"]
    store.prune(deadline=deadline(), keep=kept_addresses(models, 2))
    assert sorted(Path(file.path).read_bytes() for file in store.stored(deadline=deadline())) == [
        b"a2", b"a3", b"b2", b"b3",
    ]  # fmt: skip
    roll_back(store, "a", deadline=deadline())
    assert read(f"{store.folder(deadline())}/current/b") == b"b3"


def test_a_reader_always_finds_a_whole_model(workdir):
    store = DeviceStore(Watched(), str(workdir))
    paths = [put(store, bytes([number]) * 1000) for number in range(2)]
    current = switch(store, paths[0], deadline=deadline())
    stop, seen = threading.Event(), set()

    def look():
        while not stop.is_set():
            data = read(current)
            assert len(data) == 1000
            seen.add(data[:1])

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(10):
        for path in reversed(paths):
            switch(store, path, deadline=deadline())
    stop.set()
    reader.join(20)
    assert seen == {b"\0", b"\1"}


@pytest.mark.parametrize("text", ["", "nonsense", "a b c\n", "\xff\n\n"])
def test_a_history_that_cannot_be_read_stops_nothing(store, workdir, text):
    current = switch(store, put(store, b"one"), deadline=deadline())
    (workdir / "current" / ".history" / NAME).write_text(text)
    assert in_use(store, deadline=deadline())[0].history == ()
    with pytest.raises(UsageError, match="no version"):
        roll_back(store, NAME, deadline=deadline())
    assert read(current) == b"one"


def test_something_else_in_the_folder_is_nobodys_version(store, workdir):
    (workdir / "current").mkdir(parents=True)
    (workdir / "current" / "mine").symlink_to("/etc/passwd")
    (model,) = in_use(store, deadline=deadline())
    assert (model.name, model.address, model.history) == ("mine", None, ())
    with pytest.raises(UsageError, match="not in use"):
        roll_back(store, "other", deadline=deadline())


def test_what_is_not_stored_cannot_be_in_use(store, workdir):
    put(store, b"x", "x")
    for path in ("/etc/passwd", f"{workdir}/store/ab", f"{workdir}/store/../x"):
        with pytest.raises(UsageError):
            switch(store, path, deadline=deadline())
    with pytest.raises(RemoteFileError):
        switch(store, f"{workdir}/store/ab/{'ab' * 32}/x", deadline=deadline())
    assert in_use(store, deadline=deadline()) == []


def test_remove_all_takes_it_too(store, workdir):
    switch(store, put(store, b"one"), deadline=deadline())
    store.remove_all(deadline=deadline())
    assert not workdir.exists()
