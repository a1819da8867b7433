"""Loading a reasoning model by name and joining its halves.

Both come through `pretrained.read_pretrained`, the tiny embedded ones and the 7B ones by the same code.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoProcessor, LlavaForConditionalGeneration, SamImageProcessorPil, SamModel

from segtune.core.errors import CheckpointError
from segtune.core.files import read_json
from segtune.core.input_spec import SEG_TOKEN, ConversationConfig, InputSpec, PixelSpec, TextSpec
from segtune.models.adapters import add_adapters, add_mask_adapters
from segtune.models.assembled import assemble_llava
from segtune.models.bridge import Connector, QueryTokens, SegProjection
from segtune.models.config import ModelConfig
from segtune.models.image_size import resize_inputs
from segtune.models.mask_decoder import SamMaskModel
from segtune.models.pretrained import load_pretrained, read_pretrained, read_safetensors
from segtune.models.quantize import quantize_loaded, reading_options, require_bitsandbytes
from segtune.models.reasoning import ReasoningSegmenter
from segtune.models.trainable import BRIDGE, apply_trainable, canonical_name, component_of
from segtune.models.vlm import LlavaAdapter

EMBEDDED = {"segtune/tiny": "weights"}
KNOWS = {"segtune/tiny": "drawn scenes of coloured shapes and nothing else"}
"""What each embedded base has been trained on."""

HALVES = ("vlm", "mask_model")
ASSEMBLED = "segtune.json"
"""The file that marks a directory with `vlm/`, `mask_model/` and `segmentation.safetensors` as a base."""


ESTIMATES_IOU = "estimates_iou"
"""Where a base writes down whether its decoder has learned to estimate the IoU of its masks."""


@dataclass(slots=True)
class Parts:
    """A loaded model before adapters: the two halves, what joins them, and how input must look.

    `estimates_iou` says whether the mask decoder's estimate of the IoU was ever trained.
    """

    llava: LlavaForConditionalGeneration
    sam: SamModel
    processor: Any
    sam_processor: Any
    input_spec: InputSpec
    bridge: dict[str, torch.Tensor]
    estimates_iou: bool = True


def base_directory(name: str) -> Path:
    """Finds an assembled base: an embedded one by name, or a directory.

    Returns:
        Its absolute path: below a relative one, what is missing would have the form of a hub id.

    Raises:
        CheckpointError: There is none, or a half of it is missing; what one holds is said.
    """
    path = Path(str(files("segtune.models.tiny") / EMBEDDED[name])) if name in EMBEDDED else Path(name)
    path = Path(os.path.abspath(path))
    if not (path / ASSEMBLED).is_file():
        raise CheckpointError(
            "this is no model base",
            where=name,
            expected=f"segtune/tiny, or a directory with {ASSEMBLED}, vlm/ and mask_model/",
            found="no such directory" if not path.exists() else f"no {ASSEMBLED} in it",
            fix="name a base, or give model.vlm and model.mask_model",
        )
    if missing := [f"{half}/" for half in HALVES if not (path / half).is_dir()]:
        raise CheckpointError(
            "this base is damaged", where=name, expected=f"{ASSEMBLED}, vlm/ and mask_model/ in it",
            found=f"no {' and no '.join(missing)}", fix="copy the base again",
        )  # fmt: skip
    return path


def base_facts(directory: Path) -> dict[str, Any]:
    """What a base says about itself: its wording under `conversation`, and settings that decide shapes.

    Args:
        directory: From `base_directory`.

    Raises:
        CheckpointError: Its file is damaged.
    """
    about = read_json(directory / ASSEMBLED)
    try:
        ConversationConfig.model_validate(about["conversation"])
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            "this base is damaged", where=str(directory / ASSEMBLED), expected="a mapping with the wording in it",
            found=str(error).splitlines()[0], fix="copy the base again",
        ) from error  # fmt: skip
    return about


def load_parts(config: ModelConfig, conversation: ConversationConfig | None = None) -> Parts:
    """Loads both halves of a model.

    Args:
        config: Where they come from.
        conversation: The wording; None takes the base's own, or the default where the base has none.

    Raises:
        CheckpointError: A file is missing or damaged, or weights do not fit.
        ConfigError: Something should be quantised, and bitsandbytes is not installed; or the encoders cannot have the
            wanted input size.
    """
    require_bitsandbytes(config.quantize)
    bridge: dict[str, torch.Tensor] = {}
    vlm_path, sam_path = config.vlm, config.mask_model
    if config.base:
        directory = base_directory(config.base)
        vlm_path, sam_path = str(directory / "vlm"), str(directory / "mask_model")
        facts = base_facts(directory)
        bridge = read_safetensors(directory / "segmentation.safetensors")
        bridge = fitting_bridge(bridge, facts.get("prompting", "seg_state"), config)
        conversation = conversation or ConversationConfig.model_validate(facts["conversation"])
    assert sam_path is not None
    dtype = getattr(torch, config.dtype)
    options = reading_options(config.quantize.llm, dtype)
    if config.vision and config.language:
        llava, processor = assemble_llava(config.vision, config.language, dtype, options)
    else:
        assert vlm_path is not None
        llava = load_pretrained(LlavaForConditionalGeneration, vlm_path, dtype, options=options)
        processor = read_pretrained(AutoProcessor, vlm_path, backend="pil")
    # With shared features the image encoder is dropped, and a base exported from such a model has none.
    unneeded = "vision_encoder." if config.mask_features == "shared" else None
    sam = load_pretrained(SamModel, sam_path, torch.float32, unneeded=unneeded)
    hold_frozen_in(sam, config)
    sam_processor = read_pretrained(SamImageProcessorPil, sam_path)
    ensure_seg_token(llava, processor.tokenizer)
    if config.img_size is not None:
        shared = config.mask_features == "shared"
        resize_inputs(llava, processor, sam, sam_processor, config.img_size, shared=shared)
    quantize_loaded(llava, sam, config.quantize, dtype)
    spec = input_spec(llava, processor, sam, sam_processor, config, conversation or ConversationConfig())
    return Parts(llava, sam, processor, sam_processor, spec, bridge, _estimates_iou(sam_path))


def _estimates_iou(sam_path: str) -> bool:
    """What the base says that a SAM lies in; a SAM by itself comes from the hub, pretrained to estimate."""
    about = Path(sam_path).parent / ASSEMBLED
    return read_json(about).get(ESTIMATES_IOU) is True if about.is_file() else True


def hold_frozen_in(sam: SamModel, config: ModelConfig) -> None:
    """Brings the frozen parts of a mask model to `model.dtype`; what trains keeps float32.

    Args:
        sam: The mask model in float32; its image encoder may be gone. Changed in place.
        config: The dtype, and what trains.
    """
    for part, trains in (("vision_encoder", config.train.mask_encoder), ("mask_decoder", config.train.mask_decoder)):
        if trains != "full" and hasattr(sam, part):
            getattr(sam, part).to(getattr(torch, config.dtype))


def ensure_seg_token(llava: LlavaForConditionalGeneration, tokenizer: Any) -> int:
    """Gives the tokenizer a `<SEG>` token and the model a row for it.

    New rows start as the mean of the others, in embedding and head, every one of them: what transformers draws for them
    would be different at each loading. LLaVA-1.5 has 64 padding rows beyond its
    vocabulary: the matrix is grown only where it must be and never shrunk.

    Returns:
        The id of `<SEG>`.
    """
    known = add_seg_token(tokenizer)
    seg_id = int(tokenizer.convert_tokens_to_ids(SEG_TOKEN))
    there = llava.get_input_embeddings().weight.shape[0]
    grows = seg_id >= there
    if grows:
        llava.resize_token_embeddings(seg_id + 1, pad_to_multiple_of=64, mean_resizing=False)
    new = slice(there, None) if grows else slice(seg_id, seg_id + 1)
    if (grows or not known) and llava.device.type != "meta":
        with torch.no_grad():
            for rows in (llava.get_input_embeddings().weight, llava.lm_head.weight):
                rows[new] = rows[: new.start].float().mean(dim=0).to(rows.dtype)
    return seg_id


def add_seg_token(tokenizer: Any) -> bool:
    """Gives a tokenizer a `<SEG>` token where it has none; says whether it had one."""
    known = SEG_TOKEN in tokenizer.get_vocab()
    if not known:
        tokenizer.add_tokens([SEG_TOKEN], special_tokens=True)
    return known


def text_spec(config: Any, tokenizer: Any, conversation: ConversationConfig) -> TextSpec:
    """How queries become token ids.

    Args:
        config: `LlavaConfig`.
        tokenizer: Of the LLaVA.
        conversation: The wording.
    """
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    extra = 0 if config.vision_feature_select_strategy == "default" else 1
    token = tokenizer.convert_ids_to_tokens(config.image_token_id)
    positions = getattr(config.text_config, "max_position_embeddings", None)
    return TextSpec(patches + extra, token, conversation, positions)


def input_spec(
    llava: LlavaForConditionalGeneration, processor: Any, sam: SamModel, sam_processor: Any, config: ModelConfig,
    conversation: ConversationConfig,
) -> InputSpec:  # fmt: skip
    """Reads from the processors and configs how input must look."""
    adapter = LlavaAdapter(llava)
    images = processor.image_processor
    vlm = PixelSpec(
        size=adapter.image_size,
        mean=tuple(images.image_mean),
        std=tuple(images.image_std),
        resample=int(images.resample),
        placement="crop" if config.image_geometry == "crop" else "center",
    )
    mask = None
    if config.mask_features == "encoder":
        mask = PixelSpec(
            size=sam.config.vision_config.image_size,
            mean=tuple(sam_processor.image_mean),
            std=tuple(sam_processor.image_std),
            resample=int(sam_processor.resample),
            placement="corner",
        )
    text = text_spec(llava.config, processor.tokenizer, conversation)
    return InputSpec(vlm, mask, text.num_image_tokens, text.image_token, conversation, text.max_positions)


def assemble(parts: Parts, config: ModelConfig) -> ReasoningSegmenter:
    """Joins loaded parts into a model with adapters in and the right things trainable.

    Raises:
        CheckpointError: The base's projection or connector has other shapes than this model.
        ConfigError: Something asked to train does not exist.
    """
    tokenizer = parts.processor.tokenizer
    seg_id = int(tokenizer.convert_tokens_to_ids(SEG_TOKEN))
    adapter, mask_model = LlavaAdapter(parts.llava), SamMaskModel(parts.sam, estimates_iou=parts.estimates_iou)
    if config.train.projector == "full":
        parts.llava.model.multi_modal_projector.float()  # small steps are lost in 16 bits, and it is small itself
    with torch.device(parts.llava.device):
        projection: SegProjection | QueryTokens
        if config.prompting == "seg_state":
            projection = SegProjection(adapter.width, mask_model.width, config.seg_hidden)
        else:
            projection = QueryTokens(adapter.width, mask_model.width, config.prompt_tokens, config.seg_hidden)
        connector = None
        if config.mask_features == "shared":
            connector = Connector(adapter.tower_width, mask_model.width, mask_model.grid)
            mask_model.drop_encoder()
        add_mask_adapters(parts.sam, config.lora, config.train)
    _load_bridge(projection, "seg_projection.", parts.bridge)
    if connector is not None:
        _load_bridge(connector, "connector.", parts.bridge)
    adapter.vlm = add_adapters(parts.llava, config.lora, config.train, seg_id)
    model = ReasoningSegmenter(
        adapter, mask_model, projection, connector, seg_id=seg_id, eos_id=int(tokenizer.eos_token_id)
    )
    apply_trainable(model, config.train)
    return model


def fitting_bridge(bridge: dict[str, torch.Tensor], prompting: str, config: ModelConfig) -> dict[str, torch.Tensor]:
    """The part of a base's bridge that a model can use: prompts made in another way start afresh.

    Args:
        bridge: `seg_projection.*` and `connector.*`.
        prompting: How the base makes prompts.
        config: Of the model to come.
    """
    if prompting == config.prompting:
        return bridge
    return {name: value for name, value in bridge.items() if not name.startswith("seg_projection.")}


def _load_bridge(module: nn.Module, prefix: str, bridge: dict[str, torch.Tensor]) -> None:
    """Loads a projection or connector where the base has one; a base without one means a fresh start for it."""
    state = {name.removeprefix(prefix): value for name, value in bridge.items() if name.startswith(prefix)}
    if not state:
        return
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if expected != found:
        raise CheckpointError(
            f"the base's {prefix.rstrip('.')} does not fit this model",
            expected=str(expected), found=str(found),
            fix="set model.seg_hidden and model.prompt_tokens as the base has them, or start from parts instead",
        )  # fmt: skip
    module.load_state_dict(state)


def fingerprint(model: nn.Module, trained: Collection[str] | None = None, *, buffers: bool = False) -> str:
    """A short digest of the weights that do not train: says which base a checkpoint belongs to.

    The bridge is left out: a checkpoint holds it, and a base that has none gets a fresh one each time.

    Names, shapes and 16 evenly spaced values of every frozen tensor go in; that tells bases apart in a second, even
    at 7B, where hashing every byte would take a minute.

    Args:
        model: The model.
        trained: Names of the parameters that train in any stage; None for those that train now.
        buffers: Whether what a frozen batch norm has seen counts too: it decides answers as weights do.
    """
    digest = hashlib.sha256()
    frozen: dict[str, Tensor] = {
        canonical_name(name): p
        for name, p in model.named_parameters()
        if (not p.requires_grad if trained is None else name not in trained) and component_of(name) not in BRIDGE
    }
    frozen |= _resting_buffers(model, frozen) if buffers else {}
    for name in sorted(frozen):
        flat = frozen[name].detach().flatten()
        digest.update(f"{name} {tuple(frozen[name].shape)} ".encode())
        if flat.device.type != "meta" and flat.numel():
            sample = flat[torch.linspace(0, flat.numel() - 1, min(16, flat.numel())).long().to(flat.device)]
            digest.update(sample.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _resting_buffers(model: nn.Module, frozen: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lasting buffers of modules of whose parameters none trains: those that no checkpoint holds."""
    resting = {id(parameter) for parameter in frozen.values()}
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        if all(id(parameter) in resting for parameter in module.parameters(recurse=False)):
            lasting = module._buffers.keys() - module._non_persistent_buffers_set
            place = f"{path}." if path else ""
            found |= {canonical_name(place + n): b for n, b in module.named_buffers(recurse=False) if n in lasting}
    return found
