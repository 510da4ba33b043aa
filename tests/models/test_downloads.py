"""Downloads against a small server that answers as the hub does: bytes counted, the cache used, failures explained."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from timm.models import save_for_hf

import explorer
from explorer.errors import ModelError
from explorer.models import downloads, registry
from tests.tiny import photo

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MB = 2**20
STATUS = {"GatedRepo": 403, "RepoNotFound": 404, "EntryNotFound": 404}


@dataclass
class Hub:
    """Folders by repository, and what was asked for."""

    folders: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    statuses: dict[str, int] = field(default_factory=dict)  # by repository: an error without the hub's own code
    breaking: bool = False  # nobody gets more than the first 1.5 MB of a file
    requests: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[str, bytes]:
        """(error code or "", content) of a path such as /org/name/resolve/main/config.json."""
        repository, _, rest = path.lstrip("/").partition("/resolve/")
        if repository in self.statuses:
            return str(self.statuses[repository]), b""
        if repository in self.gated:
            return "GatedRepo", b""
        if repository not in self.folders:
            return "RepoNotFound", b""
        file = self.folders[repository] / rest.partition("/")[2]
        return ("", file.read_bytes()) if file.is_file() else ("EntryNotFound", b"")


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}")
            error, content = hub.answer(self.path)
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            content, sent = content[start:], content[start : int(1.5 * MB)] if hub.breaking else content[start:]
            self.send_response(int(error) if error.isdigit() else STATUS.get(error, 206 if start else 200))
            if error and not error.isdigit():
                self.send_header("X-Error-Code", error)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{abs(hash(self.path)):x}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(sent)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            return None

    return Handler


def point_at(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_at(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(monkeypatch, tmp_path) -> None:
    point_at(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")


def saved(folder: Path, name: str = "test_vit", **settings: Any) -> Any:
    """A small timm model with random weights, saved in the hub's format."""
    torch.manual_seed(1)
    module = timm.create_model(name, **settings)
    save_for_hf(module, str(folder), safe_serialization=True)
    return module.eval()


def test_a_timm_model_comes_with_its_bytes_counted_and_then_from_the_cache(hub, tmp_path):
    reference = saved(tmp_path / "repo")
    hub.folders["timm/test_vit.r160_in1k"] = tmp_path / "repo"
    seen: list[tuple[int, int]] = []
    model = explorer.load_model("timm:test_vit.r160_in1k", device="cpu", progress=lambda *now: seen.append(now))
    size = (tmp_path / "repo" / "model.safetensors").stat().st_size
    assert seen[0] == (0, size) and seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    pixels = model.preprocess(photo())
    torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).detach(), atol=1e-5, rtol=0)
    count = len(hub.requests)
    again = explorer.load_model("timm:test_vit.r160_in1k", device="cpu")
    assert len(hub.requests) == count, "a cached model needs no network"
    assert again.num_parameters == model.num_parameters
    entry = registry.Entry("t", "T", "timm:test_vit.r160_in1k", "")
    assert registry.is_cached(entry)


@pytest.mark.parametrize("source", ["hf:someone/vit", "timm:hf-hub:someone/vit"])
def test_any_repository_in_timm_format(source, hub, tmp_path):
    saved(tmp_path / "repo", num_classes=3)
    hub.folders["someone/vit"] = tmp_path / "repo"
    model = explorer.load_model(source, device="cpu")
    assert (model.name, model.source.source) == ("someone/vit", source)
    logits = explorer.record(model, photo(), size=64).logits
    assert logits is not None and logits.shape == (3,)


def test_a_transformers_repository_in_shards(hub, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, image_size=64, num_labels=3
    )
    config.id2label = {0: "ant", 1: "bee", 2: "cat"}
    reference = transformers.ViTForImageClassification(config).eval()
    reference.save_pretrained(tmp_path / "repo", max_shard_size="100KB")
    colours = '"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]'
    settings = f'{{{colours}, "resample": 2, "size": {{"height": 32, "width": 32}}}}'
    (tmp_path / "repo" / "preprocessor_config.json").write_text(settings)
    assert len(list((tmp_path / "repo").glob("model-*.safetensors"))) > 1
    hub.folders["someone/vit"] = tmp_path / "repo"
    model = explorer.load_model("hf:someone/vit", device="cpu")
    assert (model.mean, model.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (model.input_size, model.interpolation, model.class_names) == (32, "bilinear", ["ant", "bee", "cat"])
    pixels = model.preprocess(photo(), 64)
    expected = reference(pixel_values=pixels).logits.detach()
    torch.testing.assert_close(model.forward(pixels)[1], expected, atol=1e-5, rtol=0)


def save_large(hub: Hub, folder: Path, library: str) -> str:
    """A model of several megabytes in that library's format on the hub; what load_model takes for it."""
    if library == "timm":
        saved(folder, "deit_tiny_patch16_224")
        hub.folders["timm/deit_tiny_patch16_224.fb_in1k"] = folder
        return "deit-t16"
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(hidden_size=192, num_hidden_layers=4, num_attention_heads=3, image_size=64)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    hub.folders["someone/vit"] = folder
    return "hf:someone/vit"


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_the_bytes_grow_while_they_come(library, hub, tmp_path):
    source = save_large(hub, tmp_path / "repo", library)
    size = (tmp_path / "repo" / "model.safetensors").stat().st_size
    seen: list[tuple[int, int]] = []
    explorer.load_model(source, device="cpu", progress=lambda *now: seen.append(now))
    done = [now for now, _ in seen]
    assert done == sorted(done) and done[0] == 0 and done[-1] == size
    assert len(set(done)) >= size // MB >= 4, "a step for each megabyte at least"
    assert {total for _, total in seen} == {size}


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_connection_that_breaks_off_is_a_sentence_and_works_later(library, hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)  # between its own retries
    source = save_large(hub, tmp_path / "repo", library)
    hub.breaking = True
    with pytest.raises(ModelError, match=r"The download of .* broke off: check the connection"):
        explorer.load_model(source, device="cpu")
    assert any("bytes=" in request for request in hub.requests), "it was taken up again where it had ended"
    hub.breaking = False
    assert explorer.load_model(source, device="cpu").width == 192


def test_damaged_weights_in_the_cache(hub, tmp_path):
    saved(tmp_path / "repo")
    whole = (tmp_path / "repo" / "model.safetensors").read_bytes()
    (tmp_path / "repo" / "model.safetensors").write_bytes(whole[:-1000])
    hub.folders |= {"timm/test_vit.r160_in1k": tmp_path / "repo", "someone/vit": tmp_path / "repo"}
    with pytest.raises(
        ModelError, match=r"test_vit\.r160_in1k are damaged .*: delete .*model\.safetensors and try again"
    ):
        explorer.load_model("timm:test_vit.r160_in1k", device="cpu")
    with pytest.raises(ModelError, match="isn't a complete safetensors file"):
        explorer.load_model("hf:someone/vit", device="cpu")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "model.safetensors").write_bytes(whole)
    hub.folders["someone/bare"] = tmp_path / "bare"
    with pytest.raises(ModelError, match=r"The folder someone/bare has no config\.json"):
        explorer.load_model("hf:someone/bare", device="cpu")


def test_unknown_gated_and_empty_repositories(hub, tmp_path):
    hub.gated.add("meta/secret")
    hub.statuses |= {"bad/token": 401, "dis/abled": 403, "too/often": 429, "hub/down": 503}
    hub.folders["someone/readme"] = tmp_path
    for source, words in [
        ("hf:meta/secret", "meta/secret is gated: accept its licence"),
        ("hf:nobody/nothing", "no public model named nobody/nothing: check the spelling"),
        ("hf:someone/readme", "someone/readme holds no weights"),
        ("hf:bad/token", r"The hub refused bad/token \(error 401\): log in again"),
        ("hf:dis/abled", r"The hub refused dis/abled \(error 403\): log in again"),
        ("hf:too/often", "error 429 for too/often: try again later"),
        ("hf:hub/down", "error 503 for hub/down: try again later"),
        ("hf:not a name", "isn't a model id"),
    ]:
        with pytest.raises(ModelError, match=words) as caught:
            explorer.load_model(source, device="cpu")
        assert "\n" not in str(caught.value)


def test_offline_fails_at_once_with_what_to_do(offline):
    for source in ("dino-s8", "hf:google/vit-base-patch16-224", "timm:hf-hub:someone/vit"):
        with pytest.raises(ModelError, match="hub can't be reached: connect to the internet"):
            explorer.load_model(source, device="cpu")


def test_offline_mode_is_an_ordinary_failure(monkeypatch, tmp_path):
    point_at(monkeypatch, "http://127.0.0.1:9", tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="hub can't be reached"):
        explorer.load_model("dino-s8", device="cpu")


def test_what_timm_does_not_have(offline):
    with pytest.raises(ModelError, match=r"timm has no model named vit_smal_patch16.*Did you mean vit_"):
        explorer.load_model("timm:vit_smal_patch16", device="cpu")
    with pytest.raises(ModelError, match=r"no weights named vit_small_patch8_224\.dinoo; it has: .*dino"):
        explorer.load_model("timm:vit_small_patch8_224.dinoo", device="cpu")
    with pytest.raises(ModelError, match="no pretrained weights for vit_small_patch16_36x1_224"):
        explorer.load_model("timm:vit_small_patch16_36x1_224", device="cpu")


def test_the_safe_format_is_tried_first():
    assert downloads.WEIGHTS[0].endswith(".safetensors")
    from explorer.models.timm_models import weight_names

    assert weight_names(None) == downloads.WEIGHTS
    assert weight_names("open_clip_pytorch_model.bin")[0] == "open_clip_pytorch_model.safetensors"
