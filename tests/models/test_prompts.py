"""Text prompts as classes: CLIP's and SigLIP's logits as transformers computes them, and all that is asked of them."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import explorer
from explorer.attention.interventions.edits import DropPatches
from explorer.errors import CheckpointError, ModelError
from explorer.evaluation.bench.sanity import stages
from explorer.models.prompt_files import checked_prompts, has_text_tower
from explorer.models.source import ModelSource
from explorer.rendering.python_script import python_script
from explorer.rendering.view import PhotoInput, View
from tests.models.test_families import SMALL, sharpen
from tests.tiny import photo, save_tiny

pytestmark = pytest.mark.slow  # transformers takes seconds to import

PROMPTS = ("a photo of a cat", "a dog", "two trees")
WORDS = ["<pad>", "<eos>", "<unk>", "a", "photo", "of", "cat", "dog", "two", "trees"]


def save_tokenizer(folder: str) -> None:
    """One word, one token, and an end."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    made: Any = Tokenizer(WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=["input_ids"], **special).save_pretrained(folder)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request, tmp_path_factory):
    """A whole model of that family with random weights, as transformers saves it."""
    import transformers

    path = str(tmp_path_factory.mktemp(request.param))
    torch.manual_seed(0)
    text = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 1, "pad_token_id": 0,
        "bos_token_id": 0, "projection_size": 64,
    }  # fmt: skip
    kind: Any = transformers.CONFIG_MAPPING[request.param]
    config = kind(text_config=text, vision_config=SMALL, projection_dim=24)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        sharpen(model.vision_model)
    model.save_pretrained(path)
    save_tokenizer(path)
    return path


def transformers_logits(folder: str, image: Image.Image, model: explorer.Model) -> np.ndarray:
    import transformers

    whole = transformers.AutoModel.from_pretrained(folder).eval()
    padding: Any = (
        {"padding": "max_length", "max_length": 12} if whole.config.model_type == "siglip" else {"padding": True}
    )
    words = transformers.AutoTokenizer.from_pretrained(folder)(list(PROMPTS), return_tensors="pt", **padding)
    with torch.no_grad():
        return whole(**words, pixel_values=model.preprocess(image)).logits_per_image[0].numpy()


def test_logits_are_those_of_transformers(folder):
    model = explorer.load_model(folder, prompts=PROMPTS)
    recording = explorer.record(model, photo())
    assert recording.logits is not None
    np.testing.assert_allclose(recording.logits, transformers_logits(folder, photo(), model), rtol=1e-4, atol=1e-5)
    assert model.class_names == list(PROMPTS) and model.outputs in ("classes", "labels")
    assert model.source == ModelSource(folder, prompts=PROMPTS)


def test_everything_is_asked_of_a_prompt(folder):
    recording = explorer.record(explorer.load_model(folder, prompts=PROMPTS), photo())
    account = recording.ledger("a dog")
    assert recording.logits is not None
    assert account.error <= 1e-4 and account.score == pytest.approx(float(recording.logits[1]), rel=1e-4)
    for kind in ("relevance", "gradient"):
        one, other = (recording.map(kind, target=target) for target in ("a dog", "two trees"))
        assert one.shape == (4, 4) and not np.allclose(one, other)
    effect = recording.what_if([DropPatches(((1, 2),))], ("a dog", "two trees"))
    occluded = recording.map("occlusion", target=("a dog", "two trees"))
    assert effect.change == pytest.approx(-occluded[1, 2], rel=1e-3, abs=1e-5) and effect.change


def test_the_head_that_a_sanity_check_makes_random_holds_the_prompts(folder):
    """And CLIP's projection: neither lies in the module whose layers become random."""
    model = explorer.load_model(folder, prompts=PROMPTS)
    adapter: Any = model.adapter
    held = {"texts": adapter.texts, "projection": adapter.projection}
    before = {name: tensor.clone() for name, tensor in held.items() if tensor is not None}
    stage: Any = next(stages(model)).model.adapter
    assert len(before) == (1 if "siglip" in folder else 2)
    for name, tensor in before.items():
        random = getattr(stage, name)
        assert not torch.allclose(tensor, random) and torch.equal(held[name], tensor)
        assert float(random.std()) == pytest.approx(float(tensor.std()), rel=0.3)


def test_one_prompt_of_clip_is_a_number(folder):
    model = explorer.load_model(folder, prompts=PROMPTS[:1])
    assert model.outputs == ("number" if "clip" in folder and "siglip" not in folder else "labels")


def test_a_view_keeps_its_prompts(folder):
    view = View(ModelSource(folder, prompts=PROMPTS), PhotoInput("cat.jpg"))
    assert View.from_json(view.to_json()) == view
    assert "prompts=view.source.prompts" in python_script(view) and repr(PROMPTS) in python_script(view)


def test_a_model_without_a_text_half_takes_none(tmp_path):
    with pytest.raises(ModelError, match="no text half with a tokenizer"):
        explorer.load_model(save_tiny(tmp_path), prompts=["a cat"])
    assert not has_text_tower(tmp_path) and not has_text_tower(tmp_path / "nothing")


def test_a_tokenizer_that_cannot_be_read_is_a_sentence(folder, tmp_path):
    import shutil

    copy = tmp_path / "broken"
    shutil.copytree(folder, copy)
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="tokenizer in broken can't be read"):
        explorer.load_model(copy, prompts=["a cat"])


def test_prompts_are_bounded():
    assert checked_prompts([" a cat ", "", "a cat", "b"]) == ("a cat", "b")
    for prompts in (["x" * 1001], [str(i) for i in range(101)]):
        with pytest.raises(ModelError, match="100 text prompts at most"):
            checked_prompts(prompts)
