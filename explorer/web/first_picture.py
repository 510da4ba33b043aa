"""The app's first picture, which ships with it: what Home shows of the bundled model and the first sample photo.

It needs neither torch nor the model, so it is there seconds before them. `python -m benchmarks.first_picture` makes the
file again, after a change of the model or of what the canvas reads; a test compares it with what the model says.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from explorer.attention.queries import Query, default_query, token_indices
from explorer.models.facts import ModelFacts
from explorer.models.source import ModelSource

FILE = Path(__file__).with_suffix(".safetensors")
_LENGTH = 8  # bytes at the start of a safetensors file that hold its header's length


@dataclass(frozen=True)
class FirstPicture:
    """One layer of a recording as the canvas takes it, and what a page says beside it.

    photo: the sample's name in views ("sample:cat"), at the model's own size and fit; grid: (rows, cols).
    """

    facts: ModelFacts
    photo: str
    grid: tuple[int, int]
    layer: int
    file: bytes

    @property
    def prefix_tokens(self) -> tuple[str, ...]:
        return self.facts.prefix_tokens

    @property
    def default_query(self) -> str:
        return default_query(self.prefix_tokens)

    def query_indices(self, query: Query | None) -> list[int]:
        """As of a recording; QueryError for a query that it doesn't hold."""
        return token_indices(query or self.default_query, self.prefix_tokens, self.grid)

    def payload(self, query: Query, seq: int) -> bytes:
        """What canvas_payload gives for that query, a prefix token or a patch, and that number of a change."""
        header, tensors = _split(self.file)
        settings = json.loads(header["__metadata__"]["canvas"]) | {"query": query, "seq": seq}
        return _join({**header, "__metadata__": {"canvas": json.dumps(settings)}}, tensors)


def pack(payload: bytes, facts: ModelFacts, photo: str, grid: tuple[int, int], layer: int) -> bytes:
    """The file: the canvas' payload with all else as text among its metadata."""
    header, tensors = _split(payload)
    about = {"facts": asdict(facts), "photo": photo, "grid": grid, "layer": layer}
    return _join({**header, "__metadata__": {**header["__metadata__"], "about": json.dumps(about)}}, tensors)


@cache
def read(file: Path = FILE) -> FirstPicture:
    """What pack() wrote."""
    content = file.read_bytes()
    about = json.loads(_split(content)[0]["__metadata__"]["about"])
    known = about["facts"]
    facts = ModelFacts(**known | {
        "source": ModelSource(**known["source"]), "prefix_tokens": tuple(known["prefix_tokens"]),
        "fixed_size": known["fixed_size"] and tuple(known["fixed_size"]), "notes": tuple(known["notes"]),
    })  # fmt: skip
    return FirstPicture(facts, about["photo"], tuple(about["grid"]), about["layer"], content)


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of safetensors bytes."""
    start = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    return json.loads(content[_LENGTH:start]), content[start:]


def _join(header: dict[str, Any], tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _LENGTH)  # tensors begin at a multiple of 8, as the format asks
    return len(text).to_bytes(_LENGTH, "little") + text + tensors
