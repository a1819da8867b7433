"""A CLIP and a causal language model by path, in the hub's layout, become a LLaVA that trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from tests.factory import TEXTS, batch_of, groups
from tests.models.hub_layout import write_sam
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from segtune.config import ExperimentConfig
from segtune.core.config import validate
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.records import Query
from segtune.engine.checkpoint import save_checkpoint
from segtune.engine.config import OptimConfig
from segtune.engine.loading import Loaded, build, export_base, load
from segtune.engine.optim import build_optimizer
from segtune.engine.step import train_step
from segtune.engine.words import read_conversation
from segtune.losses.config import LossConfig
from segtune.losses.terms import ReasoningObjective
from segtune.models.config import ModelConfig
from segtune.models.quantize import bits_of
from segtune.models.trainable import component_of, train_mode

SIDE, PATCH, WORDS = 64, 16, 600


def _write_clip(directory: Path, *, whole: bool) -> dict[str, torch.Tensor]:
    """CLIP as `openai/clip-vit-base-patch16` has it, or its vision half; returns the weights of that half."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 99},
        vision_config={**sizes, "image_size": SIDE, "patch_size": PATCH},
        projection_dim=32,
    )
    model = CLIPModel(config)
    half = CLIPVisionModel(config.vision_config)
    (model if whole else half).save_pretrained(directory)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(
        directory
    )
    kept = model.vision_model if whole else half
    return {name.removeprefix("vision_model."): value for name, value in kept.state_dict().items()}


def _write_llama(directory: Path, *, tied: bool = True) -> LlamaForCausalLM:
    """A Llama of the kind of Llama-3.2-1B: byte-level words, tied embeddings, fewer key heads, no padding token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=["<|begin_of_text|>", "<|end_of_text|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>"
    ).save_pretrained(directory)
    torch.manual_seed(2)
    rows = len(tokenizer.get_vocab())
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows, hidden_size=128, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    llama.save_pretrained(directory)
    return llama


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hub")
    tower = _write_clip(directory / "clip", whole=True)
    llama = _write_llama(directory / "llama")
    write_sam(directory / "sam")
    return directory, tower, llama


def _config(directory: Path, **changes: object) -> ModelConfig:
    names = {
        "vision": str(directory / "clip"),
        "language": str(directory / "llama"),
        "mask_model": str(directory / "sam"),
    }
    train = {"projector": "full", **changes.pop("train", {})}  # type: ignore[dict-item]
    return ModelConfig.model_validate({**names, "lora": {"dropout": 0.0}, "train": train, **changes})


def _train(loaded: Loaded, steps: int) -> list[float]:
    train_mode(loaded.model)
    optimizer, batch = build_optimizer(loaded.model, OptimConfig(lr=5e-3)), batch_of(loaded, groups(2))
    losses = []
    for _ in range(steps):
        report = train_step(
            loaded.model, [batch], optimizer, rate=5e-3, clip=1.0,
            objective=ReasoningObjective(LossConfig(), loaded.model.seg_id),
            accelerator=Accelerator(cpu=True), observe=lambda *_: None,
        )  # fmt: skip
        losses.append(float(report.terms["loss"]))
    loaded.model.eval()
    return losses


def test_both_halves_arrive_whole(hub):
    directory, tower, llama = hub
    loaded = build(_config(directory), None)
    llava = loaded.model.vlm.llava
    own = {n.removeprefix("vision_model."): v for n, v in llava.model.vision_tower.state_dict().items()}
    for name, value in tower.items():
        if name in own:
            assert torch.equal(own[name], value), name
    assert len(own) > 40
    words = llama.get_input_embeddings().weight
    assert torch.equal(llava.get_input_embeddings().weight[: len(words)], words)
    assert torch.equal(llava.lm_head.weight[: len(words)], words), "tied rows are copied"
    for name, value in llama.model.layers.named_parameters():
        plain = {n.replace(".base_layer", ""): p for n, p in llava.model.language_model.layers.named_parameters()}
        assert torch.equal(plain[name], value), name


def test_it_reads_images_and_words_like_any_llava(hub):
    loaded = build(_config(hub[0]), None)
    spec = loaded.parts.input_spec
    assert (spec.num_image_tokens, spec.vlm.size, spec.image_token) == ((SIDE // PATCH) ** 2, SIDE, "<image>")
    batch = batch_of(loaded, groups(2))
    with torch.no_grad():
        output = loaded.model.eval()(batch)
        generated = loaded.model.generate(batch, max_new_tokens=3)
    assert torch.isfinite(output.masks.logits).all()
    assert len(generated.token_ids) == len(batch.examples)


@pytest.mark.parametrize("bits", ["none", pytest.param("4bit", marks=pytest.mark.quant)])
def test_it_trains_and_comes_back(hub, bits, tmp_path):
    torch.manual_seed(0)
    loaded = build(_config(hub[0], quantize={"llm": bits, "vision_tower": bits}), None)
    assert {bits_of(loaded.model.vlm.llava.lm_head)} == {"none"}
    losses = _train(loaded, 12)
    assert losses[-1] < 0.9 * losses[0]
    assert "projector" in {component_of(n) for n, p in loaded.model.named_parameters() if p.requires_grad}
    batch = batch_of(loaded, groups(2))
    with torch.no_grad():
        wanted = loaded.model(batch).masks.logits
    about = {"model": loaded.config.model_dump(mode="json"), "base": loaded.config.start,
             "fingerprint": loaded.fingerprint,
             "conversation": loaded.conversation.wording.model_dump(mode="json")}  # fmt: skip
    save_checkpoint(tmp_path / "checkpoints" / "best", loaded.model, about)
    torch.manual_seed(99)  # whatever is drawn at loading, nothing of it is kept
    again = load(str(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(again.model.eval()(batch).masks.logits, wanted, rtol=0, atol=0)
    export_base(again, tmp_path / "base")
    exported = load(str(tmp_path / "base"))
    with torch.no_grad():
        torch.testing.assert_close(exported.model.eval()(batch).masks.logits, wanted, rtol=1e-3, atol=1e-3)


def test_the_vision_half_alone_will_do(hub, tmp_path):
    tower = _write_clip(tmp_path / "half", whole=False)
    loaded = build(_config(hub[0], vision=str(tmp_path / "half")), None)
    own = loaded.model.vlm.llava.model.vision_tower.state_dict()
    assert {n.removeprefix("vision_model.") for n in own} == tower.keys()


@pytest.mark.parametrize(("key", "wrong"), [("vision", "sam"), ("language", "clip"), ("language", "nowhere")])
def test_another_kind_of_model_is_refused(hub, key, wrong):
    with pytest.raises(CheckpointError) as caught:
        build(_config(hub[0], **{key: str(hub[0] / wrong)}), None)
    assert wrong in caught.value.where


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ({"vision": "a", "mask_model": "c", "train": {"projector": "full"}}, "model.language"),
        ({"vision": "a", "language": "b", "mask_model": "c"}, "model.train.projector=full"),
        ({"vision": "a", "language": "b", "train": {"projector": "full"}}, "model.mask_model"),
        ({"vision": "a", "language": "b", "vlm": "d", "mask_model": "c"}, "not both"),
        ({"vision": "a", "language": "b", "base": "d"}, "not both"),
    ],
)
def test_half_a_start_is_refused(model, word):
    with pytest.raises(ConfigError) as caught:
        validate(ExperimentConfig, {"data": {"train": "synth:x@train"}, "model": model}, where="here")
    assert word in str(caught.value)


def test_without_weights_it_asks_as_the_assembled_model_does(hub):
    config, query = _config(hub[0]), Query("the large red car", is_sentence=False)
    read, loaded = read_conversation(config, None), build(config, None).conversation
    assert read.turn(query, "It is <SEG>.") == loaded.turn(query, "It is <SEG>.")
    assert read._room == loaded._room
