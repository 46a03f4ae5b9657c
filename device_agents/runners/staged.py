"""The user's own steps around a model: ``preprocess(item) -> inputs``, inference, ``postprocess(outputs) -> result``.

An invocation is all of them; each is a stage with its own time. The file is Python of the user's, which runs here with
numpy, and only because somebody asked for it. An item is one row of every array of the .npz file, read-only, under the
array's name. ``preprocess`` returns {input name: array} with the model's own shapes; ``postprocess`` is given {output
name: array} and returns an array, a text, a number, or {name: one of these}.

The stage "inference" is what lies between: handing over the inputs, the runtime's own call, and fetching the outputs.
"""

import contextlib
import importlib.util
import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from device_agents.failures import AgentFailure
from device_agents.npz import file_arrays
from device_agents.runners.base import Runner, Shapes
from device_agents.runners.ort import top1
from device_agents.spec import AgentSpec

MODULE = "edgewise_stages"
RESULT = "result"  # the name of a result that has none
BEFORE, BETWEEN, AFTER = "preprocess", "inference", "postprocess"
MOST_CHARACTERS = 300  # of what the user's code says

Function = Callable[[Any], Any]


class StagedRunner(Runner):
    """A runner with the user's functions around it; what they raise is a failure "stages-failed"."""

    def __init__(self, inner: Runner) -> None:
        super().__init__()
        self.name = inner.name
        self._inner = inner
        self._before: Optional[Function] = None
        self._after: Optional[Function] = None
        self._items: List[Dict[str, Any]] = []
        self._given: Dict[str, Any] = {}
        self._shapes: Shapes = {}
        self._outputs: Dict[str, Any] = {}

    def start(self, spec: AgentSpec) -> None:
        """Nothing, once the runtime and the user's file are imported, and it is known which stages there are."""
        self._inner.start(spec)
        self._before, self._after = load_functions(str(spec.stages))
        if self._before is not None and spec.inputs["kind"] != "npz":
            raise AgentFailure("bad-spec", "preprocess needs items: inputs of kind 'npz', not random ones")
        if self._before is not None:
            self._items = file_arrays(spec.inputs["path"])
        stages = ((BEFORE, self._before), (BETWEEN, True), (AFTER, self._after))
        self.stages = tuple(name for name, there in stages if there)
        self.batched = self._after is None

    def load(self, spec: AgentSpec) -> Dict[str, Any]:
        """The inner runner's detail, with the stages. Tensors of the items' shapes are allocated before the first."""
        return dict(self._inner.load(spec), stages=list(self.stages))

    def inputs(self) -> List[Dict[str, Any]]:
        """What an item consists of where there is a ``preprocess``, else the model's inputs."""
        return self._items if self._before is not None else self._inner.inputs()

    def bind(self, shapes: Shapes) -> None:
        """Nothing, once the model is ready for these shapes; with ``preprocess`` they are known from the first item."""
        if self._before is None:
            self._inner.bind(shapes)

    def prepare(self, arrays: Dict[str, Any]) -> None:
        """Nothing, once the next ``invoke`` is about this item."""
        if self._before is None:
            self._inner.prepare(arrays)
            return
        self._given = {name: _row(array) for name, array in arrays.items()}
        if not self._shapes:
            self._bind_for(self._feed())

    def invoke(self) -> None:
        """Nothing, once the item is through all stages."""
        clock = time.monotonic_ns
        begin = clock()
        if self._before is not None:
            feed = self._feed()
            ready = clock()
            self._bind_for(feed)
            self._inner.prepare(feed)
            self.last_stages[BEFORE] = ready - begin
            begin = ready
        self._inner.invoke()
        outputs = self._inner.output_arrays() if self._after is not None else None
        ended = clock()
        self.last_stages[BETWEEN] = ended - begin
        if self._after is not None:
            with told(AFTER):
                result = self._after(outputs)
            self.last_stages[AFTER] = clock() - ended
            self._outputs = named(result)

    def output_arrays(self) -> Dict[str, Any]:
        """What ``postprocess`` returned for the last item, else the model's outputs."""
        return self._outputs if self._after is not None else self._inner.output_arrays()

    def output_top1(self) -> List[int]:
        """The class that ``postprocess`` returned (a whole number), or the arg-max of what it returned."""
        if self._after is None:
            return self._inner.output_top1()
        first = next(iter(self._outputs.values()))
        if not isinstance(first, str) and first.size == 1 and first.dtype.kind in "iu":
            return [int(first.reshape(-1)[0])]
        if isinstance(first, str):
            raise AgentFailure("unsupported-model", "postprocess returned a text, which is no class")
        return top1(first)

    def close(self) -> None:
        """Nothing, once the inner runner's resources are given back."""
        self._inner.close()
        sys.modules.pop(MODULE, None)

    def _feed(self) -> Dict[str, Any]:
        import numpy

        assert self._before is not None  # prepare() and invoke() ask first
        with told(BEFORE):
            feed = self._before(self._given)
            if isinstance(feed, dict):
                feed = {str(name): numpy.ascontiguousarray(array) for name, array in feed.items()}
        wanted = {entry["name"]: entry["dtype"] for entry in self._inner.inputs()}
        if not isinstance(feed, dict) or feed.keys() != wanted.keys():
            what = ", ".join(sorted(feed)) if isinstance(feed, dict) else type(feed).__name__
            raise AgentFailure(
                "stages-failed",
                "preprocess returned {}, the model's inputs are {}".format(what or "nothing", ", ".join(wanted)),
            )
        for name, array in feed.items():
            if array.dtype.name != wanted[name]:
                words = "preprocess returned {} as {}, the model expects {}"
                raise AgentFailure("stages-failed", words.format(name, array.dtype.name, wanted[name]))
        return feed

    def _bind_for(self, feed: Dict[str, Any]) -> None:
        shapes = {name: tuple(array.shape) for name, array in feed.items()}
        if shapes != self._shapes:
            self._inner.bind(shapes)
            self._shapes = shapes


def load_functions(path: str) -> List[Optional[Function]]:
    """[preprocess, postprocess] of a Python file, None for one that it has not.

    AgentFailure "missing-runtime" without numpy, "stages-failed" when the file cannot be imported or has neither.
    """
    try:
        import numpy  # noqa: F401  (the user's functions get its arrays)
    except ImportError as error:
        raise AgentFailure("missing-runtime", "stages need numpy on the device: {}".format(error)) from error
    with told("importing " + os.path.basename(path)):
        spec = importlib.util.spec_from_file_location(MODULE, path)
        if spec is None or spec.loader is None:
            raise ImportError("it is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[MODULE] = module
        spec.loader.exec_module(module)
    found = [getattr(module, name, None) for name in (BEFORE, AFTER)]
    functions: List[Optional[Function]] = [one if callable(one) else None for one in found]
    if functions == [None, None]:
        raise AgentFailure("stages-failed", "the file of stages has neither preprocess nor postprocess")
    return functions


@contextlib.contextmanager
def told(stage: str) -> Iterator[None]:
    """Whatever the user's code raises becomes a failure that names the stage and the line."""
    try:
        yield
    except AgentFailure:
        raise
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        text = " ".join(str(error).split())[:MOST_CHARACTERS]
        words = "{}: {}: {}{}".format(stage, type(error).__name__, text, _line(error))
        raise AgentFailure("stages-failed", words) from error


def named(result: Any) -> Dict[str, Any]:
    """What ``postprocess`` returned, as arrays and texts by name. AgentFailure "stages-failed" for anything else."""
    import numpy

    values = result if isinstance(result, dict) else {RESULT: result}
    found: Dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(value, str):
            with told("what postprocess returned as {!r}".format(name)):
                value = numpy.asarray(value)
            if value.dtype.kind not in "biuf":
                words = "postprocess returned {!r} as {}, expected numbers or text"
                raise AgentFailure("stages-failed", words.format(name, value.dtype))
        found[str(name)] = value
    if not found:
        raise AgentFailure("stages-failed", "postprocess returned nothing")
    return found


def _row(array: Any) -> Any:
    """The one item of a batch of one, as a view that cannot be written to: the next round needs it as it was."""
    row = array.reshape(array.shape[1:])
    row.flags.writeable = False
    return row


def _line(error: BaseException) -> str:
    """The last line of the user's file in the traceback, as " (line 12)"."""
    number, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == MODULE:
            number = trace.tb_lineno
        trace = trace.tb_next
    return "" if number is None else " (line {})".format(number)
