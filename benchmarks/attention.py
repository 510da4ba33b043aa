"""What recording costs, and how fast maps and rollouts come out of it.

    python -m benchmarks.attention [--sizes 224 480] [--rounds 7] [--threads 2] [--model timm:vit_small_patch8_224]

Prints a Markdown table: the recorded pass beside the plain one and beside eager attention with all matrices kept, maps,
and rollout beside the plain pass and beside whole matrices. Times are medians (and minima) of rounds that take turns in
one process; memory is the peak above a loaded model, each in a process of its own.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import explorer
from explorer import malloc
from explorer.models.backbone import Model

MODEL = "timm:vit_small_patch8_224"
MEASURED = ("plain", "recorded", "eager", "rollout", "rollout discard", "rollout matrices")
Work = Callable[[], Any]


def photo(size: int) -> Image.Image:
    """A random picture of that size, so that no time goes to resizing."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


@torch.no_grad()
def plain(model: Model, size: int) -> None:
    """The forward pass with fused attention, nothing kept."""
    model.forward(model.preprocess(photo(size), size))


@torch.no_grad()
def eager(model: Model, size: int) -> list[torch.Tensor]:
    """The forward pass without fused attention, every layer's matrices kept: "1 head query key" each."""
    module: Any = model.module
    kept: list[torch.Tensor] = []
    handles = [
        block.attn.attn_drop.register_forward_hook(lambda m, a, out: kept.append(out)) for block in module.blocks
    ]
    for block in module.blocks:
        block.attn.fused_attn = False
    plain(model, size)
    for block, handle in zip(module.blocks, handles, strict=True):
        block.attn.fused_attn = True
        handle.remove()
    return kept


def rollout_matrices(recording: explorer.Recording) -> np.ndarray:
    """The cls row of A'_L ... A'_1 by products of whole matrices; as recording.rollout() gives it."""
    tokens = len(recording.tokens)
    product = torch.eye(tokens)
    for layer in range(recording.depth):
        scores = recording.q(layer) @ recording.k(layer).transpose(-2, -1) * recording.scale(layer)
        mixed = 0.5 * scores.softmax(dim=-1).mean(dim=0) + 0.5 * torch.eye(tokens)
        product = mixed / mixed.sum(dim=-1, keepdim=True) @ product
    return product[0, len(recording.prefix_tokens) :].view(recording.grid).numpy()


def take_turns(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of every round of each work, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for current in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if current:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_memory(source: str, what: str, size: int, threads: int) -> float:
    """MB above a loaded model at the peak of one piece of work, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.attention", "--measure", what, "--sizes", str(size)]
    command += ["--threads", str(threads), "--model", source]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout)["peak_mb"]


def measure(model: Model, what: str, size: int) -> float:
    """MB above the model, and for rollouts above the recording, at the peak of the work."""
    plain(model, 8 * model.patch_size)  # what the first pass of a process allocates for good
    recording = explorer.record(model, photo(size), size) if what.startswith("rollout") else None
    works: dict[str, Work] = {
        "plain": lambda: plain(model, size),
        "recorded": lambda: explorer.record(model, photo(size), size),
        "eager": lambda: eager(model, size),
    }
    if recording is not None:
        works["rollout"] = recording.rollout
        works["rollout discard"] = lambda: recording.rollout(discard_ratio=0.9)
        works["rollout matrices"] = lambda: rollout_matrices(recording)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = status("VmRSS")
    works[what]()
    return (status("VmHWM") - before) / 1024


def status(field: str) -> int:
    """A field of Linux' process status in KB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def milliseconds(seconds: Iterable[float]) -> str:
    """The median and, in brackets, the least."""
    median, least = statistics.median(seconds) * 1e3, min(seconds) * 1e3
    return f"{median:,.0f} ({least:,.0f})" if least > 20 else f"{median:.2f} ({least:.2f})"


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the ratios of each round, in which both stood side by side."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def rows(model: Model, size: int, rounds: int, memory: Callable[[str], float]) -> list[tuple[str, str, str, str]]:
    """(what, time in ms, peak memory in MB, against what) for one input size."""
    passes = take_turns(
        {"plain": lambda: plain(model, size), "recorded": lambda: explorer.record(model, photo(size), size)}, rounds
    )
    whole = take_turns({"eager": lambda: eager(model, size)}, max(1, rounds // 3))
    recording = explorer.record(model, photo(size), size)
    patch = (recording.grid[0] // 2, recording.grid[1] // 3)
    maps = take_turns({"one": lambda: recording.attention(5, 2, patch), "heads": lambda: recording.heads(5, patch)}, 50)
    rolled = take_turns({"plain": lambda: plain(model, size), "rollout": recording.rollout,
                         "discard": lambda: recording.rollout(discard_ratio=0.9)}, rounds)  # fmt: skip
    products = take_turns({"matrices": lambda: rollout_matrices(recording)}, 1)
    return [
        ("plain fused pass", milliseconds(passes["plain"]), f"{memory('plain'):,.0f}", ""),
        ("recorded pass", milliseconds(passes["recorded"]), f"{memory('recorded'):,.0f}",
         f"{ratio(passes['recorded'], passes['plain']):.3f} x plain (at most 1.05)"),
        ("eager pass, all matrices kept", milliseconds(whole["eager"]), f"{memory('eager'):,.0f}",
         f"{statistics.median(whole['eager']) / statistics.median(passes['plain']):.2f} x plain"),
        ("one map", milliseconds(maps["one"]), "", "at most 2 ms at 3,601 tokens"),
        ("all heads of a layer", milliseconds(maps["heads"]), "", "at most 10 ms at 3,601 tokens"),
        ("rollout", milliseconds(rolled["rollout"]), f"{memory('rollout'):,.0f}",
         f"{ratio(rolled['rollout'], rolled['plain']):.2f} x plain (at most 0.8, and 200 MB)"),
        ("rollout, 90 % discarded", milliseconds(rolled["discard"]), f"{memory('rollout discard'):,.0f}",
         f"{ratio(rolled['discard'], rolled['plain']):.2f} x plain"),
        ("rollout by whole matrices", milliseconds(products["matrices"]), f"{memory('rollout matrices'):,.0f}",
         f"{statistics.median(products['matrices']) / statistics.median(rolled['rollout']):.1f} x rollout"),
    ]  # fmt: skip


def machine(threads: int) -> str:
    """Processor, threads and versions in one line."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {threads} threads, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description="What recording costs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 480], help="input sizes in pixels")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that each time is the median of")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default=MODEL, metavar="SOURCE", help="random weights are used")
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    malloc.settle()  # as the app and the commands do
    torch.manual_seed(0)
    model = explorer.load_model(args.model, device="cpu", pretrained=False)
    if args.measure:
        print(json.dumps({"peak_mb": measure(model, args.measure, args.sizes[0])}))
        return
    print(f"{args.model}, random weights; {machine(args.threads)}\n")
    for size in args.sizes:
        tokens = (size // model.patch_size) ** 2 + len(model.prefix_tokens)
        print(f"| {size} px, {tokens:,} tokens | time in ms: median (least) | peak memory in MB | |\n|---|---|---|---|")
        for row in rows(model, size, args.rounds, lambda what, s=size: peak_memory(args.model, what, s, args.threads)):
            print(f"| {' | '.join(row)} |", flush=True)
        print()


if __name__ == "__main__":
    main()
