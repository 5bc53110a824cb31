"""``dipddpm sweep``: the points of the suites on many workers at once."""

from __future__ import annotations

import argparse

from dipddpm.cli.bench import session_arguments
from dipddpm.sweep.command import sweep


def run(args: argparse.Namespace) -> int:
    """``dipddpm sweep``."""
    args.session = session_arguments()
    return sweep(args)
