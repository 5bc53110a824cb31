"""Options that contradict each other, or that a verb would not use: said in one line before anything is done."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from dipddpm.errors import InputError

OWN_DATA = ("dataset", "prior_from", "reference")
"""Options that name a data set."""


def check_used(args: argparse.Namespace, parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> None:
    """Raise InputError if an option was given that the verb has no use for beside the others."""
    typed = given(parser, argv)
    for names, wanted in _unused(args):
        if ignored := sorted(f"--{name.replace('_', '-')}" for name in typed & set(names)):
            raise InputError(f"{', '.join(ignored)} would not be used: it needs {wanted}; leave it out")


def given(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> set[str]:
    """Names of the options that were typed, also with the value that they have by default.

    ``parser`` is of no further use: its defaults are gone.
    """
    _without_defaults(parser)
    return set(vars(parser.parse_known_args(argv)[0]))  # `bench` hands what is left to pytest


def _without_defaults(parser: argparse.ArgumentParser) -> None:
    parser._defaults.clear()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _without_defaults(verb)


def _unused(args: argparse.Namespace) -> Iterator[tuple[tuple[str, ...], str]]:
    """Names of options that have no use as ``args`` are, and what they would need."""
    verb = args.module.rpartition(".")[2]
    if verb == "train" and args.injection in ("none", "weights"):
        yield ("prior", "priors", "cache", "dip_architecture"), "an injection that shows a prior, --injection residual"
        if args.injection == "none":
            yield ("task", "dip_iterations"), "an injection, --injection weights or residual"
    if verb == "generate" and not args.prior_from:
        yield ("prior", "dip_architecture", "dip_iterations", "cache"), "photographs to make priors of, --prior-from"
    if verb == "calibrate" and args.only:
        if "hog" not in args.only:
            yield ("hogs",), "--only hog"
        if not {"timing", "hog"} & set(args.only):
            yield ("repeats",), "--only timing or --only hog"
    specs = [spec for name in OWN_DATA if (spec := getattr(args, name, None))]
    if "data_root" in args and specs and not any(needs_root(spec) for spec in specs):
        yield ("data_root",), "a data set that is downloaded, such as cifar10"


def needs_root(dataset: str) -> bool:
    """Whether a data set, as an option names it, may have a folder of downloads; plug-ins may."""
    return dataset.partition(":")[0] not in ("folder", "photo-patches")
