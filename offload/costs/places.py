"""Where a run ran, and what it drew there, as a profile keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offload.costs.profile import Place

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.results.run import Run

ENERGY_KEYS = (
    "scope", "sensor", "mean_power_w", "per_inference_j", "idle_power_w", "above_idle_per_inference_j",
    "uncertainty_share",
)  # fmt: skip


def place_of(device: Device, run: Run) -> Place:
    """The place of a run: the device, set as it was; None where the device does not tell."""
    from mobile.results.thermal import thermal

    environment, spec = run.environment, run.spec.agent_spec
    runtime = environment.get("runtime") or {}
    heat, _ = thermal(run)
    cpus = spec.get("cpus")
    return Place(
        name=device.name,
        provenance=run.provenance,
        runtime=runtime.get("name"),
        runtime_version=runtime.get("version"),
        provider=environment.get("provider"),
        threads=spec.get("threads"),
        cpus=tuple(cpus) if cpus is not None else None,
        slow_down=spec.get("slow_down"),
        governor=environment.get("governor"),
        power_mode=environment.get("power_mode"),
        start_temperature_c=environment.get("start_temperature_c"),
        end_temperature_c=heat["end_c"] if heat else None,
    )


def energy_of(run: Run) -> dict[str, Any]:
    """What the device drew while the whole model ran, with its scope; or {"missing": why it is not known}."""
    from mobile.results.figures import figures

    found = figures(run)
    energy = found["energy"]
    if energy is None:
        return {"missing": found["energy_missing"]}
    return {"missing": None, **{key: energy.get(key) for key in ENERGY_KEYS}}
