"""The parts that run on this machine: onnxruntime sessions of a package's files, checked by hash."""

import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from device_agents.failures import AgentFailure
from device_agents.runners import ort, ort_errors
from device_agents.slow import stretch
from device_agents.spec import AgentSpec
from device_agents.split.package import Package, PackageError, Part, Placement, check_part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = Dict[str, NDArray[Any]]


class Stop:
    """Ends a computation that is not needed any more: at once between two operators, else when the operator ends."""

    def __init__(self) -> None:
        self._asked = False
        self._options: Any = None

    def ask(self) -> None:
        """Nothing; it ends soon, from whatever thread this is asked."""
        self._asked = True
        if self._options is not None:
            self._options.terminate = True

    def asked(self) -> bool:
        """Whether it was."""
        return self._asked

    def watch(self, options: Any) -> None:
        """Nothing; these are the runtime's options of what runs now."""
        self._options = options
        options.terminate = self._asked


class LocalParts:
    """Sessions of the parts of one package, one for each file. Not for several threads at a time.

    ``threads``, ``provider`` and ``slow_down`` are as in a spec. AgentFailure when a part cannot be loaded or run here.
    """

    def __init__(
        self,
        package: Package,
        threads: Optional[int] = None,
        provider: Optional[str] = None,
        slow_down: Optional[float] = None,
    ) -> None:
        self._slow_down = slow_down
        self._package = package
        self._spec = AgentSpec(runner="ort", model_path=package.path, threads=threads, provider=provider)
        self._ort = ort.import_onnxruntime()
        self._errors = ort_errors.ort_exceptions()
        self._provider = ort.provider_name(provider, self._ort.get_available_providers())
        self._sessions: Dict[str, Any] = {}

    @property
    def runtime(self) -> Dict[str, str]:
        """Name and version of the runtime."""
        return {"name": "onnxruntime", "version": self._ort.__version__}

    def load(self, part: Part) -> None:
        """Nothing, once the part is ready to run; the first time it is read, checked against its hash, and opened."""
        if part.file in self._sessions:
            return
        try:
            check_part(self._package, part)
        except PackageError as error:
            raise AgentFailure("bad-model", str(error)) from error
        options = ort.session_options(self._ort, self._spec)
        path = self._package.file_of(part)
        self._sessions[part.file] = ort.make_session(self._ort, path, options, self._provider)

    def run(self, part: Part, values: "Values", stop: Optional[Stop] = None) -> "Values":
        """What the part gives, by name, for the values it takes. AgentFailure when it was stopped."""
        self.load(part)
        feeds = {name: values[name] for name in part.inputs}
        stop = stop or Stop()
        options = self._ort.RunOptions()
        stop.watch(options)
        start_ns = time.monotonic_ns()
        try:
            outputs: List[Any] = self._sessions[part.file].run(list(part.outputs), feeds, options)
        except self._errors as error:
            shapes = {name: list(array.shape) for name, array in feeds.items()}
            raise ort_errors.run_failure(error, shapes) from error
        if self._slow_down is not None:
            stretch(start_ns, self._slow_down, stop.asked)
        return dict(zip(part.outputs, outputs))

    def finish(self, placement: Placement, values: "Values", done: int, stop: Optional[Stop] = None) -> "Values":
        """What the parts from index ``done`` on give, all of them run here, the server's too."""
        known = dict(values)
        for part in placement.parts[done:]:
            known.update(self.run(part, known, stop))
        return known

    def close(self) -> None:
        """Nothing; the sessions are given back."""
        self._sessions.clear()
