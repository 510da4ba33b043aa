"""What can be changed in a model's pass: one frozen dataclass per kind of edit, and how a person types each.

drop 3,4            takes patch (3, 4) out of the token list
head 11.2=off       layer 11, head 2 writes nothing; =mean: its mean over other photos, token by token
attention 11=off    the same of all that layer 11's attention adds, or its MLP: mlp 11=off
cut cls:3,4@11.2    in layer 11, head 2, cls no longer reads patch (3, 4); without .2 in all heads, without @ everywhere
put 3,4@6=5,6       what enters layer 6 as patch (3, 4) is the second photo's patch (5, 6); without = the same patch
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from explorer.attention.queries import Query, parse_query, query_name, query_text
from explorer.errors import QueryError
from explorer.words import list_in_words

if TYPE_CHECKING:  # at run time this module needs no torch: the command line reads it for --help
    from explorer.attention.recorded import RecordedPass

To = Literal["off", "mean"]
Patch = tuple[int, int]  # (row, col)


@dataclass(frozen=True)
class DropPatches:
    """Patches that are taken out of the token list: no token reads them, and no pooling."""

    patches: tuple[Patch, ...]


@dataclass(frozen=True)
class SetHead:
    """What one head writes, softmax(q k^T) v, becomes 0 ("off") or its mean over other photos, token by token."""

    layer: int
    head: int
    to: To = "off"


@dataclass(frozen=True)
class SetAttention:
    """What a layer's attention adds to the residual stream becomes 0 or its mean over other photos."""

    layer: int
    to: To = "off"


@dataclass(frozen=True)
class SetMlp:
    """What a layer's MLP adds to the residual stream becomes 0 or its mean over other photos."""

    layer: int
    to: To = "off"


@dataclass(frozen=True)
class CutEdge:
    """One token no longer reads another: the score is minus infinity. layer, head: None for all."""

    query: Query  # the token that reads: a prefix token's name or (row, col)
    key: Query  # the token that is read
    layer: int | None = None
    head: int | None = None


@dataclass(frozen=True)
class PutToken:
    """What enters a layer in a patch's place is a second photo's token. source: its patch, None for the same one."""

    patch: Patch
    layer: int
    source: Patch | None = None


Edit = DropPatches | SetHead | SetAttention | SetMlp | CutEdge | PutToken


def normalise_edits(edits: Sequence[Edit], recording: "RecordedPass") -> tuple[Edit, ...]:
    """The edits, each once, with their layers counted from 0; of two that set one part the last counts.

    Raises QueryError for one that the recording can't take.
    """
    parts = {_part(edit): edit for edit in (_fitted(edit, recording) for edit in edits)}
    fitted = tuple(parts.values())
    dropped = {patch for edit in fitted if isinstance(edit, DropPatches) for patch in edit.patches}
    if len(dropped) == recording.grid[0] * recording.grid[1]:
        raise QueryError("No patch is left: drop all but one of them at most.")
    _check_readable(fitted, recording, len(dropped))
    return fitted


def _part(edit: Edit) -> object:
    """What an edit is about, where a second one would take its place."""
    if isinstance(edit, (SetHead, SetAttention, SetMlp)):
        return type(edit), edit.layer, getattr(edit, "head", None)
    return (PutToken, edit.layer, edit.patch) if isinstance(edit, PutToken) else edit


def _fitted(edit: Edit, recording: "RecordedPass") -> Edit:
    if isinstance(edit, DropPatches):
        _check_patches(edit.patches, recording)
        return edit
    if isinstance(edit, CutEdge):
        for token in (edit.query, edit.key):
            token_index(token, recording)
    if isinstance(edit, PutToken):
        _check_patches((edit.patch, *([edit.source] if edit.source else [])), recording)
    if isinstance(edit, (SetHead, SetAttention, SetMlp)) and edit.to not in get_args(To):
        raise QueryError(f"A part is set to off or mean, not {edit.to!r}.")
    head = getattr(edit, "head", None)
    if head is not None:
        if isinstance(head, str):
            raise QueryError(f"One head is given by its number, not {head!r}.")
        recording.check_head(head)
    if edit.layer is None:
        return edit
    recording.check_layer(edit.layer)
    return replace(edit, layer=edit.layer % recording.depth)


def _check_patches(patches: Sequence[Patch], recording: "RecordedPass") -> None:
    for patch in patches:
        if isinstance(patch, str):
            raise QueryError(f"A patch is given as (row, col), not {patch!r}.")
        recording.query_indices(patch)


def _check_readable(edits: Sequence[Edit], recording: "RecordedPass", dropped: int) -> None:
    """Raise QueryError where the edits leave a token nothing to read."""
    cut: dict[Query, set[Query]] = {}
    for edit in edits:
        if isinstance(edit, CutEdge):
            cut.setdefault(edit.query, set()).add(edit.key)
    for query, keys in cut.items():
        if len(keys) + dropped >= len(recording.tokens):
            raise QueryError(f"Nothing is left that {query_name(query)} could read: cut fewer edges.")


def token_index(token: Query, recording: "RecordedPass") -> int:
    """The index of one token; QueryError for "mean", which is none."""
    if token == "mean":
        known = ", ".join((*recording.prefix_tokens, "a patch as row,col"))
        raise QueryError(f"An edge goes from one token to one other ({known}); the mean of all is none.")
    return recording.query_indices(token)[0]


def in_words(edit: Edit) -> str:
    """ "layer 11, head 2 off", "cls doesn't read patch (3, 4) in layer 11, head 2"."""
    if isinstance(edit, DropPatches):
        count = len(edit.patches)
        return f"{query_name(edit.patches[0])} dropped" if count == 1 else f"{count} patches dropped"
    if isinstance(edit, CutEdge):
        where = "in all layers" if edit.layer is None else f"in layer {edit.layer}"
        where += "" if edit.head is None else f", head {edit.head}"
        return f"{query_name(edit.query)} doesn't read {query_name(edit.key)} {where}"
    if isinstance(edit, PutToken):
        source = query_name(edit.source or edit.patch)
        return f"{query_name(edit.patch)} entering layer {edit.layer} is the second photo's {source}"
    part = {SetHead: "head {}", SetAttention: "attention", SetMlp: "MLP"}[type(edit)]
    to = "off" if edit.to == "off" else "at its mean"
    return f"layer {edit.layer}, {part.format(getattr(edit, 'head', ''))} {to}"


def edit_text(edit: Edit) -> str:
    """An edit as it is typed; parse_edit() reads it."""
    if isinstance(edit, DropPatches):
        return f"drop {' '.join(map(query_text, edit.patches))}"
    if isinstance(edit, SetHead):
        return f"head {edit.layer}.{edit.head}={edit.to}"
    if isinstance(edit, CutEdge):
        where = "" if edit.layer is None else f"@{edit.layer}"
        where += "" if edit.head is None else f".{edit.head}"
        return f"cut {query_text(edit.query)}:{query_text(edit.key)}{where}"
    if isinstance(edit, PutToken):
        source = f"={query_text(edit.source)}" if edit.source else ""
        return f"put {query_text(edit.patch)}@{edit.layer}{source}"
    return f"{'attention' if isinstance(edit, SetAttention) else 'mlp'} {edit.layer}={edit.to}"


def parse_edit(text: str) -> Edit:
    """ "head 11.2=off" -> SetHead(11, 2, "off"); QueryError that shows how an edit is typed."""
    kind, _, rest = text.strip().partition(" ")
    form = FORMS.get(kind)
    if form is None:
        raise QueryError(f"An edit begins with {list_in_words(list(FORMS), 'or')}, not {text!r}.")
    return form.read(rest)


@dataclass(frozen=True)
class Form:
    """How one kind of edit is typed: a pattern, an example, and what the pattern's groups become."""

    name: str
    pattern: str
    example: str
    help: str
    make: Callable[..., Edit]

    def read(self, text: str) -> Any:
        """The edit; QueryError where the text can't be one."""
        found = re.fullmatch(self.pattern, text.strip())
        if found is None:
            raise QueryError(f"{self.name} is typed as in {self.example}, not {text!r}.")
        return self.make(**found.groupdict())


_PATCH, _LAYER, _TO = r"\d+,\d+", r"(?P<layer>-?\d+)", r"(=(?P<to>off|mean))?"


def _patch(text: str) -> Patch:
    row, _, col = text.partition(",")
    return int(row), int(col)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(
            "drop", rf"(?P<patches>{_PATCH}(\s+{_PATCH})*)", "3,4", "take a patch out of the token list",
            lambda patches: DropPatches(tuple(map(_patch, patches.split()))),
        ),
        Form(
            "head", rf"{_LAYER}\.(?P<head>\d+){_TO}", "11.2=off", "switch a head off, or to its mean over --mean-over",
            lambda layer, head, to: SetHead(int(layer), int(head), to or "off"),
        ),
        Form(
            "attention", rf"{_LAYER}{_TO}", "11=off", "the same of all that a layer's attention adds",
            lambda layer, to: SetAttention(int(layer), to or "off"),
        ),
        Form(
            "mlp", rf"{_LAYER}{_TO}", "11=off", "the same of a layer's MLP",
            lambda layer, to: SetMlp(int(layer), to or "off"),
        ),
        Form(
            "cut", rf"(?P<query>[^:@]+):(?P<key>[^:@]+)(@{_LAYER}(\.(?P<head>\d+))?)?", "cls:3,4@11.2",
            "one token no longer reads another: READER:READ, then a layer and head where not in all",
            lambda query, key, layer, head: CutEdge(
                parse_query(query), parse_query(key), _number(layer), _number(head)
            ),
        ),
        Form(
            "put", rf"(?P<patch>{_PATCH})@{_LAYER}(=(?P<source>{_PATCH}))?", "3,4@6=5,6",
            "a token of the photo of --second enters a layer in a patch's place: PATCH@LAYER, then its patch there",
            lambda patch, layer, source: PutToken(_patch(patch), int(layer), source and _patch(source)),
        ),
    )
}  # fmt: skip
