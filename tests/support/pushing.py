"""Stores under a test's eyes: what crossed the link, and links that break where a test wants it."""

from __future__ import annotations

from mobile.errors import TransportError
from mobile.push import scripts
from mobile.transports.local import LocalTransport


class Watched(LocalTransport):
    """This machine; counts what each pass brought, and breaks as asked.

    ``cut_after``: the link breaks after so many bytes of stdin, once. ``env`` is added to every command's, and
    ``shell`` is what runs scripts.
    """

    def __init__(self, *, cut_after=None, env=None, shell=("sh",)):
        super().__init__()
        self.shell = shell
        self.cut_after = cut_after
        self.env = env or {}
        self.passes = []  # arguments of each RECEIVE
        self.streamed = []  # what crossed in each

    @property
    def streamed_bytes(self):
        return sum(self.streamed)

    def run(self, argv, *, stdin=b"", env=None, **options):
        env = {**(env or {}), **self.env}
        if argv[2:3] == [scripts.RECEIVE]:
            self.passes.append(argv[4:])
            self.streamed.append(0)
            stdin = self._counted(stdin)
        return super().run([*self.shell, *argv[1:]], stdin=stdin, env=env, **options)

    def _counted(self, stdin):
        for piece in [stdin] if isinstance(stdin, bytes) else stdin:
            if self.cut_after is not None and self.streamed_bytes + len(piece) > self.cut_after:
                piece = piece[: self.cut_after - self.streamed_bytes]
                self.cut_after = None
                self.streamed[-1] += len(piece)
                yield piece
                raise TransportError("the link broke")
            self.streamed[-1] += len(piece)
            yield piece
