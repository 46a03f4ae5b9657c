"""Settings are held whole or not at all, verified, and put back only where they are still ours."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from device_agents.conditions import pins as pins_module
from device_agents.conditions.journal import Journal, own_journal, recover_with
from device_agents.conditions.knobs import KnobError, knob
from device_agents.conditions.pins import Holding
from device_agents.conditions.terms import Terms
from device_agents.failures import AgentFailure
from device_agents.processes import identity
from tests.support.agents import ROOT
from tests.support.pinnable import CPU, GPU, Board

FILES = {"governor": "performance", "clocks_locked": True}
NOBODY = {"pid": 2**22 - 1, "start_ticks": 1, "boot_id": None}


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path / "board").clocks()


@pytest.fixture
def journal(tmp_path):
    return Journal(str(tmp_path / "journal"))


def hold(board, journal, pins, process=None):
    """(the holding, what it told)."""
    told = []
    terms = Terms.of({"pins": pins})
    tell = lambda name, **detail: told.append((name, detail))  # noqa: E731
    return Holding(terms.pins, str(board.path), journal, process or identity(), tell), told


def refused(board, journal, pins):
    """The message of a refusal, after which all is as it was and the journal is empty."""
    found = board.state()
    holding, told = hold(board, journal, pins)
    with pytest.raises(AgentFailure) as error:
        holding.hold()
    assert error.value.code == "pin-failed"
    assert (board.state(), journal.books()) == (found, [])
    assert all(detail["ok"] for name, detail in told if name == "restored")
    return error.value.message


def left_over(board, journal, pins, monkeypatch):
    """A book of a process that is gone, with its settings set."""
    monkeypatch.setattr(pins_module, "_start_watchdog", lambda *where: None)
    holding, _ = hold(board, journal, pins, NOBODY)
    holding.hold()


def test_governor_and_clocks_are_held_and_put_back(board, journal):
    found = board.state()
    holding, told = hold(board, journal, FILES)
    holding.hold()
    for policy in board.policies:
        assert board.read(f"{CPU}/{policy}/scaling_governor") == "performance"
        assert board.read(f"{CPU}/{policy}/scaling_min_freq") == "1510400"
    assert board.read(f"{GPU}/min_freq") == "624750000"
    assert [(name, detail["verified"]) for name, detail in told] == [("pinned", True)] * 5
    assert told[0][1] == {
        "what": "governor of policy0",
        "was": "ondemand",
        "now": "performance",
        "verified": True,
    }
    assert [entry["held"] for entry in journal.describe()["journal"]] == [True] * 5
    told.clear()
    holding.release()
    holding.release()
    assert board.state() == found
    assert [(name, detail["ok"], detail["left_over"]) for name, detail in told] == [("restored", True, False)] * 5
    assert journal.describe() == {"journal": [], "restored": []}


def test_a_power_mode_by_its_name_brings_back_what_it_reset(board, journal):
    board.nvpmodel()
    found = board.state()
    holding, told = hold(board, journal, {"power_mode": "MODE_1", "governor": "performance", "clocks_locked": True})
    holding.hold()
    assert board.read("var/lib/nvpmodel/status") == "pmode:0001"
    assert board.read(f"{CPU}/policy0/scaling_min_freq") == "1200000"  # that mode's own highest
    assert told[0][1] == {"what": "power mode", "was": "0", "now": "1", "verified": True}
    holding.release()
    assert board.state() == found


def test_the_power_mode_that_is_there_already_is_not_set(board, journal):
    board.nvpmodel(mode=2)
    holding, told = hold(board, journal, {"power_mode": 2})
    holding.hold()
    assert told[0][1]["verified"]
    assert board.read(f"{CPU}/policy0/scaling_governor") == "ondemand"  # nvpmodel -m would have reset it
    assert journal.books() == []
    holding.release()


def test_a_mode_that_needs_a_restart_is_refused_and_no_question_is_answered(board, journal):
    board.nvpmodel()
    message = refused(board, journal, {"power_mode": 3})
    assert "it still is '0'" in message
    assert "Reboot required" in message
    assert not (board.path / "rebooted").exists()


@pytest.mark.parametrize(
    ("pins", "says"),
    [
        ({"governor": "turbo"}, "no governor 'turbo', only ondemand, performance"),
        ({"power_mode": "MODE_9"}, "no mode 'MODE_9', only 0 (MODE_0)"),
        ({"sustained": True}, "only Android"),
    ],
)
def test_what_is_not_there_is_refused_by_name(board, journal, pins, says):
    board.nvpmodel()
    assert says in refused(board, journal, {"governor": "performance", **pins})


def test_a_board_without_the_setting_says_so(tmp_path, journal):
    bare = Board(tmp_path / "bare")
    assert "shows no governors" in refused(bare, journal, {"governor": "performance"})
    assert "shows no clocks" in refused(bare, journal, {"clocks_locked": True})
    assert "no nvpmodel" in refused(bare, journal, {"power_mode": 0})


def test_without_root_the_file_is_named_before_anything_is_changed(board, journal, monkeypatch):
    """One may be written, the other may not. (As another user on a device of the lab: tests/system.)"""
    real = os.open

    def as_a_user(path, flags, *more, **options):
        if flags & os.O_WRONLY and str(path).endswith("policy4/scaling_governor"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", as_a_user)
    message = refused(board, journal, {"governor": "performance"})
    assert message == f"{board.path}/{CPU}/policy4/scaling_governor: permission denied; setting it needs root"


def test_a_journal_that_cannot_be_written_changes_nothing(board, tmp_path):
    (tmp_path / "file").write_text("")
    found = board.state()
    holding, _ = hold(board, Journal(str(tmp_path / "file/journal")), FILES)
    with pytest.raises(AgentFailure, match="nothing was changed"):
        holding.hold()
    assert board.state() == found


def test_a_setting_that_does_not_take_puts_all_others_back(board, journal, monkeypatch):
    real = pins_module.knob

    def stubborn(entry, held=()):
        one = real(entry, held)
        if entry["what"] == "lowest clock of policy4":
            one.write = lambda value: None
        return one

    monkeypatch.setattr(pins_module, "knob", stubborn)
    assert "'1510400' was written, it still is '729600'" in refused(board, journal, FILES)


def test_what_somebody_else_set_meanwhile_is_left_and_said(board, journal):
    holding, told = hold(board, journal, {"governor": "performance"})
    holding.hold()
    board.write(f"{CPU}/policy4/scaling_governor", "powersave\n")
    told.clear()
    holding.release()
    assert board.read(f"{CPU}/policy0/scaling_governor") == "ondemand"
    assert board.read(f"{CPU}/policy4/scaling_governor") == "powersave"
    assert told[0][1]["ok"] is False
    assert "somebody else has set it to 'powersave'" in told[0][1]["why"]
    assert journal.books() == []


def test_a_lowest_clock_that_heat_holds_down_is_still_ours(board, journal):
    found = board.state()
    holding, told = hold(board, journal, {"clocks_locked": True})
    holding.hold()
    place = f"{CPU}/policy0"
    board.write(f"{place}/scaling_max_freq", "1000000\n")  # thermal pressure: the kernel shows the lowest no higher
    board.write(f"{place}/scaling_min_freq", "1000000\n")
    holding.release()
    assert board.read(f"{place}/scaling_min_freq") == "729600"
    assert all(detail["ok"] for name, detail in told if name == "restored")
    board.write(f"{place}/scaling_max_freq", "1510400\n")
    assert board.state() == found


def test_android_s_sustained_mode_is_held_and_ended(board, journal):
    board.android()
    holding, told = hold(board, journal, {"sustained": True})
    holding.hold()
    assert board.read("fixed") == "true"
    assert told[0][1]["verified"] is False  # Android has no way to ask for it
    holding.release()
    assert board.read("fixed") == "false"
    assert told[1][1]["ok"]


def test_a_phone_without_that_mode_says_so(board, journal):
    board.android(failing='echo "Failed to set FIXED_PERFORMANCE mode"; exit 0')
    assert "no fixed performance mode" in refused(board, journal, {"sustained": True})


def test_a_running_holder_is_left_alone_and_a_dead_one_put_back(board, journal, monkeypatch):
    found = board.state()
    holding, _ = hold(board, journal, {"governor": "performance"})
    holding.hold()
    assert journal.recover() == []
    assert board.read(f"{CPU}/policy0/scaling_governor") == "performance"
    holding.release()
    left_over(board, journal, {"clocks_locked": True}, monkeypatch)
    assert [entry["held"] for entry in journal.describe()["journal"]] == [False] * 3
    done = journal.recover()
    assert [result.ok for result in done] == [True] * 3
    assert board.state() == found
    assert journal.recover() == []
    assert [entry["what"] for entry in journal.describe()["restored"]] == [result.what for result in done]


def test_after_a_power_cut_files_are_void_and_the_mode_is_put_back(board, journal, monkeypatch):
    board.nvpmodel().booted("before")
    left_over(board, journal, {"power_mode": 1, "governor": "performance"}, monkeypatch)
    board.booted("after").clocks("powersave")  # as that boot made it, or a user since
    done = {result.what: result for result in journal.recover()}
    assert "restarted since" in done["governor of policy0"].why
    assert done["power mode"].ok
    assert board.read("var/lib/nvpmodel/status") == "pmode:0000"


def test_a_user_s_governor_set_while_the_mode_was_held_survives(board, journal, monkeypatch):
    board.nvpmodel()
    left_over(board, journal, {"power_mode": 1}, monkeypatch)
    board.write(f"{CPU}/policy4/scaling_max_freq", "900000\n")
    journal.recover()
    assert board.read(f"{CPU}/policy0/scaling_governor") == "ondemand"  # before the run
    assert board.read(f"{CPU}/policy4/scaling_max_freq") == "1510400"  # what the mode makes of it: not ours to know


def test_a_program_that_outlives_its_killed_holder_is_waited_for(board, journal):
    """The worst moment: nvpmodel is at work when the supervisor is killed, and changes the mode a second later."""
    board.nvpmodel(delay='touch "$root/working"; sleep 1')
    found = board.state()
    script = (
        "import sys\n"
        "from tests.device_agents.conditions.test_pins import *\n"
        "pins_module._start_watchdog = lambda *where: None\n"
        "from pathlib import Path\n"
        "hold(Board(Path(sys.argv[1])), Journal(sys.argv[2]), {'power_mode': 1})[0].hold()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(board.path), journal.folder],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        while not (board.path / "working").exists():
            assert process.poll() is None
        process.kill()
    assert board.read("var/lib/nvpmodel/status") == "pmode:0000"  # not yet
    journal.recover()
    assert board.state() == found


def test_what_cannot_be_put_back_now_stays_and_is_tried_again(board, journal, monkeypatch):
    found = board.state()
    left_over(board, journal, {"governor": "performance"}, monkeypatch)
    path = board.path / CPU / "policy0/scaling_governor"
    path.unlink()
    failed = [result for result in journal.recover() if not result.ok]
    assert [result.what for result in failed] == ["governor of policy0"]
    assert [entry["what"] for entry in journal.describe()["journal"]] == ["governor of policy0"]
    path.write_text("performance\n")
    assert journal.recover()[0].ok
    assert board.state() == found


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b'{"entries": 3}', b'{"entries": [3, {"kind": "x"}]}'])
def test_a_damaged_book_is_no_crash_and_not_in_the_way(journal, text):
    os.makedirs(journal.folder)
    with open(os.path.join(journal.folder, "1-a.json"), "wb") as file:
        file.write(text)
    journal.recover()
    assert journal.recover() == []
    assert journal.describe()["journal"] == []


def test_an_entry_of_no_kind_is_refused():
    for entry in ({}, {"kind": "file"}, {"kind": "file", "what": "x", "now": "y", "was": None}, {"kind": "rm"}):
        with pytest.raises(KnobError, match="not understood"):
            knob(entry)


def test_two_that_find_it_at_once_put_it_back_once(board, journal, monkeypatch):
    left_over(board, journal, {"governor": "performance"}, monkeypatch)
    with journal.changing():
        refused_now = journal.recover(limit_s=0.0)
    assert (refused_now[0].ok, refused_now[0].keep) == (False, True)
    assert len(journal.recover()) == 2
    assert journal.recover() == []


def test_the_events_of_what_was_left_over(board, journal, monkeypatch):
    left_over(board, journal, {"governor": "performance"}, monkeypatch)
    told = []
    recover_with(told.append, journal.folder)
    assert told[0] == {"what": "governor of policy4", "to": "ondemand", "ok": True, "why": None, "left_over": True}


def test_the_journal_of_an_agent_lies_in_its_working_folder(tmp_path, monkeypatch):
    assert own_journal() == os.path.expanduser("~/.edgewise/journal")
    agent = tmp_path / "work/agents/agent.zip"
    agent.parent.mkdir(parents=True)
    agent.write_text("")
    monkeypatch.setattr("device_agents.conditions.journal.code_path", lambda: str(agent))
    assert own_journal() == str(tmp_path / "work/journal")


def test_a_book_is_whole_on_the_disk_before_the_first_change(board, journal, monkeypatch):
    seen = []
    real = pins_module.Book.add

    def add(book, entries):
        real(book, entries)
        with open(book.path, encoding="ascii") as file:
            seen.append((json.load(file), board.read(f"{CPU}/policy0/scaling_governor")))

    monkeypatch.setattr(pins_module.Book, "add", add)
    holding, _ = hold(board, journal, {"governor": "performance"})
    holding.hold()
    holding.release()
    ((document, governor),) = seen
    assert governor == "ondemand"
    assert document["process"]["pid"] == os.getpid()
    assert document["entries"][0]["was"] == "ondemand"
    assert document["entries"][0]["now"] == "performance"
