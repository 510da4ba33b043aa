"""Weights files that are broken, foreign or hostile: one sentence each, nothing run, memory bounded."""

import json
import os
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

import explorer
from explorer.errors import CheckpointError, ModelError
from explorer.models.formats.reading import read_contents


def small() -> dict[str, torch.Tensor]:
    module = VisionTransformer(img_size=32, patch_size=16, embed_dim=64, depth=1, num_heads=1, num_classes=0)
    return dict(module.state_dict())


def refused(path: Path, words: str) -> str:
    """The message with which load_model refuses the file."""
    with pytest.raises(CheckpointError, match=words) as caught:
        explorer.load_model(path, device="cpu")
    message = str(caught.value)
    assert "\n" not in message and path.name in message and message.endswith(".")
    return message


class Touch:
    """A pickle that would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "legacy.pt", "weights.bin"])
def test_an_empty_file(name, tmp_path):
    (tmp_path / name).touch()
    refused(tmp_path / name, "is empty")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["pth", "legacy.pth", "safetensors"])
def test_a_truncated_file(kind, share, tmp_path):
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(small(), path)
    else:
        torch.save(small(), path, _use_new_zipfile_serialization=kind == "pth")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "truncated|isn't a complete safetensors|damaged")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_runs_nothing(legacy, tmp_path):
    target = tmp_path / "ran"
    content = {"state_dict": small(), "args": Touch(target)}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    message = refused(tmp_path / "evil.pth", "nothing ran")
    assert "system" in message
    assert not target.exists()
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Touch(target)))
    refused(tmp_path / "bare.pth", "nothing")
    assert not target.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert target.exists(), "the payload works: it was the explorer that didn't run it"


def test_only_namespace_is_allowed_beside_tensors(tmp_path):
    torch.save({"model": small(), "when": pytest}, tmp_path / "weights.pth", pickle_module=_ModulePickler)
    refused(tmp_path / "weights.pth", "nothing ran|nothing in it was run")


class _ModulePickler:
    """torch.save's pickle_module that writes a module as an import."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj):
            return (__import__, (obj.__name__,)) if type(obj) is type(pytest) else NotImplemented

    dumps = staticmethod(pickle.dumps)
    dump = staticmethod(pickle.dump)


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.pth", "w") as archive:
        archive.writestr("cat.jpg", b"\xff\xd8\xff")
    refused(tmp_path / "photos.pth", "no PyTorch file")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_program(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "scripted.pt"))
    refused(tmp_path / "scripted.pt", "TorchScript")


@pytest.mark.parametrize(
    "content", [b"hello", b"<html>404</html>" * 50, b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(1000)]
)
def test_a_file_of_something_else(content, tmp_path):
    (tmp_path / "weights.pth").write_bytes(content)
    refused(tmp_path / "weights.pth", "(isn't a|no) PyTorch")


def test_a_convolutional_network(tmp_path):
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "resnet.pth")
    refused(tmp_path / "resnet.pth", r"convolutional network \(conv1\.weight")


def test_no_tensors_at_all(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", "no named tensors")
    save_file({}, tmp_path / "weights.safetensors")
    refused(tmp_path / "weights.safetensors", "no named tensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers(value, tmp_path):
    tensors = small()
    tensors["blocks.0.attn.proj.weight"][3, 5] = value
    torch.save(tensors, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", r"blocks\.0\.attn\.proj\.weight contains NaN or infinite")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_three_gigabytes_claimed_by_a_safetensors_header(tmp_path):
    header = {"patch_embed.proj.weight": {"dtype": "F32", "shape": [750, 10**6], "data_offsets": [0, 3 * 10**9]}}
    encoded = json.dumps(header).encode()
    (tmp_path / "huge.safetensors").write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(100))
    (tmp_path / "header.safetensors").write_bytes(struct.pack("<Q", 3 * 10**9) + b"{" + bytes(100))
    before = peak_megabytes()
    refused(tmp_path / "huge.safetensors", "isn't a complete safetensors")
    refused(tmp_path / "header.safetensors", "isn't a complete safetensors")
    assert peak_megabytes() - before < 200


def test_three_gigabytes_claimed_by_a_torch_file(tmp_path):
    before = peak_megabytes()
    torch.save({"patch_embed.proj.weight": torch.zeros(1).expand(750, 10**6)}, tmp_path / "expanded.pth")
    refused(tmp_path / "expanded.pth", "claims shape")
    with zipfile.ZipFile(tmp_path / "deflated.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(100 * 2**20))
    refused(tmp_path / "deflated.pth", "claims 104,857")
    assert peak_megabytes() - before < 300


def test_three_gigabytes_claimed_by_a_storage(tmp_path):
    count = 12_345_678  # found again in the pickle, where it is raised to 750 million
    torch.save({"w": torch.zeros(4)}, tmp_path / "small.pth")
    for legacy in (False, True):
        path = tmp_path / f"storage{legacy}.pth"
        torch.save({"w": torch.zeros(count, dtype=torch.int8)}, path, _use_new_zipfile_serialization=not legacy)
        raw = path.read_bytes().replace(struct.pack("<i", count), struct.pack("<i", 750_000_000))
        path.write_bytes(raw[: len(raw) - (0 if not legacy else count // 2)])
        before = peak_megabytes()
        with pytest.raises(CheckpointError):
            explorer.load_model(path, device="cpu")
        assert peak_megabytes() - before < 200


def test_entries_nested_without_end(tmp_path):
    content: dict = {"w": torch.zeros(1)}
    for _ in range(40):
        content = OrderedDict(a=content, b=content)
    torch.save(content, tmp_path / "nested.pth")
    refused(tmp_path / "nested.pth", "nests its entries too deeply")


def test_a_removed_file_and_folder(tmp_path):
    refused(tmp_path / "gone.safetensors", "doesn't exist")
    with pytest.raises(ModelError, match="isn't a model that the explorer knows"):
        explorer.load_model(tmp_path / "gone", device="cpu")


def test_folders_without_a_usable_config(tmp_path):
    def message() -> str:
        with pytest.raises(ModelError) as caught:
            explorer.load_model(tmp_path, device="cpu")
        return str(caught.value)

    assert "no config.json" in message()
    (tmp_path / "config.json").write_text("{not json")
    assert "isn't readable JSON" in message()
    (tmp_path / "config.json").write_text("[1, 2]")
    assert "holds no settings" in message()
    (tmp_path / "config.json").write_text("{}")
    assert "names no model" in message()
    (tmp_path / "config.json").write_text('{"architecture": "vit_tiny_patch16_224", "model_args": {"depht": 2}}')
    assert "timm can't build vit_tiny_patch16_224" in message()
    (tmp_path / "config.json").write_text('{"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 1}}')
    assert "holds no weights" in message()
    torch.save({"args": Touch(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    assert "nothing ran" in message()
    assert not (tmp_path / "ran").exists()


def test_settings_are_kept_as_plain_values(tmp_path):
    torch.save({"model": {"w": torch.ones(2)}, "args": {"lr": 0.1, "steps": [1, 2]}, "epoch": 3}, tmp_path / "a.pth")
    contents = read_contents(tmp_path / "a.pth")
    assert list(contents.tensors) == ["model.w"]
    assert contents.settings == {"args.lr": 0.1, "args.steps": (1, 2), "epoch": 3}


def test_a_pointer_of_git_lfs_instead_of_the_file(tmp_path):
    (tmp_path / "weights.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:5f1f\nsize 22884\n"
    )
    refused(tmp_path / "weights.safetensors", "Git LFS pointer, not the file itself: fetch it with `git lfs pull`")


def test_quantised_weights_and_a_tensor_without_a_name(tmp_path):
    torch.save({key: tensor.to(torch.int8) for key, tensor in small().items()}, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", "holds quantised weights")
    torch.save(torch.zeros(3), tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", "holds no named tensors")


@pytest.mark.parametrize("settings", ['{"architecture": 5}', '{"architecture": "test_vit", "model_args": [1]}'])
def test_a_config_with_settings_of_another_kind(settings, tmp_path):
    (tmp_path / "config.json").write_text(settings)
    with pytest.raises(CheckpointError, match=r"doesn't describe a model: .* is no "):
        explorer.load_model(tmp_path, device="cpu")
