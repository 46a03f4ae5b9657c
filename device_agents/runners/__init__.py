"""Runners: each loads an artifact with one runtime and does one inference at a time."""

from device_agents.failures import AgentFailure
from device_agents.runners.base import Runner


def make_runner(name: str) -> Runner:
    """A new runner. Its module is imported here, so that a worker loads no runtime's code but its own."""
    if name == "ort":
        from device_agents.runners.ort import OrtRunner

        return OrtRunner()
    if name == "litert":
        from device_agents.runners.litert import LitertRunner

        return LitertRunner()
    if name == "command":
        from device_agents.runners.command import CommandRunner

        return CommandRunner()
    if name == "null":
        from device_agents.runners.null import NullRunner

        return NullRunner()
    if name == "split":
        from device_agents.runners.split import SplitRunner

        return SplitRunner()
    raise AgentFailure("bad-spec", "there is no runner {!r}".format(name))
