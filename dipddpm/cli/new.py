"""``dipddpm new``: a file that a variant of one's own begins with, made from a template that works as it stands."""

from __future__ import annotations

import argparse
import keyword
import re
from pathlib import Path
from string import Template

from dipddpm.cli.options import writable
from dipddpm.errors import InputError
from dipddpm.paths import shown

TEMPLATES = Path(__file__).with_name("templates")
RUNS = {
    "dip": "dipddpm bench duration --profile smoke --axis dip.architecture=skip:32,$name",
    "fitting": "dipddpm bench fitting --profile smoke --axis dip.fitting=$name",
    "prior": "dipddpm bench controls --profile smoke -k $name",
    "metric": "dipddpm bench controls --profile smoke",
}
"""What shows rows of a new variant."""
GROUPS = {"dip": "dipddpm.dip", "fitting": "dipddpm.fitting", "prior": "dipddpm.priors", "metric": "dipddpm.metrics"}


def run(args: argparse.Namespace) -> None:
    """Write the file, and say what to do with it."""
    name = args.name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise InputError(
            f"name {name!r}: lower-case letters, digits and _ alone, a letter first; and no word of Python"
        )
    file = writable(args.out / f"{name}.py")
    if file.exists():
        raise InputError(f"{shown(file)}: there already; choose another name, or move it away")
    words = {"name": name, "Name": "".join(part.capitalize() for part in name.split("_"))}
    template = (TEMPLATES / f"{args.kind}.py.txt").read_text(encoding="utf-8")
    file.write_text(Template(template).substitute(words), encoding="utf-8")
    print(f"wrote {shown(file)}")
    print("to try it, put this into conftest.py beside it:")
    print(f"    from dipddpm.registry import register\n    from {name} import {words['Name']}\n")
    print(f"    register({words['Name']})")
    print(f"and run: {Template(RUNS[args.kind]).substitute(words)}")
    group = f'[project.entry-points."{GROUPS[args.kind]}"]'
    print(f'a package of yours offers it to everybody by its entry points: {group} {name} = "{name}:{words["Name"]}"')
