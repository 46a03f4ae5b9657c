"""What a runner is: one artifact loaded, one inference at a time.

The worker calls, in this order: ``start`` (imports the runtime), ``load``, ``inputs``, ``bind``, then ``prepare`` and
``invoke`` as often as the spec asks, ``output_top1`` after an ``invoke`` of an evaluation, and ``close``. All of it
happens in the worker's main thread. A runner raises AgentFailure for whatever it can name;
foreign exceptions do not leave it.
"""

from typing import Any, Dict, List, Optional, Tuple

from device_agents.failures import AgentFailure
from device_agents.spec import AgentSpec

Shapes = Dict[str, Tuple[int, ...]]


class Runner:
    """The base of every runner: what is not overridden does nothing and costs nothing."""

    name = ""
    #: Names of the stages of one inference; a runner with stages fills ``last_stages`` (ns by name) in ``invoke``.
    stages: Tuple[str, ...] = ()
    #: Names of what else is told of each inference; a runner with notes fills ``last_notes`` (a number, or None where
    #: there is none) in ``invoke``. What the numbers are stands in its ``summary``.
    notes: Tuple[str, ...] = ()
    #: True for a program that times itself: ``invoke`` is called once, and ``summary`` has its figures afterwards.
    summary_only = False
    #: True where outputs have the batch as their first axis; False for results of the user's own function.
    batched = True
    #: True for a runner that applies the spec's ``slow_down`` itself, to a part of what an inference takes.
    slows_itself = False

    def __init__(self) -> None:
        self.last_stages: Dict[str, int] = {}
        self.last_notes: Dict[str, Optional[float]] = {}
        self.summary: Optional[Dict[str, Any]] = None

    def start(self, spec: AgentSpec) -> None:
        """Nothing, once the runtime is imported. AgentFailure "missing-runtime" when it is not there.

        Apart from ``load``, because the memory that a model takes is counted from here, and load time is the model's.
        """

    def load(self, spec: AgentSpec) -> Dict[str, Any]:
        """The detail of the ``loaded`` event: runtime {name, version}, provider, providers [], node_share, inputs [],
        outputs [], model_bytes; the worker adds load_s. AgentFailure names what is wrong with the model.
        """
        raise NotImplementedError

    def inputs(self) -> List[Dict[str, Any]]:
        """The model's inputs: name, dtype (numpy's name, or the runtime's own where numpy has none), shape.

        A dimension is a number, a name (bound by the spec's ``dims``), or None where it is free without a name.
        """
        return []

    def bind(self, shapes: Shapes) -> None:
        """Nothing, once the model is ready for inputs of these shapes (part of load time)."""

    def prepare(self, arrays: Dict[str, Any]) -> None:
        """Nothing, once the next ``invoke`` uses these arrays (by input name). Not part of an invocation's time."""

    def invoke(self) -> None:
        """Nothing, once one inference is done."""
        raise NotImplementedError

    def output_top1(self) -> List[int]:
        """The arg-max over the last axis of the first output of the last ``invoke``: a class per item."""
        raise AgentFailure("bad-spec", "runner {!r} has no outputs to evaluate".format(self.name))

    def output_arrays(self) -> Dict[str, Any]:
        """The outputs of the last ``invoke`` by name: numpy arrays that are valid until the next one."""
        raise AgentFailure("bad-spec", "runner {!r} has no outputs to evaluate".format(self.name))

    def finish(self) -> None:
        """Nothing, once ``summary`` says what there is to say of the whole run; called after the last invocation."""

    def close(self) -> None:
        """Nothing, once the runtime's resources are given back. May be called at any time, and twice."""
