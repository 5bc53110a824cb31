"""An example for each verb, shown at the end of its help. A test parses each of them."""

from __future__ import annotations

import argparse

EXAMPLES = {
    "bench": ("dipddpm bench --profile smoke", "dipddpm bench controls fitting --dataset folder:photos -k inpaint"),
    "fit": (
        "dipddpm fit photo.png",
        "dipddpm fit photo.png --task inpaint --mask scratches.png --iterations 50,400,3200 --gif",
    ),
    "restore": (
        "dipddpm restore photo.png",
        "dipddpm restore photo.png --task inpaint --mask mask.png --arms noise,biharmonic,pnp,dip",
    ),
    "new": ("dipddpm new dip tiny", "dipddpm new prior median --out my_package"),
    "data": ("dipddpm data", "dipddpm data folder:photos"),
    "train": ("dipddpm train --dataset folder:photos --steps 20000 --out mine.safetensors",),
    "train-extractor": ("dipddpm train-extractor --dataset folder:classes --out features.safetensors",),
    "train-warm-start": ("dipddpm train-warm-start --dataset folder:photos --out warm.safetensors",),
    "train-educated": ("dipddpm train-educated --dataset folder:photos --out educated.safetensors",),
    "generate": ("dipddpm generate --count 5000 --nfe 100 --out ddim100",),
    "score": ("dipddpm score ddim100 --reference folder:photos",),
    "report": ("dipddpm report .dipddpm/runs/run-20260101-120000.json", "dipddpm report results/*.json"),
    "submit": ("dipddpm submit .dipddpm/runs/run-20260101-120000.json --by 'A. Person'",),
    "publish": ("dipddpm publish .dipddpm/runs/run-20260101-120000.json",),
    "compare": ("dipddpm compare RUN.json baselines/smoke.json",),
    "baseline": ("dipddpm baseline promote RUN.json --reason 'why it is right'",),
    "baseline promote": ("dipddpm baseline promote RUN.json --reason 'why it is right'",),
    "calibrate": ("dipddpm calibrate baselines/smoke.json",),
    "sweep": (
        "dipddpm sweep --profile standard --dry-run",
        "dipddpm sweep --profile full --engine ray --address auto",
    ),
    "profile": ("dipddpm profile dip-fit --batch 64",),
    "doctor": ("dipddpm doctor",),
    "cache size": ("dipddpm cache size --json",),
    "cache verify": ("dipddpm cache verify",),
    "cache prune": ("dipddpm cache prune --keep 20GB",),
    "cache": ("dipddpm cache size", "dipddpm cache verify", "dipddpm cache prune --keep 20GB"),
}


def add_examples(verbs: argparse._SubParsersAction, above: str = "") -> None:
    """Let the help of each verb, and of those below it, end with its examples; what stood there comes before."""
    for name, p in verbs.choices.items():
        verb = f"{above} {name}".strip()
        shown = "\n".join(f"  {line}" for line in EXAMPLES[verb])
        p.epilog = "\n\n".join(filter(None, [p.epilog, f"example:\n{shown}"]))
        p.formatter_class = _Wrapped
        for action in p._actions:
            if isinstance(action, argparse._SubParsersAction):
                add_examples(action, verb)


class _Wrapped(argparse.HelpFormatter):
    """Wraps prose as usual and leaves indented lines as they stand."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(p if "\n  " in p else super(_Wrapped, self)._fill_text(p, width, indent) for p in paragraphs)
