"""What else people give in the place of a PyTorch file: told by its first bytes, and named with what to do."""

import zipfile
from pathlib import Path

from explorer.errors import CheckpointError

DISTRIBUTED = ".distcp"  # ending of what torch.distributed.checkpoint writes
SAVE = "save the PyTorch model's state_dict() and give that file"
CONVERT = "open it with timm.create_model(NAME, checkpoint_path=FILE) and give what timm's save_for_hf writes"
JOIN = "make one file of its folder with torch.distributed.checkpoint.format_utils.dcp_to_torch_save and give that"
AGAIN = "download it again, with what its page asks for"
LFS_POINTER = b"version https://git-lfs."
# First bytes, what such a file is, and the remedy.
KINDS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and TensorFlow write", SAVE),
    (b"GGUF", "a GGUF file, whose weights are quantised", SAVE),
    (b"\x1f\x8b", "packed with gzip", "unpack it and give the weights file inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and give the weights file inside"),
    (b"Rar!", "a RAR archive", "unpack it and give the weights file inside"),
    (b"<", "a web page or another text", AGAIN),
    (b"{", "a text in JSON", SAVE),
)


def check_kind(path: Path, head: bytes) -> None:
    """Raise CheckpointError for a file that is known to be something else; head: its first 512 bytes."""
    if not head:
        raise CheckpointError(f"{path.name} is empty: copy or download it again.")
    if head.startswith(LFS_POINTER):
        raise CheckpointError(f"{path.name} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`.")
    kinds = [(what, remedy) for start, what, remedy in KINDS if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(start)]
    if path.suffix.lower() == ".onnx" or (head[:1] == b"\x08" and b"\x12\x07pytorch" in head):
        kinds.append(("an ONNX program, whose blocks can't be told apart", SAVE))
    if head[4:8] in (b"TFL3", b"ET12"):
        kinds.append(("a program for phones", SAVE))
    if head[257:262] == b"ustar":
        kinds.append(("a tar archive", "unpack it and give the weights file inside"))
    if path.suffix == DISTRIBUTED:
        kinds.append(("a part of a distributed checkpoint", JOIN))
    if kinds:
        what, remedy = kinds[0]
        raise CheckpointError(f"{path.name} is {what}, no PyTorch file: {remedy}.")


def no_torch_zip(path: Path, archive: zipfile.ZipFile) -> CheckpointError:
    """What is wrong with a zip that isn't PyTorch's."""
    if any(name.endswith(".npy") for name in archive.namelist()):
        return CheckpointError(f"{path.name} is a NumPy archive, as JAX models are, no PyTorch file: {CONVERT}.")
    if any(name.endswith("archive_format") for name in archive.namelist()):
        return CheckpointError(f"{path.name} is a program of torch.export, not weights: {SAVE}.")
    return CheckpointError(f"{path.name} is a zip archive but no PyTorch file: give a .pth or .safetensors file.")
