"""The null runner: does nothing, so that what is measured is the harness itself."""

from typing import Any, Dict

from device_agents.runners.base import Runner
from device_agents.spec import AgentSpec


class NullRunner(Runner):
    """An inference that is an empty function call."""

    name = "null"

    def load(self, spec: AgentSpec) -> Dict[str, Any]:
        """The ``loaded`` detail of a runner that has no model."""
        return {
            "runtime": {"name": "null", "version": "1"},
            "provider": None,
            "providers": [],
            "node_share": None,
            "inputs": [],
            "outputs": [],
            "model_bytes": 0,
        }

    def invoke(self) -> None:
        """Nothing, and nothing is done."""
