"""What isn't PyTorch's is named for what it is, with a remedy that exists."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest

import explorer
from explorer.errors import CheckpointError


def archive() -> bytes:
    file, tensors = io.BytesIO(), {"embedding/kernel": np.zeros((16, 16, 3, 8), np.float32)}
    np.savez(file, allow_pickle=False, **tensors)
    return file.getvalue()


def packed() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return file.getvalue()


FILES = {
    "jax.npz": (archive(), r"a NumPy archive, as JAX models are.*timm\.create_model\(NAME, checkpoint_path=FILE\)"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(200), "an HDF5 file, as Keras"),
    "model.onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(200), "an ONNX program"),
    "renamed.pth": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(200), "an ONNX program"),
    "page.pth": (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page .*download it again"),
    "config.pth": (b'{"model_type": "vit"}', "a text in JSON"),
    "packed.pth": (gzip.compress(bytes(100)), "packed with gzip.*unpack it"),
    "packed.tar": (packed(), "a tar archive.*unpack it"),
    "__0_0.distcp": (bytes(100), "a part of a distributed checkpoint.*dcp_to_torch_save"),
    "quantised.gguf": (b"GGUF\x03\x00\x00\x00" + bytes(100), "a GGUF file"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_called_what_they_are(name, tmp_path):
    content, words = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} is {words}") as caught:
        explorer.load_model(tmp_path / name, device="cpu")
    assert "no PyTorch file" in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_of_a_distributed_checkpoint(tmp_path):
    (tmp_path / "__0_0.distcp").write_bytes(bytes(100))
    with pytest.raises(CheckpointError, match="is a distributed checkpoint: make one file of its folder with torch"):
        explorer.load_model(tmp_path, device="cpu")


def test_a_program_of_torch_export(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/archive_format", "pt2")
    with pytest.raises(CheckpointError, match=r"is a program of torch\.export, not weights: save the PyTorch model's"):
        explorer.load_model(tmp_path / "model.pt2", device="cpu")
