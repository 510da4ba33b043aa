"""Time and memory of relevance, evidence, what-if, comparison, video and sharing: python -m benchmarks.beyond

ViT-S/8 with random weights at 224 pixels (785 tokens), two threads; then what explanations of DeiT-Tiny take. Peak
memory is what each line adds above the model and its recording, read from the system every 10 ms (Linux).
"""

import argparse
import ctypes
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.models import save_for_hf

import explorer
from explorer.attention.artefacts import artefact_mask
from explorer.attention.divergence import divergence, epoch_divergence
from explorer.attention.evidence import evidence
from explorer.attention.features import pca_colours, similarity
from explorer.attention.interventions.edits import DropPatches, SetHead
from explorer.attention.localization import rank_heads
from explorer.attention.maps.settings import TargetClass
from explorer.attention.maps.table import map_kind
from explorer.data.samples import sample_photo
from explorer.data.video import pan
from explorer.evaluation.bench.contenders import entrants
from explorer.evaluation.bench.photos import BenchPhoto
from explorer.evaluation.bench.run import Plan
from explorer.evaluation.bench.run import lines as bench_lines
from explorer.rendering.comparison import difference_map
from explorer.rendering.figures import figure
from explorer.rendering.gif import layers_gif
from explorer.rendering.python_script import python_script
from explorer.rendering.video import gif, mp4, painted_frames, record_clip
from explorer.rendering.view import MapChoice, PhotoInput, View, png, save_npz, shown_heads
from explorer.web.live_page import live_page


def resident() -> float:
    """Megabytes of this process in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


ENOUGH, MOST = 3.0, 30  # seconds and repeats of quick work


def measure(work: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """(median seconds, megabytes above the start at the peak, what the work returned); quick work is repeated more."""
    ctypes.CDLL(None).malloc_trim(0)  # gives back what earlier lines freed, which would hide what this one takes
    start, peak, stop = resident(), resident(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.01):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    times, result = [], None
    try:
        while len(times) < repeats or (sum(times) < ENOUGH and len(times) < MOST):
            began = time.perf_counter()
            result = work()
            times.append(time.perf_counter() - began)
    finally:
        stop.set()
        watcher.join()
    return float(np.median(times)), peak - start, result


def note(result: Any) -> str:
    """The size of a file that was made."""
    return f"{len(result) / 1e6:.2f} MB" if isinstance(result, (bytes, str)) else ""


def lines(model: explorer.Model, size: int) -> dict[str, Callable[[], Any]]:
    """Every line of the table and its work."""
    photo, other = sample_photo("cat"), sample_photo("coffee")
    recording, second = explorer.record(model, photo, size), explorer.record(model, other, size)
    mask = np.zeros(recording.grid, dtype=bool)
    mask[recording.grid[0] // 4 : -recording.grid[0] // 4, recording.grid[1] // 4 : -recording.grid[1] // 4] = True
    view = View(model.source, PhotoInput("sample:cat"), MapChoice("attention", layer=9))
    hidden = view.with_look(hide_artefacts=True)
    heatmap = recording.attention(9)
    clip = pan(photo, frames=8)
    film = record_clip(model, clip, view)
    frames = painted_frames(film, view, beside=True)
    return {
        "plain forward pass": lambda: model.forward(model.preprocess(photo, size)),
        "recorded pass": lambda: explorer.record(model, photo, size),
        "relevance of a class": lambda: recording.relevance(0),
        "relevance of a likeness": lambda: recording.relevance(similar_to=second),
        "rollout": lambda: recording.rollout(),
        "evidence, 10 steps (65 images)": lambda: evidence(recording, heatmap, steps=10),
        "rank all heads against a mask": lambda: rank_heads(recording, mask),
        "what if: a head off, a patch dropped": lambda: recording.what_if([SetHead(9, 2), DropPatches(((3, 4),))]),
        "what if: all heads once": lambda: recording.measure_heads(),
        "artefact tokens: which they are": lambda: artefact_mask(recording),
        "all heads without them": lambda: shown_heads(hidden, recording),
        "compare: divergence of all heads": lambda: divergence(recording, second),
        "compare: difference map": lambda: difference_map(view, recording, second),
        "compare: one epoch from the start": lambda: epoch_divergence(recording, explorer.record(model, photo, size)),
        "PCA colours, one image": lambda: pca_colours([recording]),
        "similarity of a patch": lambda: similarity(recording, (0, 0)),
        "video, 8 frames looked at": lambda: record_clip(model, clip, view),
        "video, 8 frames by relevance": lambda: record_clip(model, clip, view.with_map("relevance")),
        "video, 8 frames to MP4": lambda: mp4(frames, 8),
        "video, 8 frames to GIF": lambda: gif(frames, 8),
        "PNG": lambda: png(view, recording),
        "NPZ": lambda: save_npz(view, recording),
        "figure of all heads, SVG": lambda: figure(view, recording).svg(),
        "figure of all heads, PDF": lambda: figure(view, recording).pdf(),
        "GIF through the layers": lambda: layers_gif(view, recording),
        "relevance as NPZ": lambda: save_npz(view.with_map("relevance"), recording),
        "Python script": lambda: python_script(view),
        "live page": lambda: live_page(view, recording),
    }


def explaining_lines(model: explorer.Model) -> dict[str, Callable[[], Any]]:
    """What explanations take.

    Bounds: gradient and (balanced) relevance 1.5 x Chefer's own; the ledger 0.3 s above a recording; the effect of all
    heads 5 s; 100 photos on the bench a quarter of an hour, so 9 s for one.
    """
    photo = sample_photo("cat")
    recording = explorer.record(model, photo, fit="squash")
    explaining = [name for name in recording.maps if map_kind(name).needs(TargetClass)]
    plan = Plan(entrants(["all"], ["occlusion"]), fit="squash", sanity_photos=0)
    photos = [BenchPhoto("cat", lambda: photo)]
    return {
        "explain: recorded pass": lambda: explorer.record(model, photo, fit="squash"),
        "explain: relevance, Chefer's own": lambda: recording.relevance(0),
        **{f"explain: {name}": lambda name=name: recording.map(name, target=0) for name in explaining},
        "explain: recording and its ledger": lambda: explorer.record(model, photo, fit="squash").ledger(0),
        "explain: effect of all heads": lambda: recording.measure_heads(0),
        "explain: bench, a photo, all maps but occlusion": lambda: list(bench_lines(model, photos, plan)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", help="left out: ViT-S/8 with a head of 1,000 classes, which timm has only without one"
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="lines whose name begins so")
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        source = args.model or small_model(scratch)
        model = explorer.load_model(source, device="cpu", pretrained=not args.model)
    print(f"ViT of patch {model.patch_size}, width {model.width}, random weights, {args.size} px, 2 threads\n")
    table(lines(model, args.size), args)
    tiny = explorer.load_model("timm:deit_tiny_patch16_224", device="cpu", pretrained=False)
    print("\nDeiT-Tiny, random weights, 224 px, 2 threads\n")
    table(explaining_lines(tiny), args)


def small_model(folder: str) -> str:
    """ViT-S/8 with random weights in timm's folder format."""
    module = timm.create_model("vit_small_patch8_224", pretrained=False, num_classes=1000)
    save_for_hf(module, folder, model_config={"num_classes": 1000})
    return folder


def table(rows: dict[str, Callable[[], Any]], args: argparse.Namespace) -> None:
    print("| what | seconds | MB above | file |\n| --- | --- | --- | --- |")
    with torch.no_grad():
        for name, work in rows.items():
            if not name.startswith(args.only):
                continue
            seconds, megabytes, result = measure(work, args.repeats)
            print(f"| {name} | {seconds:.3f} | {megabytes:.0f} | {note(result)} |", flush=True)


if __name__ == "__main__":
    main()
