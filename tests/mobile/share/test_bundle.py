"""A bundle takes runs to another store whole, without what is private; what is wrong with one is refused in words."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import replace

import pytest

from mobile.benchmark.models import open_model
from mobile.compare.answer import answer
from mobile.compare.conditions import check
from mobile.compare.metrics import metric
from mobile.compare.units import stored_group
from mobile.compare.verdict import Terms
from mobile.errors import InputError, UsageError
from mobile.example import model_path
from mobile.results.document import to_columns
from mobile.results.figures import figures
from mobile.results.run import ModelRef
from mobile.results.store import RunStore
from mobile.share import archive as archives
from mobile.share.bundle import write_bundle
from mobile.share.privacy import Privacy
from mobile.share.take_in import take_in
from tests.support.runs import sensor, simple_run
from tests.support.stored_runs import several


def a_run(**more):
    return simple_run(
        [10_000_000 + 1000 * place for place in range(100)],
        sensors=[sensor("power.in", "power", unit="W")],
        columns={"power.in": lambda t: None if 0.3 < t < 0.4 else 5.0 + t},
        **more,
    )


@pytest.fixture
def bundle(tmp_path):
    run = a_run()
    path = tmp_path / "x.zip"
    return run, write_bundle(path, [run], Privacy())


def test_a_run_comes_out_as_it_went_in_and_says_where_it_is_from(tmp_path, bundle):
    run, written = bundle
    store = RunStore(tmp_path / "other.sqlite3")
    taken = take_in(written.path, store)
    assert taken.new == (run.id,)
    back = store.get(run.id)
    assert list(to_columns(back)) == list(to_columns(run))
    mine, theirs = figures(run), figures(back)
    came = theirs["environment"].pop("imported")
    assert theirs == mine
    assert came["sha256"] == written.sha256
    assert came["origin"] == taken.origin == written.sha256[:12]
    assert store.list()[0]["origin"] == taken.origin


def test_equal_runs_give_equal_bytes(tmp_path):
    runs = several(10.0, 3)
    first = write_bundle(tmp_path / "a.zip", runs, Privacy())
    second = write_bundle(tmp_path / "b.zip", runs[::-1], Privacy())
    assert first.sha256 == second.sha256
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_was_there_already_is_told_and_never_written_over(tmp_path, bundle):
    run, written = bundle
    store = RunStore(tmp_path / "runs.sqlite3")
    store.add(run)  # one's own, not redacted
    assert take_in(written.path, store).known == (run.id,)
    assert take_in(written.path, store).new == ()
    other = a_run()
    other.id = run.id
    other.phases["measure"].duration_ns[5] += 1
    foreign = write_bundle(tmp_path / "y.zip", [other], Privacy())
    taken = take_in(foreign.path, store)
    assert taken.new == taken.known == ()
    assert taken.refused[0][0] == run.id
    assert store.get(run.id).phases["measure"].duration_ns == run.phases["measure"].duration_ns


def test_an_imported_run_is_known_again_and_can_be_handed_on(tmp_path, bundle):
    run, written = bundle
    second, third = RunStore(tmp_path / "2.sqlite3"), RunStore(tmp_path / "3.sqlite3")
    take_in(written.path, second, origin="lab a")
    assert take_in(written.path, second).known == (run.id,)
    on = write_bundle(tmp_path / "z.zip", [second.get(run.id)], Privacy())
    assert take_in(on.path, third).new == (run.id,)
    assert third.get(run.id).environment["imported"]["before"]["origin"] == "lab a"


def test_what_identifies_somebody_is_taken_out(tmp_path):
    run = a_run()
    run.spec = replace(
        run.spec,
        agent_spec={
            **run.spec.agent_spec,
            "model_path": "/home/mallory/models/net.onnx",
            "env": {"OMP_NUM_THREADS": "2", "HF_TOKEN": "hf_abcdefghijklmnopqrst", "WHERE": "c0rrect-h0rse"},
            "command": {"argv": ["bench", "--api-token", "s3cr3t-value", "--url=https://me:pw@edge.lan:8000/v2?k=1"]},
        },
    )
    run.environment.update({"label": "on 192.168.7.31 of mallory@example.org", "password": "hunter22"})
    run.environment["device"] = {**run.environment["device"], "hostname": "mallory-pc", "serial": "R58N123ABC"}
    run.failure = {
        "code": "lost",
        "message": "ssh mallory-pc: authorization: abcd1234 refused",
        "hint": None,
        "phase": "x",
    }
    privacy = Privacy([("host", "mallory-pc"), ("user-name", "mallory")])
    written = write_bundle(tmp_path / "x.zip", [run], privacy)
    with zipfile.ZipFile(written.path) as opened:
        text = b"".join(opened.read(name) for name in opened.namelist() if not name.endswith(".bin")).decode()
    for secret in (
        "mallory", "192.168.7.31", "hf_abcdef", "c0rrect", "s3cr3t", "edge.lan", "me:pw", "k=1", "hunter22",
        "R58N123ABC", "abcd1234",
    ):  # fmt: skip
        assert secret not in text, secret
    assert '"OMP_NUM_THREADS": "2"' in text
    assert written.redacted["secret"] >= 4
    store = RunStore(tmp_path / "other.sqlite3")
    assert take_in(written.path, store).new == (run.id,)


def test_a_user_who_is_called_as_our_own_words_spoils_nothing(tmp_path):
    run = a_run()
    names = [("user-name", word) for word in ("measure", "null", "bench", "power", "warmup", "duration_ns", "present")]
    written = write_bundle(tmp_path / "x.zip", [run], Privacy(names))
    store = RunStore(tmp_path / "other.sqlite3")
    take_in(written.path, store)
    assert figures(store.get(run.id))["latency_s"] == figures(run)["latency_s"]


def test_a_model_goes_in_only_when_asked_for_and_comes_out_checked(tmp_path, bundle):
    run, written = bundle
    assert written.models == ()
    model = open_model(model_path())
    measured = a_run()
    measured.spec = replace(measured.spec, model=model.ref)
    with_model = write_bundle(tmp_path / "m.zip", [measured], Privacy(), [model])
    taken = take_in(with_model.path, RunStore(tmp_path / "s.sqlite3"), models_to=tmp_path / "models")
    assert [open_model(tmp_path / "models" / model.ref.name).ref] == [model.ref]
    assert len(taken.models) == 1
    (tmp_path / "models" / model.ref.name).write_bytes(b"mine")
    with pytest.raises(InputError, match="another content"):
        take_in(with_model.path, RunStore(tmp_path / "t.sqlite3"), models_to=tmp_path / "models")
    assert (tmp_path / "models" / model.ref.name).read_bytes() == b"mine"
    with pytest.raises(UsageError, match="none of the runs measured it"):
        write_bundle(tmp_path / "n.zip", [run], Privacy(), [model])


def test_runs_of_another_place_are_compared_only_when_that_is_meant(tmp_path):
    ours, theirs = several(10.0, 5, seed=1), several(12.0, 5, seed=2)
    store = RunStore(tmp_path / "runs.sqlite3")
    for run in ours:
        store.add(run)
    written = write_bundle(tmp_path / "x.zip", theirs, Privacy())
    take_in(written.path, store, origin="them")
    terms = Terms(metric("p50"))
    groups = [stored_group(name, store, [run.id for run in runs], terms.metric) for name, runs in
              (("ours", ours), ("theirs", theirs))]  # fmt: skip
    with pytest.raises(UsageError, match="origin: - \\(ours\\), them \\(theirs\\)"):
        check(groups, terms.metric, ())
    assert answer(groups, terms, differs=check(groups, terms.metric, ["origin"])).comparisons[0].verdict == "slower"


def rewritten(path, target, change=None, **members):
    """The bundle with a changed manifest and other members."""
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    manifest = json.loads(parts["manifest.json"])
    if change is not None:
        change(manifest)
    parts["manifest.json"] = json.dumps(manifest).encode()
    parts.update(members.pop("more", {}))
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return target


def test_a_newer_schema_is_refused_in_words(tmp_path, bundle):
    newer = rewritten(bundle[1].path, tmp_path / "n.zip", lambda found: found.update(schema="2.0", edgewise="9.9"))
    with pytest.raises(InputError, match=r"newer edgewise \(9\.9, schema 2\.0; this one reads 1\.0\)"):
        take_in(newer, RunStore(tmp_path / "s.sqlite3"))
    minor = rewritten(bundle[1].path, tmp_path / "m.zip", lambda found: found.update(schema="1.7", more="?"))
    assert take_in(minor, RunStore(tmp_path / "s.sqlite3")).new


@pytest.mark.parametrize(
    ("name", "word"),
    [("../evil", "may lead out"), ("/etc/evil", "may lead out"), ("runs\\..\\evil", "may lead out"),
     ("a/../b", "may lead out"), ("extra.txt", "does not name")],
)  # fmt: skip
def test_a_member_that_is_not_ours_is_refused(tmp_path, bundle, name, word):
    bad = rewritten(bundle[1].path, tmp_path / "bad.zip", more={name: b"x"})
    store = RunStore(tmp_path / "s.sqlite3")
    with pytest.raises(InputError, match=word):
        take_in(bad, store)
    assert store.list() == []


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 1_000_000)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b"{}")
        archive.writestr("runs/zeros", b"\0" * 2_000_000)
    with pytest.raises(InputError, match="more than 1000000 bytes"):
        take_in(bomb, RunStore(tmp_path / "s.sqlite3"))


def test_a_column_that_claims_a_billion_values_is_refused(tmp_path, bundle):
    run, written = bundle
    blob = struct.pack("<ccQ", b"p", b"q", 10**9) + b"x" * 20

    def claim(manifest):
        part = manifest["runs"][0]["columns"][0]["part"]
        import hashlib

        manifest["parts"][part] = {"sha256": hashlib.sha256(blob).hexdigest(), "size_bytes": len(blob)}

    part = f"runs/{run.id}/columns/0000.bin"
    bad = rewritten(written.path, tmp_path / "bad.zip", claim, more={part: blob})
    with pytest.raises(InputError, match="values in all"):
        take_in(bad, RunStore(tmp_path / "s.sqlite3"))


@pytest.mark.parametrize("where", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_damaged_file_is_refused_and_nothing_is_kept(tmp_path, bundle, where):
    data = bytearray(bundle[1].path.read_bytes())
    place = int(len(data) * where)
    data[place : place + 40] = bytes(byte ^ 0xFF for byte in data[place : place + 40])
    (tmp_path / "bad.zip").write_bytes(data)
    store = RunStore(tmp_path / "s.sqlite3")
    with pytest.raises(InputError):
        take_in(tmp_path / "bad.zip", store)
    assert store.list() == []


def test_a_file_that_is_cut_or_no_zip_is_refused(tmp_path, bundle):
    data = bundle[1].path.read_bytes()
    for name, content in (("cut.zip", data[: len(data) // 2]), ("text.zip", b"hello"), ("empty.zip", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"no zip, or a damaged one"):
            take_in(tmp_path / name, RunStore(tmp_path / "s.sqlite3"))
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("a.txt", b"x")
    (tmp_path / "plain.zip").write_bytes(plain.getvalue())
    with pytest.raises(InputError, match="no bundle of edgewise"):
        take_in(tmp_path / "plain.zip", RunStore(tmp_path / "s.sqlite3"))


@pytest.mark.parametrize("change", ["provenance", "device", "events", "phases", "nan", "escape"])
def test_a_document_that_contradicts_itself_is_refused_or_made_harmless(tmp_path, bundle, change):
    run, written = bundle
    name = f"runs/{run.id}/run.json"
    with zipfile.ZipFile(written.path) as opened:
        document = json.loads(opened.read(name))
    if change == "provenance":
        document["provenance"] = "certified"
    elif change == "device":
        document["spec"]["device"] = 5
    elif change == "events":
        document["events"] = "none"
    elif change == "phases":
        document["done"] = ["completed"]
    elif change == "nan":
        document["environment"]["x"] = float("nan")
    else:
        document["environment"]["label"] = "\x1b[2Jgone"
    data = json.dumps(document).encode()

    def fitting(manifest):
        import hashlib

        manifest["parts"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}

    bad = rewritten(written.path, tmp_path / "bad.zip", fitting, more={name: data})
    store = RunStore(tmp_path / "s.sqlite3")
    if change == "escape":
        take_in(bad, store)
        assert "\x1b" not in store.get(run.id).environment["label"]
        return
    with pytest.raises(InputError):
        take_in(bad, store)
    assert store.list() == []


def test_the_command_line_of_a_run_asks_for_the_same(tmp_path):
    from mobile.share.rerun import command_line

    run = a_run(threads=2, min_count=7, min_duration_s=1.5, conditions={"pins": {"governor": "performance"}})
    run.spec = replace(run.spec, model=ModelRef("my net.onnx", "ab" * 32, "onnx", 5))
    run.spec.agent_spec["runner"] = "ort"
    line = command_line(run)
    assert line == (
        "edgewise bench 'my net.onnx' --on local --threads 2 --duration 1.5 --min-count 7 --pin governor=performance"
    )
