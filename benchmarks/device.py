"""Does a GPU give what the CPU gives, and how much sooner? python -m benchmarks.device [--device cuda|mps]

Records, draws every kind of map, predicts, fine-tunes and exports on the CPU and on the device, and prints a table of
agreement and speed-up; then what fifty photos leave in its memory, what is said when that runs out, and two processes
on one device. Random weights but for the bundled model; about five minutes. --quick: tiny models, for a test.
"""

import argparse
import copy
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

import explorer
from explorer.attention.interventions.edits import DropPatches, SetHead
from explorer.data.builtin import write_builtin
from explorer.data.samples import sample_photo
from explorer.errors import ExplorerError
from explorer.evaluation.predict import predict
from explorer.models.timm_models import wrap_timm

ANSWERS: dict[str, Callable[[explorer.Recording], Any]] = {
    "ledger": lambda recording: recording.ledger().heads,
    "step": lambda recording: recording.step(recording.depth - 1).after,
    "lens": lambda recording: recording.lens().image,
    "what if: a head off, a patch dropped": lambda recording: (
        recording.what_if([SetHead(recording.depth // 2, 0), DropPatches(((1, 1),))]).after
    ),
    "all heads measured": lambda recording: recording.measure_heads().effects,
}
PHOTOS = "cat", "astronaut", "coffee", "rocket", "flower", "china"
ARCHITECTURES = (
    "deit3_small_patch16_224",
    "vit_small_patch8_224",
    "vit_base_patch16_clip_quickgelu_224",
    "vit_large_patch14_reg4_dinov2",
)  # also layer scale, QuickGELU, registers
QUICK = ("test_vit",)
REPEATS = 5
ROOM = 30e6  # bytes that a device is left with where its memory is to run out
PLANS = (
    ("head", "float32"), ("last-2", "float32"), ("last-2", "bfloat16"), ("all", "float32"), ("all", "bfloat16"),
)  # fmt: skip


def random_model(architecture: str) -> explorer.Model:
    """That timm architecture with random weights, the same ones at every call."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"img_size": 224} if "dinov2" in architecture else {}
    return wrap_timm(timm.create_model(architecture, num_classes=100, **settings), "random", architecture)


def moved(model: explorer.Model, device: str) -> explorer.Model:
    """A copy of the model on that device."""
    return replace(model, module=copy.deepcopy(model.module).to(device))


def synchronise(device: str) -> None:
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def seconds(work: Callable[[], Any], device: str, repeats: int = REPEATS) -> float:
    """The median of a few repeats, after one that pays for setting up."""
    times = []
    for _ in range(repeats + 1):
        synchronise(device)
        began = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def error(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest value."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))


def row(*cells: Any) -> None:
    """One line of a table, printed at once."""
    shown = [number(cell) if isinstance(cell, float) else str(cell) for cell in cells]
    print(f"| {' | '.join(shown)} |", flush=True)


def number(value: float) -> str:
    """Two digits, or whole numbers from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def table(title: str, *names: str) -> None:
    print(f"\n**{title}**\n")
    row(*names)
    row(*["---"] * len(names))


def compare_recordings(models: list[explorer.Model], device: str, repeats: int) -> None:
    """Plain pass, recorded pass, tokens, logits and the attention of all layers of each model on both devices."""
    table("Recording", "model", "tokens differ", "attention differs", "logits differ", "plain pass, ms", "recorded, ms",
          "recorded / plain", "CPU recorded, ms", "speed-up")  # fmt: skip
    for model in models:
        row(model.name, *recording_of(model, moved(model, device), device, repeats))


def recording_of(model: explorer.Model, there: explorer.Model, device: str, repeats: int) -> tuple[Any, ...]:
    """The cells of one model, which is on the CPU, and of its copy on the device."""
    photo = sample_photo("cat")
    ours, theirs = explorer.record(model, photo), explorer.record(there, photo)
    maps = [(theirs.attention(layer, "max"), ours.attention(layer, "max")) for layer in range(ours.depth)]
    fitted = there.fit(photo)
    with torch.no_grad():
        plain = seconds(lambda: there.forward(there.pixels(fitted)), device, repeats)
    recorded = seconds(lambda: explorer.record(there, fitted, fit="keep"), device, repeats)
    cpu = seconds(lambda: explorer.record(model, photo), "cpu", min(2, repeats))
    logits = error(theirs.logits, ours.logits) if ours.logits is not None else "none"
    return (
        error(theirs.tokens, ours.tokens), max(error(*pair) for pair in maps), logits, 1e3 * plain,
        1e3 * recorded, recorded / plain, 1e3 * cpu, f"{cpu / recorded:.1f} x",
    )  # fmt: skip


def compare_maps(models: list[explorer.Model], device: str, repeats: int) -> None:
    """Every kind of map on both devices."""
    table("Maps", "model", "kind", "differs", "device, ms", "CPU, ms", "speed-up")
    photo = sample_photo("cat")
    for model in models:
        ours, theirs = explorer.record(model, photo), explorer.record(moved(model, device), photo)
        for kind in ours.maps:
            difference = error(theirs.map(kind), ours.map(kind))
            there, here = (
                seconds(partial(theirs.map, kind), device, repeats),
                seconds(partial(ours.map, kind), "cpu", 1),
            )
            row(model.name, kind, difference, 1e3 * there, 1e3 * here, f"{here / there:.1f} x")
        for name, ask in ANSWERS.items():
            found, expected = ask(theirs), ask(ours)
            row(model.name, name, error(found, expected), 1e3 * seconds(partial(ask, theirs), device, repeats),
                1e3 * seconds(partial(ask, ours), "cpu", 1), "")  # fmt: skip


def compare_training(folder: Path, device: str, images: int, epochs: int) -> Path | None:
    """Every plan through the command, in processes of their own; the last checkpoint."""
    table("Fine-tuning the bundled model, digits", "blocks", "precision", "device: accuracy", "s", "CPU: accuracy", "s")
    data, checkpoint = write_builtin("digits", folder / "digits", images), None
    for train, precision in PLANS:
        cells: list[Any] = [train, precision]
        for place in (device, "cpu"):
            if place == "cpu" and precision == "bfloat16":
                cells += ["", ""]
                continue
            name = f"{train}-{precision}-{place.replace(':', '')}"
            accuracy, took = train_once(folder, data, name, train, precision, epochs, place)
            cells += [accuracy, round(took, 1)]
            checkpoint = folder / "checkpoints" / name if place == device else checkpoint
        row(*cells)
    return checkpoint


def train_once(
    folder: Path, data: Path, name: str, train: str, precision: str, epochs: int, device: str
) -> tuple[str, float]:
    """(validation accuracy, or the last line of what went wrong; seconds of the whole process)."""
    environment = {**os.environ, "EXPLORER_CHECKPOINTS": str(folder / "checkpoints")}
    if device == "cpu":
        environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    command = [
        *(sys.executable, "-m", "explorer", "finetune", str(data), "--model", "bundled", "--train", train),
        *("--precision", precision, "--epochs", str(epochs), "--runs", str(folder / "runs"), "--name", name),
        *(["--onnx"] if device != "cpu" and (train, precision) == PLANS[-1] else []),
    ]
    began = time.perf_counter()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - began
    if ended.returncode:
        return (ended.stderr.strip().splitlines() or ["?"])[-1], took
    metrics = json.loads((folder / "runs" / name / "metrics.json").read_text())
    return f"{metrics['accuracy']:.3f}", took


def compare_predictions(folder: Path, source: str | Path, device: str) -> None:
    """Probabilities of a model on both devices, and of its ONNX file where it has one."""
    table(f"Predictions of {Path(source).name}", "where", "largest difference of a probability", "photos per second")
    photos = [np.asarray(sample_photo(name)) for name in PHOTOS] + sorted((folder / "digits").rglob("*.png"))[:122]
    here = explorer.load_model(source, device="cpu")
    there = moved(here, device)
    began = time.perf_counter()
    ours = predict(here, photos).probabilities
    row("CPU", 0.0, len(photos) / (time.perf_counter() - began))
    predict(there, photos[:2])
    began = time.perf_counter()
    theirs = predict(there, photos).probabilities
    row(device, float(np.abs(ours - theirs).max()), len(photos) / (time.perf_counter() - began))
    file = next(Path(source).glob("*.onnx"), None)
    if file is None:
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    pixels = torch.cat([here.pixels(here.fit(photo)) for photo in photos[:16]])
    logits = torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])
    row("ONNX", float(np.abs(here.probabilities(logits).numpy() - ours[:16]).max()), "")


def check_memory(model: explorer.Model, device: str, photos: int) -> None:
    """What many photos leave behind on the device, and at their highest."""
    if not device.startswith("cuda"):
        return
    table("Memory of the device", "what", "MB")
    there = moved(model, device)

    def look(number: int) -> None:
        recording = explorer.record(there, sample_photo(PHOTOS[number % len(PHOTOS)]))
        recording.map("rollout")
        if recording.logits is not None:
            recording.map("relevance")

    look(0)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for number in range(photos):
        look(number)
    row(f"left by {photos} photos", (torch.cuda.memory_allocated() - before) / 1e6)
    row("highest, with the model", torch.cuda.max_memory_allocated() / 1e6)


@contextmanager
def little_memory(share: float) -> Iterator[None]:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def check_lack_of_memory(model: explorer.Model, device: str) -> None:
    """What a person reads when the device has too little memory; anything but one sentence is a fault."""
    if not device.startswith("cuda"):
        return
    table("Out of memory", "what", "what is said, or what came out")
    there, photo = moved(model, device), sample_photo("cat")
    recording = explorer.record(there, photo)
    torch.cuda.empty_cache()
    free = (torch.cuda.memory_reserved() + ROOM) / torch.cuda.get_device_properties(0).total_memory
    photos = [np.asarray(photo)] * 64
    expected = predict(there, photos[:1]).probabilities[0]
    works: dict[str, Callable[[], Any]] = {
        "recording at 1,024 px": lambda: explorer.record(there, photo, 1024),
        "recording": lambda: explorer.record(there, photo),
        "relevance": lambda: recording.map("relevance"),
        "integrated gradients": lambda: recording.map("integrated_gradients"),
        "64 predictions": lambda: f"all of them, {error(predict(there, photos).probabilities[-1], expected):.1g} off",
    }
    for name, work in works.items():
        with little_memory(free):
            try:
                made = work()
                row(name, made if isinstance(made, str) else "it fits")
            except ExplorerError as refused:
                row(name, " ".join(str(refused).split()))
            except torch.OutOfMemoryError as raw:
                row(name, f"FAULT, not caught: {str(raw)[:80]}")
    again = explorer.record(there, photo)
    row("afterwards, with memory", f"as before, {error(again.tokens, recording.tokens):.1g} off")


def record_alone(device: str, queue: Any) -> None:
    """In a process of its own: the sum of a rollout's every digit, and how long ten took."""
    model = explorer.load_model("bundled", device=device)
    explorer.record(model, sample_photo("cat"))
    began = time.perf_counter()
    maps = [explorer.record(model, sample_photo("cat")).map("rollout") for _ in range(10)]
    queue.put((maps[-1], time.perf_counter() - began))


def check_sharing(device: str) -> None:
    """One process, then two at once on one device."""
    table("Sharing the device", "processes", "ten recordings with rollout each, s", "maps differ")
    context = multiprocessing.get_context("spawn")
    first: np.ndarray | None = None
    for count in (1, 2):
        queue = context.Queue()
        processes = [context.Process(target=record_alone, args=(device, queue)) for _ in range(count)]
        for process in processes:
            process.start()
        found = [queue.get(timeout=240) for _ in processes]
        for process in processes:
            process.join()
        first = found[0][0] if first is None else first
        row(count, max(took for _, took in found), max(error(heatmap, first) for heatmap, _ in found))


def device_of(asked: str | None) -> str:
    """What to compare with the CPU: as asked, else the GPU; exits with one sentence where there is none."""
    gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = asked or next((name for name, there in gpus.items() if there), "")
    if not device or not gpus.get(device.split(":")[0], True):
        sys.exit("There is no such GPU here to compare with the CPU; --device cpu --quick tries the script itself.")
    return device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cuda, cuda:1 or mps (default: the one that is here)")
    parser.add_argument("--quick", action="store_true", help="small models and few photos")
    parser.add_argument("--skip", nargs="*", default=[], choices=("maps", "training", "memory", "sharing"))
    args = parser.parse_args()
    device, repeats = device_of(args.device), 1 if args.quick else REPEATS
    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    print(f"{name} beside {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads; torch "
          f"{torch.__version__}, timm {timm.__version__}")  # fmt: skip
    models = [explorer.load_model("bundled", device="cpu")]
    models += [random_model(architecture) for architecture in (QUICK if args.quick else ARCHITECTURES)]
    compare_recordings(models, device, repeats)
    if "maps" not in args.skip:
        compare_maps(models[:1] if args.quick else models[:2], device, repeats)
    if "memory" not in args.skip:
        check_memory(models[-1], device, 5 if args.quick else 50)
        check_lack_of_memory(models[0], device)
    if "sharing" not in args.skip:
        check_sharing(device)
    with tempfile.TemporaryDirectory() as folder:
        compare_predictions(Path(folder), "bundled", device)
        if "training" not in args.skip:
            sizes = (40, 1) if args.quick else (600, 3)
            checkpoint = compare_training(Path(folder), device, *sizes)
            if checkpoint is not None and checkpoint.is_dir():
                compare_predictions(Path(folder), checkpoint, device)


if __name__ == "__main__":
    main()
