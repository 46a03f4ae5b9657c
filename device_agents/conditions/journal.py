"""The journal of changed settings: on the device's disk before a setting is changed, gone once it is put back.

::

    JOURNAL/<pid>-<any>.json     one book for each run that holds settings: whose it is, which boot, its entries
    JOURNAL/lock                 held while settings are changed or put back; programs that are started hold it too
    JOURNAL/restored.jsonl       what was put back for runs that were cut, the newest last

A book whose process is alive is that process's own. Any other is put back by whoever finds it first.
"""

import contextlib
import errno
import fcntl
import json
import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from device_agents.child import code_path
from device_agents.conditions.knobs import Entry, KnobError, PutBack, knob
from device_agents.failures import AgentFailure
from device_agents.folder import read_document, sync_folder, write_document
from device_agents.processes import Identity, age_s, boot_id, is_alive, moment
from device_agents.sensors.files import read_label, reason_of, under

FOLDER, LOCK, RESTORED = "journal", "lock", "restored.jsonl"
SCHEMA = 1
LOCK_LIMIT_S = 40.0  # longer than the slowest program may take
POLL_S = 0.05
KEPT_LINES = 50
MAX_BOOKS = 1000
BUSY = (errno.EWOULDBLOCK, errno.EACCES)


def journal_of(runs: str) -> str:
    """The journal beside a folder of runs."""
    return os.path.join(os.path.dirname(os.path.abspath(runs)), FOLDER)


def own_journal() -> str:
    """The journal of this agent where no folder of runs was named: in the working folder that its zip lies in."""
    place = code_path()
    if os.path.isfile(place) and os.path.basename(os.path.dirname(place)) == "agents":
        return os.path.join(os.path.dirname(os.path.dirname(place)), FOLDER)
    return os.path.join(os.path.expanduser("~"), ".edgewise", FOLDER)


def boot_of(root: str) -> Optional[str]:
    """The boot of the device below ``root``: a recorded tree may have its own."""
    return read_label(under(root, "/proc/sys/kernel/random/boot_id")) if root != "/" else boot_id()


class Book:
    """The entries of one run."""

    def __init__(self, path: str, document: Dict[str, Any]) -> None:
        self.path = path
        self._document = document

    @property
    def entries(self) -> List[Entry]:
        """The settings that are, or may be, changed; in the order in which they were."""
        entries = self._document.get("entries")
        return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []

    @property
    def root(self) -> str:
        """Where the device's files are."""
        return str(self._document.get("root") or "/")

    @property
    def process(self) -> Any:
        """Whose it is."""
        return self._document.get("process")

    def same_boot(self) -> Optional[bool]:
        """False when the device has restarted since; None when that is not known."""
        then, now = self._document.get("boot_id"), boot_of(self.root)
        return None if then is None or now is None else bool(then == now)

    def add(self, entries: List[Entry]) -> None:
        """Nothing, once the entries are on the disk. OSError when they are not: then nothing may be changed."""
        self._document["entries"] = self.entries + entries
        self.save()

    def save(self) -> None:
        """Nothing, once the book is on the disk, or gone from it when it has no entries."""
        folder = os.path.dirname(self.path)
        if self.entries:
            write_document(self.path, self._document)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        sync_folder(folder)

    def put_back(self, held_fds: List[int]) -> List[PutBack]:
        """What became of the entries, the last changed first. What could not be put back stays in the book."""
        done: List[PutBack] = []
        kept: List[Entry] = []
        for entry in reversed(self.entries):
            try:
                result = knob(entry, held_fds).put_back(self.same_boot(), self.save)
            except KnobError as error:
                result = PutBack(str(entry)[:80], None, False, str(error), keep=False)
            except OSError as error:  # the journal's disk is full or gone: nothing of this entry was changed
                result = PutBack(str(entry["what"]), None, False, "the journal: " + reason_of(error), keep=True)
            done.append(result)
            if result.keep:
                kept.insert(0, entry)
        self._document["entries"] = kept
        with contextlib.suppress(OSError):  # then it is put back once more, which changes nothing
            self.save()
        return done

    def describe(self) -> List[Dict[str, Any]]:
        """Its entries for `runs`: what, was, now, held (a run holds it at this moment), age_s."""
        held, age = is_alive(self.process), age_s(self._document.get("made"))
        return [
            {"what": entry.get("what"), "was": entry.get("was"), "now": entry.get("now"), "held": held, "age_s": age}
            for entry in self.entries
        ]


class Journal:
    """The journal in one folder, there or not."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)

    def new_book(self, process: Identity, root: str) -> Book:
        """An empty book of this process; it is on the disk with its first entries. AgentFailure without a folder."""
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise no_journal(self.folder, error) from error
        name = "{}-{}.json".format(process["pid"], os.urandom(4).hex())
        about = {"schema": SCHEMA, "process": process, "boot_id": boot_of(root), "root": root, "made": moment()}
        return Book(os.path.join(self.folder, name), {**about, "entries": []})

    def books(self) -> List[Book]:
        """All books, in the order of their names. A damaged one has no entries."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if name.endswith(".json"))
        except OSError:
            return []
        paths = [os.path.join(self.folder, name) for name in names[:MAX_BOOKS]]
        return [Book(path, read_document(path)) for path in paths]

    def describe(self) -> Dict[str, Any]:
        """{journal: entries that are not put back, restored: what was put back for runs that were cut, newest last}."""
        entries = [entry for book in self.books() for entry in book.describe()]
        return {"journal": entries, "restored": self._restored()}

    @contextlib.contextmanager
    def changing(self, limit_s: float = LOCK_LIMIT_S) -> Iterator[List[int]]:
        """While inside, nobody else changes a setting; gives the descriptors that programs are to hold meanwhile.

        A program that outlives its killed supervisor thus keeps others waiting until it has done what it does.
        AgentFailure "busy" when that takes longer than ``limit_s``. Without such locks there it goes on.
        """
        try:
            os.makedirs(self.folder, exist_ok=True)
            fd = os.open(os.path.join(self.folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise no_journal(self.folder, error) from error
        try:
            _wait_for(fd, limit_s)
            yield [fd]
        finally:
            os.close(fd)

    def recover(self, limit_s: float = LOCK_LIMIT_S, only: Optional[str] = None) -> List[PutBack]:
        """What was put back of runs that are gone, and what could not be. Never raises. ``only``: one book's path.

        That book's process is known to be gone.
        """
        if not self._left_over(only):
            return []
        done: List[PutBack] = []
        try:
            with self.changing(limit_s) as held:
                for book in self._left_over(only):  # again: another may have been faster
                    done += book.put_back(held)
                    _drop_damaged(book)
                self._note(done)
        except AgentFailure as error:
            done.append(PutBack("the settings of an earlier run", None, False, error.message, keep=True))
        return done

    def _left_over(self, only: Optional[str]) -> List[Book]:
        if only is not None:
            return [book for book in self.books() if book.path == only]
        return [book for book in self.books() if not is_alive(book.process)]

    def _note(self, done: List[PutBack]) -> None:
        if not done:
            return
        path = os.path.join(self.folder, RESTORED)
        lines = [json.dumps({**result.to_json(), "when": moment()}) for result in done]
        with contextlib.suppress(OSError):
            kept = (_lines(path) + lines)[-KEPT_LINES:]
            temporary = path + ".part"
            with open(temporary, "w", encoding="ascii") as file:
                file.write("".join(line + "\n" for line in kept))
            os.rename(temporary, path)

    def _restored(self) -> List[Dict[str, Any]]:
        found = []
        for line in _lines(os.path.join(self.folder, RESTORED)):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                found.append({**entry, "age_s": age_s(entry.pop("when", None))})
        return found


def no_journal(folder: str, error: OSError) -> AgentFailure:
    """The failure of a journal that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return AgentFailure(
        "pin-failed",
        "the journal {} cannot be written: {}; nothing was changed".format(folder, reason_of(error)),
        "Free some space on the device." if full else "Make the working folder writable for this user.",
    )


def _drop_damaged(book: Book) -> None:
    """A book that cannot be read tells nothing to anybody: it is set aside."""
    if not book.entries and os.path.exists(book.path):
        with contextlib.suppress(OSError):
            os.rename(book.path, book.path + ".damaged")


def _wait_for(fd: int, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in BUSY:
                return None
        if time.monotonic() >= end:
            raise AgentFailure("busy", "another process has been changing settings for {:g} s".format(limit_s))
        time.sleep(POLL_S)


def _lines(path: str) -> List[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(1024 * 1024).splitlines()
    except OSError:
        return []


def recover_with(emit: Callable[[Dict[str, Any]], None], folder: str, limit_s: float = LOCK_LIMIT_S) -> None:
    """Nothing; ``emit`` gets the detail of an event "restored" for each setting that an earlier run had left."""
    for result in Journal(folder).recover(limit_s):
        emit(dict(result.to_json(), left_over=True))


def main(argv: List[str]) -> int:
    """The watchdog: waits until its standard input ends, then puts back what that book still has. Always 0."""
    folder, book = argv
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while os.read(0, 4096):
        pass
    Journal(folder).recover(only=book)
    return 0
