"""What a terminal shows of a sweep; where there is none, what is said in lines."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """A bar on a terminal, nowhere else.

    Args:
        expected: seconds of work of all tasks, or their number where no pace is known.
    """

    def __init__(self, expected: float):
        self._bar = tqdm(
            total=expected, file=sys.stderr, disable=None, dynamic_ncols=True, leave=False,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left",
        )  # fmt: skip

    def done(self, amount: float, text: str) -> None:
        """So much of what was expected is done."""
        if self._bar.total is not None and self._bar.n + amount > self._bar.total:
            self._bar.total = self._bar.n + amount
        self._bar.set_description_str(text, refresh=False)
        self._bar.update(amount)

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
