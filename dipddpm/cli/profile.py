"""``dipddpm profile``: where the time of a stage goes, and how near it comes to what the machine can do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from statistics import median
from typing import Any

import pandas as pd
import torch

from dipddpm.denoisers import open_denoiser
from dipddpm.device import products
from dipddpm.experiments.stages import Stage, stage, stage_names
from dipddpm.measure.instruments.flops import flops_by_operator
from dipddpm.measure.instruments.machine import machine, sm_clock
from dipddpm.measure.instruments.memory import PeakMemory
from dipddpm.measure.instruments.operators import Operator, operators
from dipddpm.measure.instruments.roofline import convolution_rate, peak_rate, product_rate, repeated
from dipddpm.measure.instruments.timer import resolution
from dipddpm.progress import each

BATCH = {"cpu": 16, "cuda": 256}
SECONDS, LEAST, WARMUP = 0.5, 3, 1  # how long and how often a stage is executed at least, and before that, untimed


def run(args: argparse.Namespace) -> None:
    """``dipddpm profile``."""
    device = torch.device(args.device)
    batch = BATCH.get(device.type, 16) if args.batch is None else args.batch
    denoiser, rows = open_denoiser(args.denoiser, device, args.precision, args.compile), []
    names = stage_names() if args.stage == "all" else [args.stage]
    found: list[Operator] = []
    for name in each(names, len(names), "timing", "stage"):
        built = stage(name, denoiser, device, batch)
        flops = flops_by_operator(built.work)
        found = operators(built.work, device, flops) if args.stage != "all" else []
        rows.append({"stage": name, "batch": batch} | _roofline(built, flops, device))
    if args.json:
        told = {"stages": rows, "operators": [asdict(o) for o in found], "machine": machine()}
        print(json.dumps(told, indent=1))
        return
    if found:
        print(_operators(found, args.rows), end="\n\n")
    rows = [_shown(row) for row in rows]
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, tablefmt="simple"))
    product, convolution = (rate(str(device), torch.float32) / 1e9 for rate in (product_rate, convolution_rate))
    m = machine()
    print(
        f"\n{m['gpu'] if device.type == 'cuda' else m['cpu']}, {torch.get_num_threads()} threads: "
        f"convolution {convolution:.4g} GFLOP/s, matrix product {product:.4g} GFLOP/s (large, float32); "
        "% is of the faster, in the precision of the denoiser where it is evaluated. FLOPs are those of convolutions, "
        "matrix products and attention, gradients included.\n"
        f"Seconds are the median of the executions; a warm-up of {WARMUP} before them is not timed. The clock "
        f"({'CUDA events' if device.type == 'cuda' else 'perf_counter'}) resolves {1e6 * resolution(device):.3g} "
        "microseconds. Peak memory is what one execution adds."
    )


def _operators(found: list[Operator], rows: int) -> str:
    """The dearest operators as a table; the last row is all the others."""
    listed, rest = found[:rows], found[rows:]
    if rest:
        seconds, share = sum(o.seconds for o in rest), sum(o.share for o in rest)
        listed = [*listed, Operator(f"{len(rest)} others", sum(o.calls for o in rest), seconds, share, None)]
    table = [
        {
            "operator": o.name.removeprefix("aten::"),
            "calls": str(o.calls),
            "own ms": f"{1e3 * o.seconds:.3f}",
            "share": f"{100 * o.share:.1f} %",
            "GFLOP/s": f"{o.flops / o.seconds / 1e9:.4g}" if o.flops and o.seconds else "",
        }
        for o in listed
    ]
    align = ("left", *["right"] * 4)
    return pd.DataFrame(table).to_markdown(index=False, disable_numparse=True, tablefmt="simple", colalign=align)


def _roofline(built: Stage, flops: Mapping[str, int], device: torch.device) -> dict[str, Any]:
    """The median execution against the machine's rates."""
    times = repeated(built.work, SECONDS, LEAST, WARMUP, device)
    built.work()
    clock = sm_clock(device)  # while the GPU still works on it: an idle one lowers its clock
    with PeakMemory(device) as peak:
        built.work()
    seconds, count = median(times), sum(flops.values())
    with products(built.precision) if built.precision else nullcontext():
        fastest = peak_rate(str(device), torch.bfloat16 if built.precision == "bf16" else torch.float32)
    return {
        "seconds": seconds,
        "executions": len(times),
        "flops": count,
        "share_of_the_machine": count / seconds / fastest,
        "items": built.items,
        "unit": built.unit,
        "peak_bytes": peak.added,
        **({"sm_clock_mhz": clock} if clock else {}),
    }


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`_roofline` found, as cells of a table."""
    seconds, flops = row["seconds"], row["flops"]
    return {
        "stage": row["stage"],
        "batch": row["batch"],
        "s / execution": f"{seconds:.4g}",
        "executions": str(row["executions"]),
        "GFLOP": f"{flops / 1e9:.4g}",
        "GFLOP/s": f"{flops / seconds / 1e9:.4g}",
        "of the machine": f"{100 * row['share_of_the_machine']:.1f} %",
        "items / s": f"{row['items'] / seconds:.4g} {row['unit']}",
        "peak memory": f"{row['peak_bytes'] / 2**20:.4g} MiB",
        **({"SM clock": f"{row['sm_clock_mhz']} MHz"} if "sm_clock_mhz" in row else {}),
    }
