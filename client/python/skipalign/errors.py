"""What goes wrong on the way to a batch."""

from __future__ import annotations

from typing import Sequence


class FeedError(Exception):
    """The feeder refused, or what came is not what was asked for.

    code:     the feeder's (`unknown-stream`, `bad-world`, `step-past-end`, ...), or one of ours: `protocol` (not a
              feeder's message), `corrupt` (a step is missing, or belongs to another rank; a feeder of another history),
              `forked`, `timeout`.
    message:  what, where, and what to do.
    worlds:   with `bad-world`, the sizes that would do.
    steps:    with `step-past-end`, how many steps there are, where the feeder knows.
    """

    def __init__(self, code: str, message: str, worlds: Sequence[int] = (), steps: int | None = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.worlds = tuple(worlds)
        self.steps = steps

    def __reduce__(self) -> tuple[type[FeedError], tuple[object, ...]]:
        return type(self), (self.code, self.message, self.worlds, self.steps)


class FeedTimeout(FeedError, TimeoutError):
    """Nothing came in time, from any endpoint. The feed stays usable: ask it again."""
