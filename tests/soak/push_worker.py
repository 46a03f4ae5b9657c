"""The host's side of one push in a process of its own, to be killed: `python -m tests.soak.push_worker`.

Tells on stdout, as JSON lines, how far it is, and at the end what it did.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mobile.deadline import Deadline
from mobile.errors import EdgewiseError
from mobile.inventory import load_inventory
from mobile.push import DeviceStore
from mobile.push.content import contents
from mobile.push.current import switch
from mobile.transports import open_transport

LIMIT_S = 90.0
LINK_TIMEOUT_S = 2.0  # a tenth of what users have, so that a soak takes a tenth of the time


def main(inventory: str, device: str, model: str, patience_s: str) -> int:
    """0 when the model is in use, 1 when not; the last line says which and why."""
    board = load_inventory(Path(inventory)).device(device)
    transport = open_transport(board)
    transport._link_timeout_s = LINK_TIMEOUT_S
    store = DeviceStore(transport, board.workdir, patience_s=float(patience_s))
    deadline = Deadline(LIMIT_S)
    try:
        pushed = store.push(
            contents([Path(model)]), deadline=deadline, progress=lambda done, size: tell(done=done, size=size)
        )
        tell(stored=True)
        switch(store, pushed.path, deadline=deadline)
    except EdgewiseError as error:
        tell(ended="failed", code=error.code, message=error.message)
        return 1
    finally:
        transport.close()
    tell(
        ended="done",
        sent=pushed.sent_bytes,
        copied=pushed.copied_bytes,
        kept=pushed.kept_bytes,
        resumes=pushed.resumes,
    )
    return 0


def tell(**words: object) -> None:
    """Nothing, once the line is out."""
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
