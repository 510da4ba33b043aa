"""A command's progress and the time left, on stderr."""

import sys
import time

from explorer.words import duration_in_words, percent

ON_TERMINAL, ELSEWHERE = 0.5, 30.0  # seconds between two reports
WIDTH = 60


class Display:
    """Called with what is done and all there is: in place on a terminal, by lines elsewhere.

    what: "5 photos". at_once: show the first report, too; else work that is quick shows nothing.
    """

    def __init__(self, what: str, at_once: bool = False):
        self.what, self.began = what, time.monotonic()
        self.terminal = sys.stderr.isatty()
        self._next = self.began + (0 if at_once else self._pause)
        self._shown = at_once

    @property
    def _pause(self) -> float:
        return ON_TERMINAL if self.terminal else ELSEWHERE

    def __call__(self, done: float, total: float, before: float = 0.0) -> None:
        """before: how much of what is done an earlier call of the command did."""
        now, ended = time.monotonic(), done >= total
        if now < self._next and not (ended and self._shown):
            return
        self._next, self._shown = now + self._pause, True
        left = (now - self.began) * (total - done) / (done - before)
        text = f"{percent(done / total, 0)} of {self.what}" + ("" if ended else f", {duration_in_words(left)} left")
        start, end = ("\r", "\n" if ended else "") if self.terminal else ("", "\n")
        print(f"{start}{text:<{WIDTH}}", end=end, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room on a terminal for what is printed there."""
        if self.terminal and self._shown:
            print(f"\r{'':<{WIDTH}}\r", end="", file=sys.stderr, flush=True)
