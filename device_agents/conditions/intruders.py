"""What else keeps the device busy: CPU time of processes that are not ours, by the kernel's own accounts (proc(5))."""

import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from device_agents.sensors.files import read_text, under

LIMIT = 0.2  # CPU seconds a second, of one core: above, it is said
LEAST_S = 0.2  # a shorter look tells nothing: the kernel counts in ticks of 10 ms
MOST_PROCESSES = 4096
TOP = 3
CANDIDATES = 8  # of the busiest, those that are edgewise's own (a host on this machine, a `tail`) are left out
OWN_WORDS = ("device_agents", "edgewise")
TICKS = os.sysconf("SC_CLK_TCK")
STAT_BYTES = 1024 * 1024


class Account(NamedTuple):
    """CPU time so far, seconds: of the machine, taken by its hypervisor, and of each process that can be seen."""

    at_s: float
    busy_s: Optional[float]
    steal_s: float
    processes: Dict[int, "Process"]


class Process(NamedTuple):
    """One process: name, parent, start in ticks after boot, CPU seconds, and those of children that it waited for."""

    name: str
    parent: int
    start: int
    cpu_s: float
    children_s: float = 0.0


def account(root: str = "/") -> Account:
    """The accounts as of now; ``busy_s`` is None where the kernel does not show them."""
    busy_s, steal_s = parse_total(read_text(under(root, "/proc/stat"), STAT_BYTES) or "")
    processes: Dict[int, Process] = {}
    if busy_s is not None:
        try:
            names = os.listdir(under(root, "/proc"))
        except OSError:
            names = []
        for number in [name for name in names if name.isdigit()][:MOST_PROCESSES]:
            found = parse_process(read_text(under(root, "/proc/{}/stat".format(number)), 4096) or "")
            if found is not None:
                processes[int(number)] = found
    return Account(time.monotonic(), busy_s, steal_s, processes)


def parse_total(text: str) -> Tuple[Optional[float], float]:
    """(busy, stolen) CPU seconds of the first line of /proc/stat; busy None when there is none.

    user, nice, system, irq and softirq are busy (guests are in user already); idle and iowait are not.

    >>> parse_total("cpu  100 0 50 1000 10 5 5 20 0 0")
    (1.6, 0.2)
    """
    words = text.splitlines()[0].split() if text else []
    if len(words) < 5 or words[0] != "cpu" or not all(_is_count(word) for word in words[1:9]):
        return None, 0.0
    numbers = [int(word) for word in words[1:9]] + [0] * 8
    user, nice, system, _, _, irq, softirq, steal = numbers[:8]
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def parse_process(text: str) -> Optional[Process]:
    """The process of one /proc/PID/stat line; None when it is none. Names may hold blanks and parentheses."""
    before, found, after = text.rpartition(")")
    words = after.split()
    name = before.partition("(")[2]
    if not found or len(words) < 20 or not all(_is_count(words[place]) for place in (1, 11, 12, 13, 14, 19)):
        return None
    shown = "".join(char for char in name if char.isprintable())[:64]
    own, children = int(words[11]) + int(words[12]), int(words[13]) + int(words[14])
    return Process(shown, int(words[1]), int(words[19]), own / TICKS, children / TICKS)


def compare(before: Account, after: Account, own_pid: int, root: str = "/") -> Dict[str, Any]:
    """share, steal, over, limit, processes and why of the time between two accounts; see events.py.

    Ours are the process ``own_pid`` and all it started. What began and ended in between is in the share, without a
    name.
    """
    result: Dict[str, Any] = {"share": None, "steal": None, "over": False, "limit": LIMIT, "processes": [], "why": None}
    seconds = after.at_s - before.at_s
    if before.busy_s is None or after.busy_s is None:
        return dict(result, why="the kernel does not show /proc/stat to this user")
    if seconds < LEAST_S:
        return dict(result, why="{:.2f} s is too short to tell".format(seconds))
    spent = {
        number: process.cpu_s - _earlier(before, number, process).cpu_s for number, process in after.processes.items()
    }
    ours = _family(after.processes, own_pid)
    busiest = sorted((one for one in spent if one not in ours and spent[one] > 0.0), key=lambda one: -spent[one])
    ours |= {number for number in busiest[:CANDIDATES] if _is_edgewise(number, root)}
    # Children that have ended (the worker, a sensor's programs) are in the account of who waited for them.
    own_s = sum(
        spent[number]
        + after.processes[number].children_s
        - _earlier(before, number, after.processes[number]).children_s
        for number in ours
        if number in spent
    )
    share = max(0.0, (after.busy_s - before.busy_s - own_s) / seconds)
    steal = max(0.0, (after.steal_s - before.steal_s) / seconds)
    named = [number for number in busiest if number not in ours][:TOP]
    processes = [{"name": after.processes[number].name, "share": spent[number] / seconds} for number in named]
    why = None if processes or share <= LIMIT else "this user does not see the processes of others"
    over = share > LIMIT or steal > LIMIT
    return dict(result, share=share, steal=steal, over=over, processes=processes, why=why)


def describe(found: Dict[str, Any]) -> str:
    """One line for a failure: how busy, and who."""
    who: List[str] = ["{} {:.0%}".format(entry["name"], entry["share"]) for entry in found["processes"]]
    text = "other processes take {:.0%} of a core".format(found["share"])
    if found["steal"] > LIMIT:
        text += ", the hypervisor {:.0%}".format(found["steal"])
    return text + (": " + ", ".join(who) if who else "")


def _earlier(before: Account, number: int, process: Process) -> Process:
    then = before.processes.get(number)
    return then if then is not None and then.start == process.start else process._replace(cpu_s=0.0, children_s=0.0)


def _family(processes: Dict[int, Process], own_pid: int) -> Set[int]:
    children: Dict[int, List[int]] = {}
    for number, process in processes.items():
        children.setdefault(process.parent, []).append(number)
    found, waiting = {own_pid}, [own_pid]
    while waiting:
        for number in children.get(waiting.pop(), []):
            if number not in found:
                found.add(number)
                waiting.append(number)
    return found


def _is_edgewise(number: int, root: str) -> bool:
    line = read_text(under(root, "/proc/{}/cmdline".format(number)), 4096) or ""
    return any(word in line for word in OWN_WORDS)


def _is_count(word: str) -> bool:
    return word.isdigit() and word.isascii() and len(word) <= 20
