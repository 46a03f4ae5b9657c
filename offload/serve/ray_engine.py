"""Tails on Ray Serve: several replicas, on one machine or a cluster, behind the same HTTP front.

The front stays ours, so that clients, codecs, tokens and limits are the same. A replica has the packages' folders by
their paths: on a cluster they must be there on each node. Costs: about a thousand times a call in place (milliseconds);
it is for models that one machine cannot carry, not for a single board's server.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mobile.errors import EdgewiseError, UsageError
from offload.serve.messages import Refused
from offload.serve.models import Model
from offload.serve.tails import TailCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]
    Outputs = list[NDArray[Any]]

DEPLOYMENT, APPLICATION = "EdgewiseTails", "edgewise"
ANSWER_S = 60.0


class Replica:
    """What runs in each replica: a cache of tails, as the built-in engine has it."""

    def __init__(self, cache_bytes: int) -> None:
        self._tails = TailCache(cache_bytes)

    def run(self, model: Model, feeds: Feeds) -> tuple[Outputs, int] | tuple[int, str]:
        """What TailCache.run gives; a refusal as (status, words), since it has to travel."""
        try:
            return self._tails.run(model, feeds)
        except Refused as error:
            return error.status, error.message


class RayTails:
    """The engine on Ray Serve. ``replicas``: least and most; Ray adds one where several requests wait for each."""

    def __init__(self, cache_bytes: int, replicas: tuple[int, int] = (1, 4), cpus: float = 1.0) -> None:
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            import ray
            from ray import serve
        except ImportError as error:
            raise UsageError("--engine ray needs the extra: pip install 'edgewise[ray]'") from error
        self._ray, self._serve = ray, serve
        self.lanes = 2 * replicas[1]
        self._lock = threading.Lock()
        self._own = not ray.is_initialized()
        address = os.environ.get("RAY_ADDRESS")
        if self._own:
            options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
            ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **options)
        scaling = {"min_replicas": replicas[0], "max_replicas": replicas[1], "target_ongoing_requests": 2}
        deployment = serve.deployment(
            name=DEPLOYMENT, autoscaling_config=scaling, ray_actor_options={"num_cpus": cpus}, max_ongoing_requests=4
        )(Replica)
        try:
            serve.start(proxy_location="Disabled")
            self._handle = serve.run(deployment.bind(cache_bytes), name=APPLICATION, route_prefix=None)
        except (RuntimeError, ray.exceptions.RayError) as error:
            self.close()
            raise EdgewiseError(f"Ray Serve does not start: {str(error).splitlines()[0][:200]}") from error

    def run(self, model: Model, feeds: Feeds) -> tuple[Outputs, int]:
        """The outputs in the model's order, and how long loading took there (ns)."""
        try:
            found = self._handle.run.remote(model, dict(feeds)).result(timeout_s=ANSWER_S)
        except TimeoutError as error:
            raise Refused(504, f"no replica answered within {ANSWER_S:.0f} s") from error
        except self._ray.exceptions.RayError as error:
            raise Refused(503, "the replica was lost", [("Retry-After", "1")]) from error
        if isinstance(found[0], int):
            raise Refused(found[0], found[1])
        return found[0], found[1]

    def batches(self, model: Model, feeds: Feeds) -> bool:
        """False: replicas run side by side instead."""
        return False

    def at_hand(self, model: Model) -> bool:
        """False: what computes is another process."""
        return False

    def close(self) -> None:
        """Nothing; the deployment is taken down, and Ray with it where it was started here."""
        with self._lock:
            self._serve.shutdown()
            if self._own:
                self._ray.shutdown()
