"""The verbs about runs, as the command line calls them: arguments in, JSON or a stream out, an exit code."""

import argparse
import contextlib
import os
from typing import Any, Callable, Dict, Optional

from device_agents import records, runs
from device_agents.cli import MAX_ORDER_BYTES, agent_sha256, read_document, refuse
from device_agents.detach import Order, start
from device_agents.failures import AgentFailure
from device_agents.folder import RunFolder
from device_agents.lock import DeviceLock
from device_agents.processes import identity
from device_agents.stream import Stream


def _start(options: argparse.Namespace, stream_fd: Optional[int]) -> int:
    try:
        order = Order.from_json(options.runs, read_document(MAX_ORDER_BYTES))
        start(options.runs, order, stream_fd, agent_sha256())
    except AgentFailure as error:
        refuse(Stream(stream_fd), error)
        return records.NOT_STARTED
    if options.follow is None or stream_fd is None:
        return _say(stream_fd, {"type": "started", "runs": [job.folder.id for job in order.jobs]})
    return _follow(order.jobs[0].folder, 0, options.follow, stream_fd, None)


def _tail(options: argparse.Namespace, stream_fd: Optional[int]) -> int:
    if stream_fd is None:
        return 1
    try:
        folder = RunFolder(options.runs, options.ids[0])
    except AgentFailure:
        return records.NO_SUCH_RUN
    return _follow(folder, max(0, options.offset), options.follow, stream_fd, options.max_bytes)


def _follow(folder: RunFolder, offset: int, follow_s: float, stream_fd: int, max_bytes: Optional[int]) -> int:
    try:
        return runs.tail(folder, offset, follow_s, stream_fd, max_bytes)
    except OSError:  # the host is gone: it asks again from where it is, or it does not
        return 1


def _runs(options: argparse.Namespace, stream_fd: Optional[int]) -> int:
    return _say(stream_fd, {"type": "runs", **runs.listing(options.runs, options.ids)})


def _record(options: argparse.Namespace, stream_fd: Optional[int]) -> int:
    from device_agents.recording import Recorder

    return _say(stream_fd, Recorder(options.root).record(max(1.0, options.limit)))


def _link(options: argparse.Namespace, stream_fd: Optional[int]) -> int:
    from device_agents.split import link

    return _alone(options, stream_fd, link.answer_to)


def _codecs(options: argparse.Namespace, stream_fd: Optional[int]) -> int:
    from device_agents.split import coding

    return _alone(options, stream_fd, coding.answer_to)


def _alone(options: argparse.Namespace, stream_fd: Optional[int], act: Callable[[Any], Dict[str, Any]]) -> int:
    """What a short measurement answers to the order on standard input, while it has the device to itself."""
    lock = DeviceLock(options.runs)
    try:
        order = read_document(MAX_ORDER_BYTES)
        owner = order.get("owner") if isinstance(order, dict) else None
        os.makedirs(options.runs, exist_ok=True)
        lock.acquire(identity(), owner if isinstance(owner, dict) else {}, options.verb)
    except AgentFailure as error:
        return _say(stream_fd, {"type": options.verb, "error": {"kind": error.code, "message": error.message}})
    except OSError as error:
        words = "{}: {}".format(options.runs, error.strerror or error)
        return _say(stream_fd, {"type": options.verb, "error": {"kind": "no-folder", "message": words}})
    try:
        return _say(stream_fd, {"type": options.verb, **act(order)})
    finally:
        lock.release()


def _stop(options: argparse.Namespace, stream_fd: Optional[int]) -> int:
    for run_id in options.ids:  # all at once: else the second begins when the first has ended
        with contextlib.suppress(AgentFailure, OSError):  # said below
            runs.ask_to_stop(RunFolder(options.runs, run_id))
    return _each(options, stream_fd, lambda folder: runs.stop(folder, options.wait))


def _remove(options: argparse.Namespace, stream_fd: Optional[int]) -> int:
    def remove(folder: RunFolder) -> bool:
        runs.remove(folder)
        return True

    return _each(options, stream_fd, remove)


def _each(options: argparse.Namespace, stream_fd: Optional[int], act: Callable[[RunFolder], bool]) -> int:
    """0 when it worked for every run named; the answer says for each whether, and what kept it."""
    answers: Dict[str, Optional[str]] = {}
    for run_id in options.ids:
        try:
            answers[run_id] = None if act(RunFolder(options.runs, run_id)) else "it still goes on"
        except AgentFailure as error:
            answers[run_id] = error.message
        except OSError as error:
            answers[run_id] = "{}".format(error.strerror)
    code = _say(stream_fd, {"type": options.verb, "problems": answers})
    return code or int(any(problem is not None for problem in answers.values()))


def _say(stream_fd: Optional[int], document: Dict[str, object]) -> int:
    if stream_fd is None:
        return 1
    try:
        runs.write_json(stream_fd, document)
    except OSError:
        return 1
    return 0


VERBS: Dict[str, Callable[[argparse.Namespace, Optional[int]], int]] = {
    "record": _record,
    "link": _link,
    "codecs": _codecs,
    "start": _start,
    "runs": _runs,
    "tail": _tail,
    "stop": _stop,
    "remove": _remove,
}
