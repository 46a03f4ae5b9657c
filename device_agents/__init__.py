"""The program that runs on a device: supervisor, worker, runners, sensors.

Only the standard library may be imported here, in Python 3.8 syntax: the folder is shipped whole, as one zip, to boards
that edgewise knows nothing about. numpy and one runtime are imported lazily by the runner that needs them.
"""

AGENT_VERSION = "0.1.0"
