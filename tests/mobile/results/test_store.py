"""The store: what goes in comes out, writers and a kill lose nothing, every bad file is named with a next step."""

import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest

from mobile.errors import StoreError, UsageError
from mobile.results import migrations, new_run_id
from mobile.results.figures import figures
from mobile.results.migrations import Migration
from mobile.results.run import Invocations
from mobile.results.store import RunStore, default_store_path
from tests.support.runs import MS, sensor, simple_run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "deep" / "runs.sqlite3")


def _rich_run():
    run = simple_run(
        sensors=[sensor("temperature.cpu", "temperature")],
        columns={"temperature.cpu": lambda t: None if t < 0 else 50 + t},
        more=[{"type": "outputs", "first": 0, "top1": [3, 1, 2]}],
    )
    run.phases["measure"].stages["encode"] = array("q", range(500))
    return run


def test_a_run_comes_back_as_it_was(store: RunStore) -> None:
    run = _rich_run()
    store.add(run)
    assert store.get(run.id) == run
    assert store.get("last") == run
    assert figures(store.get(run.id)) == figures(run)


def test_a_failed_and_a_cut_run_come_back(store: RunStore) -> None:
    failed = simple_run(more=[{"type": "failure", "code": "crashed", "message": "m", "hint": "h", "phase": "measure"}])
    cut = simple_run()
    cut.done = None
    for run in (failed, cut):
        store.add(run)
        assert store.get(run.id) == run
    assert [row["failure"] for row in store.list()] == [None, "crashed"]
    assert [row["verdict"] for row in store.list()] == ["invalid", "invalid"]


def test_list_filters_and_reads_no_series(store: RunStore) -> None:
    runs = [simple_run(device=device) for device in ("a", "b", "a")]
    for run in runs:
        store.add(run)
    connection = sqlite3.connect(store.path)
    connection.execute("UPDATE series SET data = x'00'")  # whoever read one would fail
    connection.commit()
    connection.close()
    assert [row["id"] for row in store.list()] == [run.id for run in reversed(runs)]
    assert [row["device"] for row in store.list(device="a")] == ["a", "a"]
    assert len(store.list(limit=2)) == 2
    assert store.list(model="other.onnx") == []
    row = store.list(device="b", model="net.onnx")[0]
    assert (row["p50_s"], row["invocations"], row["verdict"], row["provenance"]) == (0.01, 500, "valid", "real")


def test_unique_prefixes(store: RunStore) -> None:
    for run_id in ("20260101-aaa", "20260101-aab", "20260101-aa", "2026%"):
        run = simple_run()
        run.id = run_id
        store.add(run)
    assert store.get("20260101-aab").id == "20260101-aab"
    assert store.get("20260101-aa").id == "20260101-aa"  # an exact id is meant, though others begin with it
    assert store.get("2026%").id == "2026%"
    for bad, words in (
        ("20260101", "several runs begin with"),
        ("nope", "no run 'nope'"),
        ("%", "no run"),
        ("", "no run"),
    ):
        with pytest.raises(UsageError, match=words):
            store.get(bad)


def test_an_empty_store_answers_and_leaves_no_file(store: RunStore) -> None:
    assert store.list() == []
    with pytest.raises(UsageError, match="there is no run in"):
        store.get()
    assert not store.path.exists()


def test_delete(store: RunStore) -> None:
    keep, drop = _rich_run(), _rich_run()
    store.add(keep)
    store.add(drop)
    assert store.delete(drop.id[:15]) == drop.id
    assert store.get() == keep
    connection = sqlite3.connect(store.path)
    assert connection.execute("SELECT count(DISTINCT run) FROM series").fetchone() == (1,)
    connection.close()


def test_the_same_run_twice_is_refused(store: RunStore) -> None:
    run = simple_run()
    store.add(run)
    with pytest.raises(StoreError, match="UNIQUE"):
        store.add(run)
    assert len(store.list()) == 1


def test_failures_are_recorded(store: RunStore) -> None:
    store.record_failure("pi5", "net.onnx", "unreachable", "no answer", "look")
    store.record_failure("orin", "net.onnx", "hung", "no progress")
    assert [row["device"] for row in store.failures()] == ["orin", "pi5"]
    assert store.failures(device="pi5")[0]["hint"] == "look"
    assert store.failures(limit=1)[0]["hint"] is None


def test_a_folder_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RunStore(tmp_path).path == tmp_path / "runs.sqlite3"
    monkeypatch.setenv("EDGEWISE_STORE", str(tmp_path / "other.sqlite3"))
    assert RunStore().path == tmp_path / "other.sqlite3"
    monkeypatch.delenv("EDGEWISE_STORE")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "data")
    assert default_store_path() == tmp_path / "data" / "runs.sqlite3"


def test_the_write_ahead_log_is_used_and_can_be_missing(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(simple_run())
    connection = sqlite3.connect(store.path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    connection.close()

    class NoSharedMemory(sqlite3.Connection):
        def execute(self, sql, *parameters):
            if "WAL" in sql:
                raise sqlite3.OperationalError("locking protocol")
            return super().execute(sql, *parameters)

    plain = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: plain(*args, factory=NoSharedMemory, **more))
    store.add(simple_run())
    assert len(store.list()) == 2


# Several processes


def _write(path: str, start: "multiprocessing.synchronize.Event", count: int) -> None:
    start.wait(30)
    for _ in range(count):
        RunStore(path).add(_rich_run())


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs.sqlite3"  # made by whoever comes first
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    workers = [context.Process(target=_write, args=(str(path), start, 5)) for _ in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join(60)
        code = worker.exitcode
        worker.close()
        assert code == 0
    store = RunStore(path)
    assert len({row["id"] for row in store.list()}) == 20
    assert all(store.get(row["id"]).phase("measure").stages["encode"] == array("q", range(500)) for row in store.list())


WRITER = """
import random, sys
from array import array
from mobile.results.store import RunStore
from tests.support.runs import simple_run
store = RunStore(sys.argv[1])
rng = random.Random(1)
noise = array("q", (rng.getrandbits(62) for _ in range(200_000)))  # does not compress: 1.6 MB a run
print("ready", flush=True)
while True:
    run = simple_run()
    run.phases["measure"].start_ns = run.phases["measure"].duration_ns = noise
    store.add(run)
    print(run.id, flush=True)
"""


def test_a_kill_while_writing_loses_no_finished_run_and_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    rng = random.Random(7)
    finished: set[str] = set()
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        with writer:
            assert writer.stdout.readline() == "ready\n"
            finished.add(writer.stdout.readline().strip())
            time.sleep(rng.uniform(0, 0.3))
            writer.send_signal(signal.SIGKILL)
            finished.update(line.strip() for line in writer.stdout if line.endswith("\n"))
            writer.wait(30)
        store = RunStore(path)
        stored = {row["id"] for row in store.list()}
        assert finished <= stored
        assert len(stored - finished) <= 5  # at most one a round was kept and not told
        assert all(len(store.get(run_id).phase("measure").start_ns) == 200_000 for run_id in stored)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


# Bad files


def test_a_newer_store_is_refused(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        more = (*migrations.MIGRATIONS, Migration("later", ("CREATE TABLE later (x)",)))
        patch.setattr(migrations, "MIGRATIONS", more)
        store.add(simple_run())
    with pytest.raises(StoreError, match=r"written by a newer edgewise \(schema 3, this one knows 2\)") as caught:
        store.list()
    assert "Update edgewise" in str(caught.value.hint)


def test_an_older_store_is_brought_up_to_date(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = simple_run()
    store.add(run)
    more = (*migrations.MIGRATIONS, Migration("later", ("ALTER TABLE runs ADD COLUMN note TEXT",)))
    monkeypatch.setattr(migrations, "MIGRATIONS", more)
    assert store.get() == run
    connection = sqlite3.connect(store.path)
    assert connection.execute("SELECT number, purpose FROM migrations").fetchall()[2] == (3, "later")
    connection.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = simple_run()
    store.add(run)
    with monkeypatch.context() as patch:
        broken = (*migrations.MIGRATIONS, Migration("bad", ("CREATE TABLE extra (x)", "CREATE NONSENSE")))
        patch.setattr(migrations, "MIGRATIONS", broken)
        with pytest.raises(StoreError, match="syntax error"):
            store.list()
    assert store.get() == run


def test_another_programs_database_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "browser.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for call in (RunStore(path).list, lambda: RunStore(path).add(simple_run())):
        with pytest.raises(StoreError, match="no store of edgewise"):
            call()
    assert path.read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    path.write_bytes(random.Random(3).randbytes(8192))
    with pytest.raises(StoreError, match="file is not a database") as caught:
        RunStore(path).list()
    assert "move it away" in str(caught.value.hint)
    assert str(path) in str(caught.value)


def test_a_damaged_store(store: RunStore) -> None:
    for _ in range(3):
        store.add(_rich_run())
    data = bytearray(store.path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    store.path.write_bytes(data)
    with pytest.raises(StoreError, match="malformed") as caught:
        store.list()
    assert "damaged" in str(caught.value.hint)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE series SET data = x'00'",
        "UPDATE runs SET document = '[]'",
        "UPDATE runs SET document = 'nonsense'",
        "UPDATE runs SET document = json_remove(document, '$.spec')",
    ],
)
def test_a_damaged_run_is_named(store: RunStore, statement: str) -> None:
    run = simple_run()
    store.add(run)
    connection = sqlite3.connect(store.path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=f"run {run.id} cannot be read"):
        store.get(run.id)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"Not a directory|File exists") as caught:
        RunStore(tmp_path / "file" / "runs.sqlite3").add(simple_run())
    assert "--store" in str(caught.value.hint)


def test_a_full_disk(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = simple_run()
    store.add(run)
    plain = sqlite3.connect

    def small(*args, **more):
        connection = plain(*args, **more)
        connection.execute(
            "PRAGMA max_page_count = 30"
        )  # what SQLite says and does then is what it does on a full disk
        return connection

    rng = random.Random(1)
    big = simple_run()
    big.phases["measure"] = Invocations(*[array("q", (rng.getrandbits(62) for _ in range(50_000)))] * 2)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", small)
        with pytest.raises(StoreError, match="disk is full") as caught:
            store.add(big)
    assert "Free some space" in str(caught.value.hint)
    assert store.list()[0]["id"] == run.id
    assert store.get() == run


AS_NOBODY = """
import os, sys
from mobile.errors import StoreError
from mobile.results.store import RunStore
from tests.support.runs import simple_run
run = simple_run()
RunStore(sys.argv[2]).path  # everything is imported before the rights are given up
import mobile.results.figures, numpy
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    RunStore(sys.argv[1]).add(run)
except StoreError as error:
    print(error, "|", error.hint)
"""


@pytest.mark.parametrize(("part", "words"), [("file", "readonly database"), ("folder", "unable to open database file")])
def test_a_store_that_may_not_be_written(tmp_path: Path, part: str, words: str) -> None:
    folder = Path("/tmp") / f"edgewise-test-{new_run_id()}"  # tmp_path is closed to other users
    folder.mkdir(mode=0o755)
    path = folder / "runs.sqlite3"
    try:
        if part == "file":
            RunStore(path).add(simple_run())
            path.chmod(0o444)
        folder.chmod(0o777 if part == "file" else 0o555)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(path), str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert words in done.stdout, done.stderr
        assert "--store" in done.stdout
    finally:
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


# Size


def test_a_million_invocations(store: RunStore) -> None:
    rng = random.Random(5)
    run = simple_run(durations_ns=[MS])
    durations = array("q", (900_000 + int(rng.expovariate(1e-5)) for _ in range(1_000_000)))
    starts, now = array("q"), 10**9
    for duration in durations:
        starts.append(now)
        now += duration + 500
    run.phases["measure"] = Invocations(starts, durations)
    run.done["invocations"] = 1_000_000
    store.add(run)
    assert store.path.stat().st_size < 8_000_000  # half of the raw columns
    found = store.get()
    assert found == run
    row = figures(found)
    ordered = sorted(durations)
    assert row["verdict"] == "valid"
    assert row["invocations"] == 1_000_000
    assert row["latency_s"]["min"] == ordered[0] / 1e9
    assert row["latency_s"]["max"] == ordered[-1] / 1e9
    assert row["latency_s"]["p50"] == pytest.approx((ordered[499_999] + ordered[500_000]) / 2e9, rel=1e-12)
    assert row["latency_s"]["mean"] == pytest.approx(sum(durations) / 1e15, rel=1e-12)
    assert row["throughput_per_s"] == pytest.approx(1e6 / ((now - 500 - 10**9) / 1e9))
