"""LLaVA-1.5-7B with SAM ViT-B in full size on the meta device: every name, switch and shape, and no weights."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from benchmarks.random_model import full_size
from tests.models.counts import FULL, lora, nf4, query_tokens
from transformers import CLIPImageProcessorPil, LlavaForConditionalGeneration, SamImageProcessorPil, SamModel

from segtune.config import load_recipe
from segtune.core.input_spec import ConversationConfig
from segtune.core.types import ImageFeatures
from segtune.models.config import LoraSettings, ModelConfig, TrainSettings
from segtune.models.quantize import quantize_loaded
from segtune.models.reasoning import ReasoningSegmenter
from segtune.models.trainable import component_of, table, table_dict
from segtune.models.weights import Parts, assemble, ensure_seg_token, fingerprint, hold_frozen_in, input_spec
from segtune.ops.tokens import SegPositions

SEG_ID = 32002
needs_bitsandbytes = pytest.mark.quant


class HubTokenizer:
    """What is asked of the 7B's tokenizer: 32,000 words, `<image>` and `<pad>`, and `<SEG>` once it is added."""

    eos_token_id = 2

    def __init__(self) -> None:
        self.added = {"<image>": 32000, "<pad>": 32001}

    def get_vocab(self) -> dict[str, int]:
        return self.added

    def add_tokens(self, tokens: list[str], special_tokens: bool) -> None:
        assert special_tokens
        self.added |= {token: 32000 + len(self.added) + i for i, token in enumerate(tokens)}

    def convert_tokens_to_ids(self, token: str) -> int:
        return self.added[token]

    def convert_ids_to_tokens(self, number: int) -> str:
        return {value: key for key, value in self.added.items()}[number]


def _parts(config: ModelConfig) -> Parts:
    llava_config, sam_config = full_size()
    llava_config.image_token_id = 32000
    with torch.device("meta"):
        llava, sam = LlavaForConditionalGeneration(llava_config), SamModel(sam_config)
    clip = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    processor, sam_processor = SimpleNamespace(tokenizer=HubTokenizer(), image_processor=clip), SamImageProcessorPil()
    assert ensure_seg_token(llava, processor.tokenizer) == SEG_ID
    spec = input_spec(llava, processor, sam, sam_processor, config, ConversationConfig())
    return Parts(llava, sam, processor, sam_processor, spec, {})


@cache
def _full(mask_features: str) -> tuple[ReasoningSegmenter, Parts]:
    config = ModelConfig(
        vlm="llava-hf/llava-1.5-7b-hf", mask_model="facebook/sam-vit-base", mask_features=mask_features
    )
    parts = _parts(config)
    return assemble(parts, config), parts


@pytest.fixture(params=["encoder", "shared"])
def features(request) -> str:
    return request.param


def test_the_known_totals():
    """The arithmetic of the hand count against what is published."""
    llava = sum(FULL[part] for part in ("vision_tower", "projector", "embeddings", "llm"))
    assert llava == 7_063_427_072
    assert FULL["lora"] == 4_194_304
    assert FULL["seg_token"] == 2 * 4096
    assert FULL["seg_projection"] == 4096 * 4096 + 4096 + 4096 * 256 + 256
    assert FULL["mask_decoder"] == 4_058_340
    # facebook/sam-vit-base holds 93,735,472 parameters; the 256 positional frequencies are counted with the prompts
    assert FULL["mask_encoder"] + FULL["prompt_encoder"] + FULL["mask_decoder"] - 256 == 93_735_472


def test_every_parameter_has_a_component_and_every_component_its_count(features):
    model, _ = _full(features)
    assert all(p.device.type == "meta" for p in model.parameters())
    assert all(b.device.type == "meta" for b in model.buffers())
    absent = "connector" if features == "encoder" else "mask_encoder"
    assert {row.component: row.total for row in table(model)} == {k: v for k, v in FULL.items() if k != absent}


def test_what_trains_by_default(features):
    model, _ = _full(features)
    trained = {component_of(name) for name, p in model.named_parameters() if p.requires_grad}
    expected = {"lora", "seg_token", "seg_projection", "mask_decoder"}
    expected |= {"connector"} if features == "shared" else set()
    assert trained == expected
    assert table_dict(table(model))["trainable"] == sum(FULL[part] for part in expected)
    adapted = [name for name, p in model.named_parameters() if "lora_" in name]
    assert len(adapted) == 32 * 2 * 2
    assert all(".language_model.layers." in name and name.endswith("default.weight") for name in adapted)
    rows = {tuple(p.shape) for name, p in model.named_parameters() if "trainable_tokens" in name}
    assert rows == {(1, 4096)}


def test_no_row_is_cut_off_or_added_for_seg(features):
    model, _ = _full(features)
    llava = model.vlm.llava
    assert tuple(llava.get_input_embeddings().weight.shape) == (32064, 4096)
    assert tuple(llava.lm_head.weight.shape) == (32064, 4096)
    assert model.seg_id == SEG_ID


def test_how_input_must_look(features):
    spec = _full(features)[1].input_spec
    assert (spec.num_image_tokens, spec.image_token) == (576, "<image>")
    assert (spec.vlm.size, spec.vlm.placement, spec.vlm.resample) == (336, "center", 3)
    if features == "shared":
        assert spec.mask is None
    else:
        assert (spec.mask.size, spec.mask.placement, spec.mask.resample) == (1024, "corner", 2)
        assert spec.mask.mean == (0.485, 0.456, 0.406)


def test_shapes_from_image_to_mask(features):
    model, _ = _full(features)
    images, queries, tokens = 2, 3, 700
    with torch.device("meta"), torch.no_grad():
        tower = model.vlm.tower(torch.empty(images, 3, 336, 336))
        projected = model.vlm.project(tower)
        if features == "encoder":
            seen = model.mask_model.encode(torch.empty(images, 3, 1024, 1024))
        else:
            seen = model.connector(tower)
        # whether a flat mask hides anything cannot be asked on this device; a square one is taken as it is
        square = torch.ones(queries, 1, tokens, tokens, dtype=torch.bool)
        states = model.vlm.language(
            torch.empty(queries, tokens, 4096), square, torch.empty(queries, tokens, dtype=torch.long)
        )
        logits = model.vlm.head(states[:, -1])
        masks = model.decode_masks(
            states, square[:, 0, 0],
            SegPositions(torch.empty(queries, dtype=torch.long), torch.empty(queries, dtype=torch.long)),
            torch.empty(queries, dtype=torch.long), ImageFeatures(tokens=projected, mask_features=seen),
        )  # fmt: skip
    assert tower.shape == (images, 576, 1024)
    assert projected.shape == (images, 576, 4096)
    assert seen.shape == (images, 256, 64, 64)
    assert states.shape == (queries, tokens, 4096)
    assert logits.shape == (queries, 32064)
    assert masks.logits.shape == (queries, 256, 256)
    assert masks.scores.shape == (queries,)


def test_four_targets_and_whole_embeddings():
    config = ModelConfig(
        vlm="llava-hf/llava-1.5-7b-hf", mask_model="facebook/sam-vit-base",
        lora=LoraSettings(r=16, targets=("q_proj", "k_proj", "v_proj", "o_proj")),
        train=TrainSettings(embeddings="full"),
    )  # fmt: skip
    rows = {row.component: row for row in table(assemble(_parts(config), config))}
    assert rows["lora"].trainable == lora(4096, 16, 32, 4) == 16_777_216
    assert rows["embeddings"].trainable == 2 * 32064 * 4096
    assert "seg_token" not in rows


def test_every_target_in_both_towers():
    settings = LoraSettings(targets="all", vision_targets="all", mask_targets="all", dora=True)
    config = ModelConfig(
        vlm="llava-hf/llava-1.5-7b-hf", mask_model="facebook/sam-vit-base", lora=settings,
        train=TrainSettings(vision_tower="lora", mask_encoder="lora"),
    )  # fmt: skip
    rows = {row.component: row.trainable for row in table(assemble(_parts(config), config))}
    # rank 8 by the sum of both widths, and the length of every row; the last of the 24 layers of CLIP is not read
    llama = 8 * (4 * 2 * 4096 + 3 * (4096 + 11008)) + 5 * 4096 + 2 * 11008
    clip = 8 * (4 * 2 * 1024 + 2 * (1024 + 4096)) + 5 * 1024 + 4096
    encoder = 8 * (768 + 3 * 768 + 2 * 768 + 2 * (768 + 3072)) + 3 * 768 + 768 + 768 + 3072
    assert (rows["lora"], rows["vision_lora"], rows["mask_lora"]) == (32 * llama, 23 * clip, 12 * encoder)


def test_adapters_in_projector_and_mask_decoder():
    config = ModelConfig(
        vlm="llava-hf/llava-1.5-7b-hf", mask_model="facebook/sam-vit-base",
        train=TrainSettings(projector="lora", mask_decoder="lora"),
    )  # fmt: skip
    rows = {row.component: row for row in table(assemble(_parts(config), config))}
    assert rows["projector_lora"].trainable == 8 * ((1024 + 4096) + (4096 + 4096))
    # queries and values: of two self attentions 256 wide, and of five attentions between 256 and 128
    assert rows["decoder_lora"].trainable == 8 * (2 * 2 * (256 + 256) + 5 * 2 * (256 + 128))
    assert rows["mask_decoder"].trainable == rows["projector"].trainable == 0


@needs_bitsandbytes
def test_the_memory_of_the_qlora_recipe():
    """LLaVA-1.5-7B in NF4: 4.127 bits a weight of its linear layers, two bytes for all else of the VLM."""
    recipe = load_recipe("llava15-7b-qlora", ["data.root=x"]).model
    parts = _parts(recipe)
    parts.llava.to(torch.bfloat16)
    hold_frozen_in(parts.sam, recipe)
    quantize_loaded(parts.llava, parts.sam, recipe.quantize, torch.bfloat16)
    model = assemble(parts, recipe)
    rows = {row.component: row for row in table(model)}
    assert {name: row.total for name, row in rows.items()} == {k: v for k, v in FULL.items() if k != "connector"}
    square, wide = 4096 * 4096, 4096 * 11008
    norms = 32 * 2 * 4096 + 4096
    assert rows["llm"].bytes == 32 * (4 * nf4(square) + 3 * nf4(wide)) + 2 * norms
    assert round(rows["llm"].bytes / 1e9, 3) == 3.341
    for part in ("embeddings", "projector", "vision_tower", "mask_encoder"):
        assert rows[part].bytes == 2 * FULL[part], part
    for part in ("lora", "seg_token", "seg_projection", "prompt_encoder", "mask_decoder"):
        assert rows[part].bytes == 4 * FULL[part], part
    trained = {component for component, row in rows.items() if row.trainable}
    assert trained == {"lora", "seg_token", "seg_projection", "mask_decoder"}


def test_query_tokens():
    config = ModelConfig(
        vlm="llava-hf/llava-1.5-7b-hf", mask_model="facebook/sam-vit-base", prompting="query_tokens", seg_hidden=512
    )
    rows = {row.component: row.total for row in table(assemble(_parts(config), config))}
    assert rows["seg_projection"] == query_tokens(4096, 256, 4, 512)


def test_a_fingerprint_needs_no_weights(features):
    assert len(fingerprint(_full(features)[0])) == 16
