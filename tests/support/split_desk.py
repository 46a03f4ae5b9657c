"""A developer's folder and home in the lab's network, and the commands as a user would type them there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.lab import Lab
from tests.support.cli import START, environment
from tests.support.provision import lab_cache
from tests.support.split_lab import edge_url

INVENTORY = """\
defaults: {{user: edge, key_file: {key}, known_hosts: {known_hosts}}}
devices:
  board86: {{host: {address}, slow_down: {slow_down}, workdir: ~/.edgewise-split}}
servers:
  edge: {{url: "{url}"}}
"""


class Desk:
    """The board `board86`, made ``slow_down`` times slower, and the server `edge`."""

    def __init__(self, lab: Lab, folder: Path, slow_down: float) -> None:
        self.lab, self.folder = lab, folder
        self.env = environment(HOME=str(folder), EDGEWISE_CACHE=str(lab_cache()))
        inventory = INVENTORY.format(
            key=lab.ssh_key_path,
            known_hosts=lab.known_hosts_path,
            address=lab.devices["board86"].address,
            slow_down=slow_down,
            url=edge_url(lab),
        )
        (folder / "devices.yaml").write_text(inventory)

    def start(self, *arguments: Any) -> subprocess.Popen[str]:
        """The started command."""
        argv, _ = self.lab.program("ctl", [*START, *map(str, arguments)])
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(argv, cwd=self.folder, env=self.env, text=True, **streams)

    def ended(self, process: subprocess.Popen[str], limit_s: float = 120) -> str:
        """What a started command printed; it must succeed."""
        try:
            out, err = process.communicate(timeout=limit_s)
        finally:
            process.kill()
        assert process.returncode == 0, f"{process.args}\n{out[-2000:]}\n{err[-2000:]}"
        return out

    def edgewise(self, *arguments: Any) -> str:
        """What the command printed; it must succeed."""
        return self.ended(self.start(*arguments))

    def json(self, *arguments: Any) -> Any:
        """The JSON document of a command."""
        return json.loads(self.edgewise(*arguments, "--json"))
