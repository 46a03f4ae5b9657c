"""What this host has started: requests, their slots, and the runs that are still to be collected."""

from __future__ import annotations

import pytest

from mobile.errors import StoreError
from mobile.results.started import Started, StartedRuns, content_of
from mobile.results.store import RunStore
from tests.support.runs import simple_run


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs.sqlite3")


def started(run, request=None, slot=None, device="pi", detached=True):
    return Started(run, "2030-01-01T00:00:00Z", device, "m.onnx", request, slot, detached)


def test_what_was_started_is_known_until_it_is_collected(store):
    known = StartedRuns(store)
    known.add([started("r1"), started("r2", device="orin", detached=False)])
    assert known.pending() == [started("r1"), started("r2", device="orin", detached=False)]
    assert known.pending(device="orin") == [started("r2", device="orin", detached=False)]
    known.end("r1", "never")
    assert [run.run for run in StartedRuns(RunStore(store.path)).pending()] == ["r2"]


def test_a_request_is_unfinished_until_every_slot_has_its_run(store):
    known = StartedRuns(store)
    content = content_of({"models": ["a"]})
    assert known.unfinished_request(content) is None
    request = known.new_request(content, 2)
    assert known.unfinished_request(content) == request
    run = simple_run()
    known.add([started(run.id, request, 0), started("failed", request, 1), started("waits", request, 1)])
    store.add(run)
    known.end(run.id, "failed")
    assert known.stored_slots(request) == {0: run.id}
    assert known.waiting_slots(request) == {1: started("waits", request, 1)}
    assert known.unfinished_request(content) == request
    other = simple_run()
    other.id = "waits"
    store.add(other)
    assert known.unfinished_request(content) is None
    assert known.unfinished_request(content_of({"models": ["b"]})) is None


def test_the_newest_of_equal_requests_counts(store):
    known = StartedRuns(store)
    first = known.new_request("same", 1)
    second = known.new_request("same", 1)
    assert first != second
    assert known.unfinished_request("same") == second


def test_a_run_is_started_once(store):
    StartedRuns(store).add([started("r1")])
    with pytest.raises(StoreError):
        StartedRuns(store).add([started("r1")])


def test_an_empty_store_knows_nothing_and_is_not_made(store):
    assert StartedRuns(store).pending() == []
    assert not store.path.exists()


def test_a_store_of_the_first_schema_gets_the_tables(store, monkeypatch):
    from mobile.results import migrations

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:1])
        store.add(simple_run())
    StartedRuns(store).add([started("r1")])
    assert len(store.list()) == 1
