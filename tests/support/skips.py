"""Which skips a full check may have: any other one fails it, so that a test cannot be lost unseen."""

from __future__ import annotations

import re

# (pattern of the reason, why it is allowed)
ALLOWED = [
    (r"no CPython 3\.\d+ on this machine", "interpreters besides the main one are taken where they are found"),
    (r"root may read every file", "there is nothing to be refused to root"),
    (r"could not import 'kserve'", "its wheels end at Python 3.13"),
    (r"needs npm, which is not installed", "five of the real models come from npm alone"),
    (r"this board has no small file system", "the contract's full-disk tests run where the transport has such a place"),
]


def forbidden(reasons: list[str]) -> list[str]:
    """The reasons that no entry of ALLOWED matches."""
    return [reason for reason in reasons if not any(re.search(pattern, reason) for pattern, _ in ALLOWED)]
