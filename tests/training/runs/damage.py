"""Seeded damage to the files of a run folder, as full disks, other programs and malice leave it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILES = (
    "state.json", "config.json", "metrics.json", "predictions.json", "events.jsonl", "process.json", "dataset.json",
    "resume.pt", "best.safetensors",
)  # fmt: skip
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 2**70, float("nan"), float("inf"), "", "²", "a\0b", "x" * 10_000, "\ud800", "<b>*`$",
    "../../x", "hf-hub:nothing/there", [], {}, [[]], {"": {}}, [1, "2", None], "\n\n",
]  # fmt: skip


def nothing(content: bytes, draw: random.Random) -> bytes:
    return b""


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def binary(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(1, 4000))


def flipped(content: bytes, draw: random.Random) -> bytes:
    """A few bytes are others."""
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 20)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def nested(content: bytes, draw: random.Random) -> bytes:
    opening = draw.choice(["[", '{"status":'])
    return (opening * 100_000).encode()


def odd(content: bytes, draw: random.Random) -> bytes:
    return json.dumps(draw.choice(ODD)).encode()


def other_values(content: bytes, draw: random.Random) -> bytes:
    """Valid JSON of nearly the right shape: some values or keys are replaced, gone or added."""
    try:
        lines = [json.loads(line) for line in content.splitlines()]
        value: Any = lines if len(lines) > 1 else lines[0]
    except ValueError:
        try:
            lines, value = [], json.loads(content)
        except ValueError:  # weights
            return flipped(content, draw)
    for _ in range(draw.randrange(1, 4)):
        _change(value, draw)
    if len(lines) > 1:
        return "".join(json.dumps(line) + "\n" for line in value).encode()
    return json.dumps(value).encode()


def _change(value: Any, draw: random.Random) -> None:
    """Change one place below a dict or list, chosen level by level."""
    if not value or not isinstance(value, (dict, list)):
        return
    key = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
    if isinstance(value[key], (dict, list)) and value[key] and draw.random() < 0.7:
        _change(value[key], draw)
    elif draw.random() < 0.2:
        del value[key]
    else:
        value[key] = draw.choice(ODD)


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    nothing, cut, binary, flipped, nested, odd, other_values, other_values, other_values,
)  # fmt: skip


def damage(folder: Path, draw: random.Random, names: tuple[str, ...] = FILES) -> str:
    """Damage one or two files of the run in that folder; returns what was done."""
    done = []
    for name in draw.sample(names, min(len(names), draw.choice([1, 1, 2]))):
        path, kind = folder / name, draw.choice(DAMAGES)
        if path.is_file():
            path.write_bytes(kind(path.read_bytes(), draw))
            done.append(f"{name}: {kind.__name__}")
    return ", ".join(done)
