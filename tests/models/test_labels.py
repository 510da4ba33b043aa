"""Names of classes from whatever a config holds, and what a classifier's outputs mean."""

import json
from typing import Any

import pytest
import torch

import explorer
from explorer.errors import CheckpointError
from explorer.evaluation.predict import predict
from explorer.models.formats.labels import meaning, name_classes
from tests.models.test_formats import photo
from tests.models.test_loading import SMALL

GOOD = [
    (["ant", "bee", "cat"], ["ant", "bee", "cat"]),
    ({"0": "ant", "1": "bee", "2": "cat"}, ["ant", "bee", "cat"]),
    ({2: "cat", 0: "ant", 1: "bee"}, ["ant", "bee", "cat"]),
    ({"0": 0, "1": 1, "2": 2}, ["0", "1", "2"]),
]


@pytest.mark.parametrize("labels, names", GOOD)
def test_names_in_class_order(labels, names):
    assert name_classes(labels, 3) == (names, ())


def test_names_that_begin_at_one_or_have_a_gap():
    names, notes = name_classes({"1": "cat", "2": "dog", "3": "cow"}, 3)
    assert names == ["class 0", "cat", "dog"]
    assert len(notes) == 1 and "class 0 without a name and cow (3) without a class" in notes[0]
    assert name_classes({"0": "ant", "2": "cat"}, 3)[0] == ["ant", "class 1", "cat"]


@pytest.mark.parametrize("labels", [None, 5, "ant", [], {}, {"a": "ant"}, {"0": None}, [["ant"]], {"-1": "x"}])
def test_what_names_nothing(labels):
    assert name_classes(labels, 3) == (None, ())


def test_placeholders_are_no_names():
    assert name_classes({"0": "LABEL_0", "1": "LABEL_1"}, 2) == (None, ())
    assert name_classes({"0": "LABEL_0", "1": "bee"}, 2)[0] == ["LABEL_0", "bee"]


def test_meanings():
    assert meaning("multi_label_classification", 3) == "labels"
    assert meaning("regression", 3) == "number"
    assert meaning(None, 1) == "number"  # as transformers itself takes it
    assert meaning(None, 3) == meaning("nonsense", 3) == "classes"


def classifier(folder, **settings: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    reference: Any = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, **settings)).eval()
    torch.nn.init.normal_(reference.classifier.weight)
    reference.save_pretrained(folder)
    return reference


@pytest.mark.parametrize(
    "problem, function", [("multi_label_classification", torch.sigmoid), ("regression", lambda x: x)]
)
def test_probabilities_are_what_the_outputs_mean(problem, function, tmp_path):
    reference = classifier(tmp_path, num_labels=3, problem_type=problem)
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = model.preprocess(photo())
    with torch.no_grad():
        expected = function(reference(pixels).logits)[0]
    found = predict(model, [photo()], ["photo"])
    torch.testing.assert_close(torch.from_numpy(found.probabilities[0]), expected, atol=1e-5, rtol=0)
    assert model.class_names is None, "LABEL_k are no names"


def test_one_output_is_a_number_whatever_an_old_config_calls_it(tmp_path):
    reference = classifier(tmp_path, num_labels=1)
    config = json.loads((tmp_path / "config.json").read_text()) | {"problem_type": "single_label_classification"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = explorer.load_model(tmp_path, device="cpu")
    with torch.no_grad():
        expected = float(reference(model.preprocess(photo())).logits)
    assert model.outputs == "number" and predict(model, [photo()]).probabilities[0, 0] == pytest.approx(expected, 1e-4)


def test_a_config_that_names_too_few_classes(tmp_path):
    classifier(tmp_path, num_labels=3)
    config = json.loads((tmp_path / "config.json").read_text()) | {"id2label": {"0": "cat", "1": "dog"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="names 2 classes, the classifier in the weights has 3"):
        explorer.load_model(tmp_path, device="cpu")


def test_an_oblong_model_is_shown_at_its_own_size(tmp_path):
    import transformers

    shape = {**SMALL, "image_size": [24, 40], "patch_size": 8}
    reference: Any = transformers.ViTForImageClassification(transformers.ViTConfig(**shape)).eval()
    reference.save_pretrained(tmp_path)
    reference.set_attn_implementation("eager")
    model = explorer.load_model(tmp_path, device="cpu")
    for fit in ("crop", "squash"):
        recording = explorer.record(model, photo(), fit=fit)
        assert recording.grid == (3, 5) and recording.image.size == (40, 24)
        with torch.no_grad():
            out = reference(model.pixels(recording.image), output_attentions=True)
        expected = out.attentions[1][0, 0]
        torch.testing.assert_close(torch.from_numpy(recording.matrix(1, 0)), expected, atol=1e-5, rtol=0)
    assert len(predict(model, [photo()], ["photo"]).images) == 1


@pytest.mark.parametrize("index_name", ["pytorch_model.bin.index.json", "pytorch_model.bin.index.fp16.json"])
def test_a_trainers_folder_in_shards_with_its_optimizer(index_name, tmp_path):
    reference = classifier(tmp_path / "saved", num_labels=3)
    tensors = list(reference.state_dict().items())
    shards = {"pytorch_model-00001-of-00002.bin": tensors[:9], "pytorch_model-00002-of-00002.bin": tensors[9:]}
    folder = tmp_path / "checkpoint-500"
    folder.mkdir()
    for name, part in shards.items():
        torch.save(dict(part), folder / name)
    torch.save({"state": {0: {"exp_avg": torch.ones(3)}}}, folder / "optimizer.pt")
    index = {"weight_map": {key: name for name, part in shards.items() for key, _ in part}}
    (folder / index_name).write_text(json.dumps(index))
    (folder / "config.json").write_text((tmp_path / "saved" / "config.json").read_text())
    pixels = torch.randn(1, 3, *explorer.load_model(folder, device="cpu").input_shape)
    with torch.no_grad():
        expected = reference(pixels).logits
    torch.testing.assert_close(explorer.load_model(folder, device="cpu").forward(pixels)[1], expected)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(CheckpointError, match=r"shard pytorch_model-00002-of-00002.bin .* is missing"):
        explorer.load_model(folder, device="cpu")


@pytest.mark.parametrize("kind", ["TimmWrapperForImageClassification", "TimmWrapperModel"])
def test_a_folder_of_timm_wrapper(kind, tmp_path):
    import transformers

    config = transformers.TimmWrapperConfig.from_dict(
        {"architecture": "test_vit", "num_classes": 3, "label_names": list("abc")}
    )
    reference = getattr(transformers, kind)(config).eval()
    reference.save_pretrained(tmp_path)
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = torch.randn(1, 3, 160, 160)
    tokens, logits = model.forward(pixels)
    with torch.no_grad():
        torch.testing.assert_close(tokens, reference.timm_model.forward_features(pixels), atol=1e-5, rtol=0)
        if kind.endswith("Classification"):
            assert model.class_names == ["a", "b", "c"]
            torch.testing.assert_close(logits, reference(pixels).logits, atol=1e-5, rtol=0)
        else:
            assert logits is None
