"""A recording replayed as a tree shows the agent the board's sensors, with the values and errors that it had."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agents.sensors.files import SensorError, read_number
from device_agents.sensors.lines import LineProgram
from device_agents.sensors.programs import find_program, run_program
from mobile.errors import InputError
from mobile.record.archive import read_archive, write_archive
from mobile.record.document import recording_of
from mobile.record.replay import replay, replay_archive
from tests.support.recordings import archive_of, change_member, look, record_tree
from tests.support.sysfs import DATA, make_tree, read_tsv

TREES = sorted(path.name for path in DATA.glob("*.tsv"))
ZONE = "/sys/class/thermal/thermal_zone0"


def program(root: Path, name: str, body: str, folder: str = "usr/bin") -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return path


def again(root: Path, tmp_path: Path):
    return replay_archive(archive_of(root, tmp_path / "board.zip"), tmp_path / "replayed")


@pytest.mark.parametrize("name", TREES)
def test_a_board_of_the_tests_is_the_same_again(name, tmp_path):
    board = tmp_path / "board"
    make_tree(board, read_tsv(name))
    replayed = again(board, tmp_path)
    assert replayed.notes == ()
    assert look(replayed.root) == look(board)
    assert look(board)[1] or look(board)[0]


def test_this_machine_has_the_same_sensors_again(tmp_path):
    replayed = again(Path("/"), tmp_path)
    here, there = look("/")[0], look(replayed.root)[0]
    assert [(about["name"], about["state"], about["unit"]) for about in there] == [
        (about["name"], about["state"], about["unit"]) for about in here
    ]


def test_folders_behind_links_are_where_the_board_has_them(tmp_path):
    board = tmp_path / "board"
    real = "/sys/devices/platform/bus/i2c-1/1-0040/hwmon/hwmon3"
    rail = {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "4920", "curr1_input": "1535"}
    make_tree(board, {f"{real}/{name}": value for name, value in rail.items()})
    (board / "sys/class/hwmon").mkdir(parents=True)
    (board / "sys/class/hwmon/hwmon3").symlink_to(f"../..{real.removeprefix('/sys')}")
    (board / real.lstrip("/") / "device").symlink_to("../../../1-0040")
    replayed = again(board, tmp_path)
    assert os.readlink(replayed.root / "sys/class/hwmon/hwmon3") == f"../..{real.removeprefix('/sys')}"
    assert os.path.realpath(replayed.root / "sys/class/hwmon/hwmon3/device").endswith("/1-0040")
    values = look(replayed.root)[1]
    assert values["power.VDD_IN"] == pytest.approx(7.5522)
    assert look(replayed.root) == look(board)


def test_an_absolute_link_stays_inside_the_tree(tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {"/sys/firmware/devicetree/base/model": "Board 5"}))
    document["links"]["/proc/device-tree"] = "/sys/firmware/devicetree/base"
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    assert (replayed.root / "proc/device-tree/model").read_text() == "Board 5\n"


@pytest.mark.parametrize(
    ("error", "reason"),
    [("EIO", "does not answer"), ("ENODEV", "the device is gone"), ("ENXIO", "the device is gone")],
)
def test_an_error_is_the_same_error_again(error, reason, tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cv0", f"{ZONE}/temp": "1"}))
    next(file for file in document["files"] if file["path"] == f"{ZONE}/temp")["contents"] = [{"error": error}]
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    assert replayed.notes == ()
    with pytest.raises(SensorError) as caught:
        read_number(f"{replayed.root}{ZONE}/temp")
    assert reason in caught.value.reason


def test_a_file_that_was_listed_and_gone_is_gone_again(tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cv0", f"{ZONE}/temp": "1"}))
    temp = next(file for file in document["files"] if file["path"] == f"{ZONE}/temp")
    temp["contents"] = [{"error": "ENOENT"}]
    document["folders"].append({"path": ZONE, "error": None, "entries": {"temp": "file", "policy": "file"}})
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    assert sorted(os.listdir(f"{replayed.root}{ZONE}")) == ["policy", "temp", "type"]
    with pytest.raises(SensorError) as caught:
        read_number(f"{replayed.root}{ZONE}/temp")
    assert caught.value.reason == "the file is gone"


@pytest.mark.parametrize(("error", "words"), [("EAGAIN", "gave EAGAIN there"), ("EINVAL", "gave EINVAL there")])
def test_an_error_that_no_plain_file_gives_is_noted(error, words, tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cv0", f"{ZONE}/temp": "1"}))
    next(file for file in document["files"] if file["path"] == f"{ZONE}/temp")["contents"] = [{"error": error}]
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    assert any(words in note for note in replayed.notes)


def test_values_that_moved_move_again(tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu", f"{ZONE}/temp": "40000"}), passes=3)
    temp = next(file for file in document["files"] if file["path"] == f"{ZONE}/temp")
    temp["contents"] = [{"text": "40000\n"}, {"error": "EIO"}, {"text": "42000\n"}]
    temp["turns"] = [[0, 0], [1, 1], [2, 2]]
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    path = f"{replayed.root}{ZONE}/temp"
    assert read_number(path) == 40000
    replayed.turn(2)
    assert read_number(path) == 42000
    replayed.turn(1)
    with pytest.raises(SensorError):
        read_number(path)
    replayed.turn(3)  # begins again
    assert read_number(path) == 40000


def test_played_values_move_by_themselves(tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu", f"{ZONE}/temp": "40000"}))
    temp = next(file for file in document["files"] if file["path"] == f"{ZONE}/temp")
    temp["contents"], temp["turns"] = [{"text": "40000\n"}, {"text": "42000\n"}], [[0, 0], [1, 1]]
    document["times_s"] = [0.0, 0.01]
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    stop = threading.Event()
    player = threading.Thread(target=replayed.play, args=(stop,))
    player.start()
    seen: set[int] = set()
    while len(seen) < 2:
        seen.add(read_number(f"{replayed.root}{ZONE}/temp"))
        time.sleep(0.001)
    stop.set()
    player.join(10)
    assert seen == {40000, 42000}


def test_a_program_answers_by_its_arguments_in_turn_with_exit_code_and_complaint(tmp_path):
    board = tmp_path / "board"
    make_tree(board, {f"{ZONE}/type": "cpu"})
    document = record_tree(board)
    runs = [{"exit": 0, "stdout": f"temp={n}'C\n", "stderr": "", "took_s": 0.0} for n in (40, 41)]
    refused = [{"exit": 3, "stdout": "half", "stderr": "VCHI initialization failed\n", "took_s": 0.0}]
    base = {"name": "vcgencmd", "path": "/usr/bin/vcgencmd"}
    document["programs"] = [
        {**base, "arguments": ["measure_temp"], "runs": runs},
        {**base, "arguments": ["pmic_read_adc"], "runs": refused},
        {**base, "arguments": ["it's $HOME", "*"], "runs": runs[:1]},
    ]
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    path = find_program(str(replayed.root), "vcgencmd")
    assert path is not None
    said = [run_program([path, "measure_temp"]).text for _ in range(3)]
    assert said == ["temp=40'C\n", "temp=41'C\n", "temp=40'C\n"]
    with pytest.raises(SensorError, match="vcgencmd ended with 3: VCHI initialization failed"):
        run_program([path, "pmic_read_adc"])
    assert run_program([path, "it's $HOME", "*"]).text == "temp=40'C\n"
    with pytest.raises(SensorError, match="not recorded with these arguments: codec_enabled"):
        run_program([path, "codec_enabled"])


def test_nothing_of_a_recording_is_run_by_the_script_of_a_program(tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}))
    planted = tmp_path / "planted"
    evil = f"x; touch {planted}; $(touch {planted}) `touch {planted}` '; touch {planted} #"
    run = {"exit": 0, "stdout": evil, "stderr": evil, "error": None, "took_s": 0.0}
    slashless = 'x"; touch y; $(touch y) `touch y` #'
    document["programs"] = [
        {"name": "p", "path": f"/usr/bin/{slashless}", "arguments": [evil, f"\n touch {planted}\n"], "runs": [run]}
    ]
    document["looked_for"] = {"q": f"/usr/bin/{slashless}"}
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    assert sorted(os.listdir(replayed.root / "usr/bin")) == ["p", "q"]
    for arguments in ([evil, f"\n touch {planted}\n"], [evil], []):
        for name in ("p", "q"):
            subprocess.run([replayed.root / "usr/bin" / name, *arguments], capture_output=True, timeout=20)
    said = subprocess.run([replayed.root / "usr/bin/p", evil, f"\n touch {planted}\n"], capture_output=True, text=True)
    assert said.stdout == evil
    assert not planted.exists()
    for member, entry in (("programs", {"name": evil, "path": "/usr/bin/p", "runs": [run]}),):
        with pytest.raises(InputError):
            recording_of({**document, member: [entry]}, "a test")
    with pytest.raises(InputError):
        recording_of({**document, "looked_for": {evil: "/usr/bin/p"}}, "a test")


def test_a_program_answers_also_where_its_tree_may_not_be_written(tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}))
    run = {"exit": 0, "stdout": "x\n", "stderr": "", "took_s": 0.0}
    document["programs"] = [{"name": "p", "path": "/usr/bin/p", "arguments": [], "runs": [run, run]}]
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    (replayed.root / "usr/share/edgewise-replay/p/0.turn").mkdir()  # so that not even root can write the file
    done = subprocess.run([replayed.root / "usr/bin/p"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


def test_a_program_that_runs_on_runs_on_again(tmp_path):
    board = tmp_path / "board"
    make_tree(board, {f"{ZONE}/type": "cpu"})
    document = record_tree(board)
    lines = "RAM 1/2MB  CPU [1%@102]\nRAM 2/2MB\n"
    run = {"exit": None, "stdout": lines, "stderr": "", "took_s": 0.1, "line_s": [0.03, 0.06]}
    document["programs"] = [{"name": "t", "path": "/usr/bin/t", "arguments": ["--interval", "100"], "runs": [run]}]
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    child = LineProgram([f"{replayed.root}/usr/bin/t", "--interval", "100"])
    said: list[str] = []
    while len(said) < 5:
        said += child.lines(20.0)
    child.close()
    assert said[:4] == ["RAM 1/2MB  CPU [1%@102]", "RAM 2/2MB"] * 2


def test_a_recorded_program_goes_the_whole_way(tmp_path):
    board = tmp_path / "board"
    make_tree(board, {f"{ZONE}/type": "cpu"})
    program(board, "getprop", 'case $1 in ro.product.model) echo "Phone 7";; *) exit 1;; esac\n', "system/bin")
    replayed = again(board, tmp_path)
    path = find_program(str(replayed.root), "getprop")
    assert path == str(replayed.root / "system/bin/getprop")
    assert run_program([path, "ro.product.model"]).text == "Phone 7\n"
    assert read_archive(tmp_path / "board.zip").board == "Phone 7"


BAD_PATHS = ["etc/passwd", "/../x", "/a/../../x", "//x", "/a//b", "/./x", "/x\0y", "/" + "a" * 300, "/" + "a/" * 600]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_is_none_is_refused(path, tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}))
    for member, entry in (
        ("files", {"path": path, "contents": [{"text": "x"}]}),
        ("folders", {"path": path, "entries": {}}),
        ("programs", {"name": "x", "path": path, "runs": [{"exit": 0}]}),
    ):
        with pytest.raises(InputError):
            recording_of({**document, member: [entry]}, "a test")
    with pytest.raises(InputError):
        recording_of({**document, "links": {path: "x"}}, "a test")
    with pytest.raises(InputError):
        recording_of({**document, "folders": [{"path": "/sys", "entries": {f"../{path}": "file"}}]}, "a test")


@pytest.mark.parametrize("target", ["/", "../../../../../../../..", "/etc", "../../../../../../etc", "up/../../../etc"])
def test_no_link_leads_out_of_the_tree(target, tmp_path):
    outside = tmp_path / "etc"
    outside.mkdir()
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}))
    document["links"] = {"/sys/out": target, "/sys/up": ".."}
    document["files"].append({"path": "/sys/out/planted", "contents": [{"text": "x"}]})
    replayed = replay(recording_of(document, "a test"), tmp_path / "replayed")
    assert list(outside.iterdir()) == []
    assert os.path.realpath(replayed.root / "sys/out").startswith(str(replayed.root))
    assert any("left out, it lies behind the link" in note for note in replayed.notes)
    for place, _, names in os.walk(tmp_path):
        if not place.startswith(str(replayed.root)):
            assert "planted" not in names


names = st.sampled_from(["a", "b", "c", "..", "."])
paths = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    links=st.dictionaries(paths, st.lists(names, min_size=1, max_size=6).map("/".join), max_size=6),
    files=st.lists(paths, max_size=5),
)
def test_whatever_links_a_recording_has_nothing_is_written_outside(links, files, tmp_path_factory):
    base = tmp_path_factory.mktemp("links")
    document = {
        "schema": "1.0", "date": "2026-01-02", "agent": "0", "links": links, "facts": {}, "sensors": [],
        "files": [{"path": path, "contents": [{"text": "x"}]} for path in files],
    }  # fmt: skip
    try:
        replayed = replay(recording_of(document, "a test"), base / "tree" / "deep" / "er")
    except InputError:
        return
    for place, folders, entries in os.walk(base):
        for name in [*folders, *entries]:
            full = os.path.realpath(os.path.join(place, name))
            inside = full.startswith(str(replayed.root)) or str(replayed.root).startswith(full)
            assert inside, f"{place}/{name} leads to {full}"


def test_a_tree_is_not_unpacked_over_another(tmp_path):
    archive = archive_of(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}), tmp_path / "board.zip")
    target = tmp_path / "full"
    target.mkdir()
    (target / "mine").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        replay_archive(archive, target)
    assert os.listdir(target) == ["mine"]


def test_a_file_that_is_also_a_folder_is_a_damaged_recording(tmp_path):
    document = record_tree(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}))
    document["files"] += [{"path": "/a", "contents": [{"text": "x"}]}, {"path": "/a/b", "contents": [{"text": "x"}]}]
    with pytest.raises(InputError, match="both a file and a folder"):
        replay(recording_of(document, "a test"), tmp_path / "replayed")


DAMAGE = {
    "manifest.json": ["", "[]", "{}", "nonsense", '{"schema": "9.0"}', '{"schema": "1.0", "date": 7}', "\xff"],
    "files.jsonl": ["nonsense", "[]", '{"path": "/x"}', '{"path": "/x", "contents": []}', '{"path": 7}', "7"],
    "links.jsonl": ["[]", '{"path": "/x"}', '{"path": "/x", "leads_to": 7}', "null"],
    "programs.jsonl": ['{"name": "../x", "path": "/usr/bin/x", "runs": []}', '{"name": "x"}'],
    "sensors.json": ["[]", "7", '{"sensors": 7}'],
}


@pytest.mark.parametrize(("member", "text"), [(member, text) for member, texts in DAMAGE.items() for text in texts])
def test_a_damaged_archive_is_refused_in_one_line(member, text, tmp_path):
    archive = archive_of(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}), tmp_path / "board.zip")
    change_member(archive, member, text)
    with pytest.raises(InputError) as caught:
        read_archive(archive)
    assert "board.zip" in caught.value.message
    assert "\n" not in caught.value.message


def test_no_zip_and_a_cut_one_are_refused(tmp_path):
    archive = archive_of(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}), tmp_path / "board.zip")
    whole = archive.read_bytes()
    at = whole.index(b"manifest.json") + len("manifest.json")
    for data in (b"", b"PK", whole[: len(whole) // 2], whole[:at] + bytes(20) + whole[at + 20 :]):
        archive.write_bytes(data)
        with pytest.raises(InputError):
            read_archive(archive)
    with pytest.raises(InputError):
        read_archive(tmp_path / "nowhere.zip")


def test_an_archive_that_unpacks_to_very_much_is_refused(tmp_path, monkeypatch):
    archive = archive_of(make_tree(tmp_path / "board", {f"{ZONE}/type": "cpu"}), tmp_path / "board.zip")
    monkeypatch.setattr("mobile.record.archive.LIMIT_BYTES", 100)
    with pytest.raises(InputError, match="over 100 bytes"):
        read_archive(archive)


def test_the_archive_is_plain_text_in_an_order_that_does_not_vary(tmp_path):
    import zipfile

    document = record_tree(make_tree(tmp_path / "board", read_tsv("constructed_pi5.tsv")))
    data = write_archive(document)
    assert data == write_archive(json.loads(json.dumps(document)))
    (tmp_path / "a.zip").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == sorted(archive.namelist())
        for name in archive.namelist():
            text = archive.read(name).decode("ascii")
            assert "\0" not in text
        manifest = json.loads(archive.read("manifest.json"))
    assert set(manifest) == {
        "board", "type", "schema", "date", "agent", "as_root", "times_s", "looked_for", "notes", "redacted", "counts",
    }  # fmt: skip
    assert len(manifest["date"]) == len("2026-01-02")  # a day, no time
