"""A pass with edits: several images at a time, each with its own.

Attention is changed where it is computed, on what scaled_dot_product_attention takes and gives, the residual stream
where it is summed. A pass without edits computes exactly what the model computes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from PIL import Image
from torch import Tensor

from explorer.attention.force_sdpa import visible_attention
from explorer.attention.interventions.edits import (
    CutEdge,
    DropPatches,
    Edit,
    PutToken,
    SetAttention,
    SetHead,
    SetMlp,
    token_index,
)
from explorer.attention.interventions.passes import Part, Places, Walk, mean_parts
from explorer.attention.readers import final_tokens, groups_of, read_pool
from explorer.attention.recorded import RecordedPass
from explorer.attention.scores import Score
from explorer.attention.trace import open_trace
from explorer.errors import QueryError

PUT_NOT = "what enters a layer can't be replaced"
PART_OF = {SetHead: "heads", SetAttention: "attention", SetMlp: "mlp"}


@dataclass(frozen=True, eq=False)
class Values:
    """What edits put in place of what the model computes: parts of other photos."""

    means: dict[Part, Tensor]  # over the photos: heads "head token dim", others "token width"
    second: dict[Part, Tensor]  # of the second photo: what enters its layers

    def of(self, edit: SetHead | SetAttention | SetMlp) -> Float[Tensor, "token dim"] | float:
        """What takes the part's place; dim: of a head, or the width of the tokens."""
        if edit.to == "off":
            return 0.0
        part = self.means[PART_OF[type(edit)], edit.layer]
        return part[edit.head] if isinstance(edit, SetHead) else part

    def token(self, edit: PutToken, recording: RecordedPass) -> Float[Tensor, " width"]:
        """The second photo's token."""
        return self.second["entering", edit.layer][token_index(edit.source or edit.patch, recording)]


NO_VALUES = Values({}, {})


def find_values(
    recording: RecordedPass,
    places: Places,
    edits: Sequence[Edit],
    photos: Sequence[Image.Image] = (),
    second: Image.Image | None = None,
) -> Values:
    """Run the photos that the edits need through the model; QueryError where they are missing or don't fit."""
    means = {
        (PART_OF[type(edit)], edit.layer)
        for edit in edits
        if isinstance(edit, (SetHead, SetAttention, SetMlp)) and edit.to == "mean"
    }
    entering: set[Part] = {("entering", edit.layer) for edit in edits if isinstance(edit, PutToken)}
    if means and not photos:
        raise QueryError("A mean is over photos: give one or more beside this one.")
    if entering and second is None:
        raise QueryError("A token is put in from a second photo: give one.")
    return Values(
        mean_parts(recording, places, photos, means) if means else {},
        mean_parts(recording, places, [second], entering) if entering and second else {},
    )


def check_places(recording: RecordedPass, places: Places, edits: Sequence[Edit]) -> None:
    """Raise QueryError for an edit of a part that isn't known apart in this model."""
    for edit in edits:
        if isinstance(edit, PutToken):
            places.check_stream(recording.model_name, PUT_NOT)
        if isinstance(edit, (SetAttention, SetMlp)):
            places.check_stream(recording.model_name, "a layer's attention or MLP can't be switched off")
            if len(places.sums[edit.layer]) < 2:
                raise QueryError(
                    f"{recording.model_name} adds a layer's attention and MLP in one, so neither can be switched off "
                    "alone: switch its heads off."
                )


@dataclass(frozen=True, eq=False)
class Readout:
    """Where the classifier takes its tokens from: the call that makes them, and the tokens whose mean it reads."""

    number: int
    name: str
    shared: Tensor


def find_readout(recording: RecordedPass, score: Score) -> Readout | None:
    """How a score reads its tokens, so that one can be left out; None where hiding it from attention is enough.

    Raises QueryError where the classifier reads its tokens in a way that none can be left out of.
    """
    with open_trace(recording, score, balanced=False, layers=False) as trace:
        if read_pool(trace):
            return None
        tensor, gradient = final_tokens(trace)
        maker = trace.watch.maker_of(tensor)
    groups = groups_of(gradient, len(recording.prefix_tokens) + 1)
    if maker is None or not groups:
        raise QueryError(
            f"{recording.model_name} doesn't read its score from its tokens in a way that is known here, so no patch "
            "can be left out: ask for gradient, attention or rollout."
        )
    shared = next((group for group in groups if len(group) > 1), None)
    return None if shared is None else Readout(*maker, shared)


class Editor(Walk):
    """A pass of a batch of images, each with its own edits."""

    def __init__(
        self,
        recording: RecordedPass,
        places: Places,
        batch: Sequence[Sequence[Edit]],
        values: Values,
        readout: Readout | None = None,
        one_until: int | None = None,
    ):
        """one_until: the layer up to which all images are one and the same, computed once."""
        rows, cols = recording.grid
        super().__init__(places, len(recording.tokens), rows * cols)
        self.recording, self.batch, self.values, self.readout = recording, batch, values, readout
        self.one_until = one_until
        if readout is not None:
            self.names[readout.number] = readout.name
        self.dropped = [self._dropped(edits) for edits in batch]
        self._edits = [(image, edit) for image, edits in enumerate(batch) for edit in edits]

    def _dropped(self, edits: Sequence[Edit]) -> list[int]:
        """The indices of the tokens that an image is without."""
        patches = {patch for edit in edits if isinstance(edit, DropPatches) for patch in edit.patches}
        return sorted(token_index(patch, self.recording) for patch in patches)

    def attend(self, layer: int | None, func: Callable, args: Any, kwargs: Any) -> Tensor:
        cuts = [(image, edit) for image, edit in self._edits if isinstance(edit, CutEdge) and layer is not None]
        cuts = [(image, edit) for image, edit in cuts if edit.layer in (None, layer)]
        masked = cuts or any(self.dropped)
        out = self._attend_masked(cuts, func, *args, **kwargs) if masked else func(*args, **kwargs)
        for image, edit in self._edits:
            if isinstance(edit, SetHead) and edit.layer == layer:
                out[image, edit.head] = self.values.of(edit)
        return out

    def _attend_masked(
        self, cuts: list[tuple[int, CutEdge]], func: Callable, query, key, value, attn_mask=None, *args, **kwargs
    ) -> Tensor:
        """Dropped tokens are hidden from all; a query with cut edges is computed once more, by itself."""
        mask = attn_mask
        if any(self.dropped):
            mask = add_hidden(attn_mask, self._hidden(key, query.dtype))
        out = func(query, key, value, mask, *args, **kwargs)
        for image, index in {(image, token_index(edit.query, self.recording)) for image, edit in cuts}:
            one = slice(image, image + 1)
            edges = torch.zeros(1, query.shape[1], 1, key.shape[-2], dtype=query.dtype, device=query.device)
            for at, edit in cuts:
                if at == image and token_index(edit.query, self.recording) == index:
                    edges[0, _heads(edit), 0, token_index(edit.key, self.recording)] = -torch.inf
            row = None if mask is None else _row(mask, query, key, one, index)
            again = func(
                query[one, :, index : index + 1], key[one], value[one], add_hidden(row, edges), *args, **kwargs
            )
            cut = edges.isneginf().any(-1)[0, :, 0]
            out[image, cut, index] = again[0, cut, 0]
        return out

    def _hidden(self, key: Tensor, dtype: torch.dtype) -> Tensor:
        """ "image 1 1 key": minus infinity at the tokens that an image is without."""
        hidden = torch.zeros(len(self.batch), 1, 1, self.tokens, dtype=dtype, device=key.device)
        for image, tokens in enumerate(self.dropped):
            hidden[image, 0, 0, tokens] = -torch.inf
        return hidden[..., -key.shape[-2] :]

    def add(self, layer: int, part: int, branch: Tensor) -> Tensor:
        kind = SetMlp if part else SetAttention
        mine = [(image, edit) for image, edit in self._edits if isinstance(edit, kind) and edit.layer == layer]
        if not mine:
            return branch
        branch = branch.clone()
        for image, edit in mine:
            branch[image] = self.values.of(edit) if part < 2 else 0.0  # one mean stands for all that an MLP adds
        return branch

    def enter(self, layer: int, x: Tensor) -> Tensor:
        for image, edit in self._edits:
            if isinstance(edit, PutToken) and edit.layer == layer:
                x[image, token_index(edit.patch, self.recording)] = self.values.token(edit, self.recording)
        return x.repeat(len(self.batch), 1, 1) if layer == self.one_until else x

    def made(self, number: int, out: Any) -> Any:
        if self.readout is None or number != self.readout.number:
            return out
        return out.copy_(fill_dropped(out, self.dropped, self.readout.shared))


def _heads(edit: CutEdge) -> slice | int:
    return slice(None) if edit.head is None else edit.head


def _row(mask: Tensor, query: Tensor, key: Tensor, image: slice, index: int) -> Tensor:
    """One query's row of a mask, "1 head 1 key"."""
    full = mask.expand(*query.shape[:2], query.shape[2], key.shape[-2])
    return full[image, :, index : index + 1]


def add_hidden(
    mask: Shaped[Tensor, "..."] | None, hidden: Float[Tensor, "*#batch key"]
) -> Float[Tensor, "*#batch key"]:
    """The mask of a call as what is added to its scores, with more tokens hidden."""
    if mask is None:
        return hidden
    return hidden.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else mask + hidden


def fill_dropped(
    final: Float[Tensor, "image *tokens width"], dropped: Sequence[Sequence[int]], shared: Int[Tensor, " index"]
) -> Float[Tensor, "image *tokens width"]:
    """Tokens of which each dropped one is the mean of the others that share a mean with it.

    The mean of all is then that of the others. A token that shares none is left as it is.
    """
    flat = final.flatten(1, -2).clone()
    for image, tokens in enumerate(dropped):
        gone = torch.tensor(tokens, device=flat.device, dtype=torch.long)
        if not torch.isin(gone, shared).any():
            continue
        flat[image, gone] = flat[image, shared[~torch.isin(shared, gone)]].mean(dim=0)
    return flat.view(final.shape)


@torch.no_grad()
def run(editor: Editor) -> tuple[Float[Tensor, "image token width"], Float[Tensor, "image class"] | None]:
    """The tokens and logits of the editor's batch."""
    recording, images = editor.recording, len(editor.batch)
    model = recording.model
    pixels = model.pixels(recording.image)
    if editor.one_until is None:
        pixels = pixels.expand(images, -1, -1, -1)
    with visible_attention(model.module), editor:
        return model.forward(pixels)


def scores(
    score: Score, tokens: Float[Tensor, "image token width"], logits: Float[Tensor, "image class"] | None
) -> Float[Tensor, " image"]:
    """The score of each image of a batch."""
    return torch.stack(
        [score(tokens[i : i + 1], None if logits is None else logits[i : i + 1]) for i in range(len(tokens))]
    )
