"""LeGrad, Grad-CAM, integrated gradients and occlusion against other libraries, or written out in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import VisionTransformer

import explorer
from explorer.attention.maps import gradcam, integrated_gradients, legrad, occlusion
from explorer.errors import QueryError
from explorer.models.timm_models import wrap_timm
from tests.explicit import classify, double, norm, pixels_of, run, run_tokens, similarity, with_biases
from tests.models.test_families import sharpen, small_timm
from tests.tiny import blocks_of, photo, tiny_model


@pytest.fixture(scope="module")
def model() -> explorer.Model:
    return with_biases(tiny_model(init_values=0.5))


@pytest.fixture(scope="module")
def recording(model) -> explorer.Recording:
    return explorer.record(model, photo())


def layers_of(made: Any) -> list[torch.Tensor]:
    """What leaves each layer."""
    return made.streams[1:]


@pytest.mark.parametrize("pool", ["token", "avg", "map"])
@pytest.mark.parametrize("start_layer", [0, 2])
def test_legrad_written_out(pool, start_layer):
    model = with_biases(tiny_model(global_pool=pool))
    module = double(model)
    made = run(module, pixels_of(model, photo()), balanced=False)
    parts = []
    for pattern, leaving in list(zip(made.patterns, layers_of(made), strict=True))[start_layer:]:
        logits = classify(module, norm(module.norm, leaving, False), False)
        (gradient,) = torch.autograd.grad(logits[2], pattern, retain_graph=True)
        parts.append(gradient.clamp_min(0).mean(dim=(0, 1)))
    expected = torch.stack(parts).mean(0)[1:].numpy()
    got = legrad.compute(explorer.record(model, photo()), 2, start_layer=start_layer)
    np.testing.assert_allclose(got.ravel(), expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_legrad_of_a_likeness(recording, model):
    second = explorer.record(model, photo(seed=9))
    module = double(model)
    made = run(module, pixels_of(model, photo()), balanced=False)
    anchor = torch.from_numpy(second.tokens[0]).double()
    parts = []
    for pattern, leaving in zip(made.patterns, layers_of(made), strict=True):
        score = similarity(norm(module.norm, leaving, False)[0], anchor)
        (gradient,) = torch.autograd.grad(score, pattern, retain_graph=True)
        parts.append(gradient.clamp_min(0).mean(dim=(0, 1)))
    expected = torch.stack(parts).mean(0)[1:].numpy()
    got = legrad.compute(recording, similar_to=second).ravel()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * expected.max())


def on_grid(tokens: torch.Tensor) -> torch.Tensor:
    """ "image token channel" as "image channel row col", as libraries for convolutional nets want it."""
    return tokens[:, 1:].unflatten(1, (8, 8)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("layer", [-1, 1])
def test_gradcam_equals_torch_cams(recording, model, layer):
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    with methods.GradCAM(model.module, blocks_of(model)[layer].norm1, reshape_transform=on_grid) as cam:
        scores = model.module(model.pixels(recording.image).requires_grad_())
        expected = cam(3, scores, normalized=False)[0][0]
    got = recording.map("gradcam", target=3, layer=layer)
    np.testing.assert_allclose(got, expected, atol=1e-4 * float(expected.max()))
    assert got.max() > 0


def test_legrad_equals_torch_cams(tmp_path):
    """torchvision's ViT, which torch-cam reads as it is and the explorer through its conversion."""
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    torch.manual_seed(0)
    original = VisionTransformer(
        image_size=64, patch_size=8, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=7
    ).eval()
    heads: Any = original.heads
    with torch.no_grad():
        heads.head.weight.normal_()
        sharpen(original)
    torch.save(original.state_dict(), tmp_path / "vit.pth")
    model = explorer.load_model(tmp_path / "vit.pth", device="cpu", num_heads=4)
    read: Any = lambda tokens: original.heads(original.encoder.ln(tokens)[:, 0])  # noqa: E731
    with methods.LeGrad(original, list(original.encoder.layers), score_projection=read) as cam:
        scores = original(model.preprocess(photo()))
        expected = cam(3, scores, normalized=False)[0][0]
    got = explorer.record(model, photo()).map("legrad", target=3)
    np.testing.assert_allclose(got, expected, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("layer", [-1, 1])
def test_gradcam_equals_pytorch_grad_cam(recording, model, layer):
    from pytorch_grad_cam import GradCAM  # slow to import
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    where = blocks_of(model)[layer].norm1
    with GradCAM(model.module, [where], reshape_transform=on_grid) as cam:
        cam.activations_and_grads(model.pixels(recording.image).requires_grad_())
        scores = cam.activations_and_grads(model.pixels(recording.image).requires_grad_())
        ClassifierOutputTarget(3)(scores[0]).backward()
        activations, gradients = (
            found[0].detach().cpu().numpy()
            for found in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
        )
        unused: Any = None
        expected = cam.get_cam_image(unused, where, unused, activations, gradients, False)[0]
    got = gradcam.compute(recording, 3, layer=layer)
    np.testing.assert_allclose(got, expected.clip(0), atol=1e-4 * np.abs(expected).max())
    assert got.max() > 0


def test_gradcam_written_out(recording, model):
    made = run(double(model), pixels_of(model, photo()), balanced=False)
    (gradient,) = torch.autograd.grad(made.logits[1], made.normed[0])
    expected = (made.normed[0] @ gradient[1:].mean(0)).clamp_min(0)[1:].detach().numpy()
    got = gradcam.compute(recording, 1, layer=0).ravel()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize("layer", [0, 1])
def test_gradcam_reads_the_stream_where_a_layer_begins_without_a_norm(layer):
    name = "vit_relpos_base_patch16_rpn_224"
    model = wrap_timm(small_timm(name), name)
    with torch.no_grad():
        sharpen(model.module)
    seen: list[torch.Tensor] = []
    handle = blocks_of(model)[layer].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    recording = explorer.record(model, photo())
    pixels = model.pixels(recording.image).requires_grad_()
    with torch.enable_grad():
        _, logits = model.forward(pixels)
    handle.remove()
    assert logits is not None
    (gradient,) = torch.autograd.grad(logits[0, 5], seen[-1])
    expected = (seen[-1][0] @ gradient[0].mean(0)).clamp_min(0).detach().numpy()
    got = gradcam.compute(recording, 5, layer=layer).ravel()
    np.testing.assert_allclose(got, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("baseline", ["grey", "black", "mean"])
def test_integrated_gradients_equal_captums(recording, model, baseline):
    from captum.attr import IntegratedGradients  # slow to import

    pixels = model.pixels(recording.image)
    start = integrated_gradients.baseline_pixels(recording, pixels, baseline)
    parts = IntegratedGradients(model.module).attribute(pixels, start, target=3, n_steps=20)
    expected = parts[0].sum(0).unflatten(0, (8, 8)).unflatten(2, (8, 8)).sum((1, 3)).detach().numpy()
    got = integrated_gradients.integral(recording, 3, steps=20, baseline=baseline).heatmap
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_integrated_gradients_add_up(recording):
    account = integrated_gradients.integral(recording, 2, steps=128).completeness
    assert account.score == pytest.approx(float(recording.logits[2]), rel=1e-4)
    assert account.attributions == pytest.approx(account.score - account.biases, rel=0.02)
    second = explorer.record(recording.model, photo(seed=9))
    assert integrated_gradients.integral(recording, similar_to=second, steps=4).heatmap.shape == (8, 8)


def logits_without(model: explorer.Model, patch: int) -> torch.Tensor:
    """The model's logits in float64 with one patch's token taken out of the list before layer 0."""
    module: Any = double(model)
    x = module.norm_pre(module._pos_embed(module.patch_embed(pixels_of(model, photo()))))[0].detach()
    kept = [i for i in range(len(x)) if i != patch + module.num_prefix_tokens]
    return run_tokens(module, x[kept], balanced=False).logits.detach()


@pytest.mark.parametrize("pool", ["token", "avg", "map"])
def test_occlusion_takes_the_token_out_of_the_list(pool):
    model = with_biases(tiny_model(global_pool=pool, reg_tokens=1))
    whole = run(double(model), pixels_of(model, photo()), balanced=False).logits.detach()
    got = occlusion.compute(explorer.record(model, photo()), 4)
    for patch in (0, 9, 63):
        expected = float(whole[4] - logits_without(model, patch)[4])
        assert got.ravel()[patch] == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert got.min() < 0 < got.max()


@pytest.mark.parametrize(
    ("kind", "settings", "total"), [("occlusion", {}, 64), ("integrated_gradients", {"steps": 20}, 20)]
)
def test_long_maps_say_how_far_they_are(recording, kind, settings, total):
    seen: list[tuple[int, int]] = []
    shown = recording.map(kind, progress=lambda done, whole: seen.append((done, whole)), **settings)
    np.testing.assert_array_equal(shown, recording.map(kind, **settings))
    assert [whole for _, whole in seen] == [total] * len(seen) and len(seen) > 1
    done = [count for count, _ in seen]
    assert done == sorted(done) and done[-1] == total


def test_occlusion_beside_a_bias_before_softmax():
    name = "beit_base_patch16_224"
    model = wrap_timm(small_timm(name), name)
    with torch.no_grad():
        sharpen(model.module)
    got = occlusion.compute(explorer.record(model, photo()), 0)
    assert got.shape == (14, 14) and np.isfinite(got).all() and np.abs(got).max() > 0


def test_settings_out_of_range_are_refused(recording):
    with pytest.raises(QueryError, match="0 to 2"):
        legrad.compute(recording, start_layer=3)
    with pytest.raises(QueryError, match="layers 0 to 2"):
        gradcam.compute(recording, layer=3)
    with pytest.raises(QueryError, match="2 to 512"):
        integrated_gradients.integral(recording, steps=1)
    with pytest.raises(QueryError, match="grey, black or mean"):
        integrated_gradients.integral(recording, baseline="white")  # pyright: ignore[reportArgumentType]
    for compute in (legrad.compute, gradcam.compute, integrated_gradients.integral, occlusion.compute):
        with pytest.raises(QueryError, match="0 to 4"):
            compute(recording, 5)
