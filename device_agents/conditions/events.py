"""The events of a run that tell its conditions. Times are seconds, temperatures °C; what is not known is null.

==============  =====================================================================================================
name            detail
==============  =====================================================================================================
restored        what, to, ok, why (null when ok), left_over (true: an earlier run's, found in the journal)
pinned          what, was, now, verified (false: the device has no way to tell)
gate-started    below_c (null: only looks), sensor, temperature_c, timeout_s
gate-passed     waited_s, temperature_c, sensor
gate-refused    waited_s, temperature_c, sensor, below_c, why
probe           when ("before", "after"), duration_ns [wall time of each repeat], cpu_ns [its CPU time], work (the same
                text: the same work), loops
idle-started    planned_s
idle-done       duration_s
intruders       when ("before", "during"), share (CPU time of other processes for each second: 1.0 is one core; null),
                steal (the hypervisor's, likewise), over (true: more than the limit), limit,
                processes [{name, share}] (the busiest three), why (what could not be seen, null)
marker          when ("before", "after"), start_ns (this clock), chip_s, bits ("1": all cores busy), processes
guard           sensor, temperature_c, limit_c, why
changed         what, before, after
==============  =====================================================================================================

The order in a run: restored (left over) -> pinned -> marker before -> gate-* -> probe before -> idle-* -> intruders
before -> the worker's own events -> probe after -> intruders during -> changed -> marker after -> restored. "guard"
comes when it stops the run.
"""

RESTORED = "restored"
PINNED = "pinned"
GATE_STARTED = "gate-started"
GATE_PASSED = "gate-passed"
GATE_REFUSED = "gate-refused"
PROBE = "probe"
IDLE_STARTED = "idle-started"
IDLE_DONE = "idle-done"
INTRUDERS = "intruders"
MARKER = "marker"
GUARD = "guard"
CHANGED = "changed"
