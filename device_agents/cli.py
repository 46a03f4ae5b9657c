"""The agent's verbs.

``run``: a spec on standard input, records on standard output. ``facts``: one ``hello`` record. ``record``: all that the
readers look at, as one JSON object. ``start``: runs that outlive the connection; ``runs``, ``tail``, ``stop``,
``remove`` are about those. ``link`` and ``codecs``: an order on standard input, what the way to a server and coding
take as one JSON object.
"""

import argparse
import contextlib
import hashlib
import json
import os
import signal
import sys
from typing import Any, Dict, Iterator, List, Optional

from device_agents.failures import AgentFailure
from device_agents.records import Record, done, event, failure, hello
from device_agents.spec import AgentSpec
from device_agents.stream import Stream, take_stdout

MAX_SPEC_BYTES = 1024 * 1024
MAX_ORDER_BYTES = 16 * 1024 * 1024
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def main(argv: Optional[List[str]] = None) -> int:
    """The exit code: 0 completed, 1 failed, 130 stopped. Usage errors exit with 2."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["worker"]:
        from device_agents.worker import main as worker_main

        return worker_main(arguments[1:])
    if arguments[:1] == ["nodes"]:
        from device_agents.runners.ort_nodes import main as nodes_main

        return nodes_main(arguments[1:])
    if arguments[:1] == ["watchdog"]:
        from device_agents.conditions.journal import main as watchdog_main

        return watchdog_main(arguments[1:])
    options = _parser().parse_args(arguments)
    stream_fd = take_stdout()
    if options.verb == "facts":
        return _facts(stream_fd, options.root)
    if options.verb == "run":
        return _run(stream_fd)
    from device_agents.verbs import VERBS

    return VERBS[options.verb](options, stream_fd)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgewise-agent", description="Measures a model on this device.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    verbs.required = True
    verbs.add_parser("run", help="reads a spec (JSON) from standard input, writes records to standard output")
    facts = verbs.add_parser("facts", help="writes one record with the device's facts, runtimes and sensors")
    facts.add_argument("--root", default="/", help="where sensors and facts are looked for")
    record = verbs.add_parser("record", help="writes one line (JSON): all that the readers look at on this board")
    record.add_argument("--root", default="/", help="where sensors and facts are looked for")
    record.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="stops after so long")
    start = verbs.add_parser("start", help="reads runs (JSON) from standard input and measures them, connected or not")
    start.add_argument("--follow", type=float, metavar="SECONDS", help="writes the stream of the first run, so long")
    runs = verbs.add_parser("runs", help="writes one line (JSON): the runs kept here, and who holds the lock")
    runs.add_argument("ids", nargs="*", metavar="RUN")
    tail = verbs.add_parser("tail", help="writes a run's stream from an offset on")
    tail.add_argument("--from", dest="offset", type=int, default=0, metavar="BYTES")
    tail.add_argument("--follow", type=float, default=0.0, metavar="SECONDS", help="waits for more, so long")
    tail.add_argument("--max-bytes", type=int, metavar="BYTES")
    stop = verbs.add_parser("stop", help="ends runs; what they have measured is kept")
    stop.add_argument("--wait", type=float, default=10.0, metavar="SECONDS")
    remove = verbs.add_parser("remove", help="removes runs that are over")
    for verb in (tail, stop, remove):
        verb.add_argument("ids", nargs=1 if verb is tail else "+", metavar="RUN")
    link = verbs.add_parser("link", help="reads an order (JSON), writes one line (JSON): the way to an edge server")
    codecs = verbs.add_parser("codecs", help="reads an order (JSON), writes one line (JSON): what codecs take here")
    for verb in (start, runs, tail, stop, remove, link, codecs):
        verb.add_argument("--runs", required=True, metavar="FOLDER", help="the folder with all runs")
    return parser


def _facts(stream_fd: Optional[int], root: str) -> int:
    from device_agents.conditions import events
    from device_agents.conditions.journal import own_journal, recover_with
    from device_agents.facts import device_facts
    from device_agents.sensors import find_sensors

    left_over: List[Record] = []
    recover_with(lambda detail: left_over.append(event(events.RESTORED, **detail)), own_journal())
    _, descriptors = find_sensors(root)
    stream = Stream(stream_fd)
    stream.emit(hello(device_facts(root, probe_runtimes=True), descriptors, None, agent_sha256()))
    for record in left_over:
        stream.emit(record)
    return 1 if stream.broken else 0


def _run(stream_fd: Optional[int]) -> int:
    from device_agents.supervisor import EXIT_CODES, Supervisor

    try:
        spec = read_spec()
        path = None if spec.run_dir is None else os.path.join(spec.run_dir, "stream.jsonl")
        stream = Stream(stream_fd, path)
    except AgentFailure as error:
        return refuse(Stream(stream_fd), error)
    supervisor = Supervisor(spec, stream, agent_sha256())
    with _stop_signals(supervisor, detached=spec.run_dir is not None):
        outcome = supervisor.run()
        stream.close()
    return EXIT_CODES[outcome]


def refuse(stream: Stream, error: AgentFailure) -> int:
    """1, once the stream says, whole, that nothing was begun, and why."""
    stream.emit(hello({}, [], None, agent_sha256()))
    stream.emit(failure(error.code, error.message, error.hint, "spec"))
    memory: Dict[str, Optional[int]] = {"before_load": None, "after_load": None, "peak_rss": None}
    overhead = {
        "sampler_cpu_s": None,
        "sampler_cpu_share": None,
        "ticks": 0,
        "missed_ticks": 0,
        "supervisor_cpu_s": None,
    }
    stream.emit(done("failed", 0, memory, overhead))
    return 1


def read_spec() -> AgentSpec:
    """The spec on standard input. AgentFailure "bad-spec" when it is no JSON object of a spec."""
    return AgentSpec.from_json(read_document(MAX_SPEC_BYTES))


def read_document(limit_bytes: int) -> Any:
    """The JSON on standard input. AgentFailure "bad-spec" when it is none, or too long."""
    data = b"" if sys.stdin is None else sys.stdin.buffer.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise AgentFailure("bad-spec", "the spec is over {} bytes".format(limit_bytes))
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise AgentFailure("bad-spec", "the spec is not JSON: {}".format(error)) from error


def _no_constant(name: str) -> None:
    raise ValueError("{} is no number of JSON".format(name))


def agent_sha256() -> Optional[str]:
    """The SHA-256 of the zip that this code runs from; None when it runs from a folder."""
    container = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not os.path.isfile(container):
        return None
    digest = hashlib.sha256()
    with open(container, "rb") as file:
        for block in iter(lambda: file.read(1024 * 1024), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _stop_signals(supervisor: Any, detached: bool) -> Iterator[None]:
    """Signals that ask for an end stop the run; one with a run folder goes on when its terminal is gone (SIGHUP)."""

    def handle(number: int, frame: Any) -> None:
        supervisor.stop(signal.Signals(number).name)

    before = {}
    for name in STOP_SIGNALS:
        number = getattr(signal, name)
        ignored = detached and name == "SIGHUP"
        before[number] = signal.signal(number, signal.SIG_IGN if ignored else handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
