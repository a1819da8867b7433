"""Small random checkpoints in the file layout of `llava-hf/llava-1.5-7b-hf` and `facebook/sam-vit-base`.

Written by hand rather than by `save_pretrained`, which writes today's names: the hub's files carry the older weight
names, half precision, several shards with an index, and the tokenizer and processors as files of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer, LlavaConfig, LlavaForConditionalGeneration, SamConfig, SamModel

from segtune.models.mask_decoder import reset_for_training
from segtune.models.tiny.architecture import sam_config

SIDE, PATCH, VOCABULARY, PADDED = 56, 14, 700, 768
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': '}}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2))


def _llama_tokenizer(directory: Path, texts: Iterable[str]) -> int:
    """A BPE tokenizer of Llama's kind (byte fallback, no space lost); returns the id of `<image>`."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    llama = LlamaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    llama.add_tokens(["<image>", "<pad>"], special_tokens=True)
    llama.save_pretrained(directory)
    ids = {token: llama.convert_tokens_to_ids(token) for token in ("<image>", "<pad>")}
    _write(directory / "added_tokens.json", ids)
    _write(directory / "special_tokens_map.json",
           {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"})  # fmt: skip
    _write(
        directory / "tokenizer_config.json",
        {
            "add_bos_token": True, "add_eos_token": False, "add_prefix_space": None, "bos_token": "<s>",
            "clean_up_tokenization_spaces": False, "eos_token": "</s>", "legacy": False, "model_max_length": 4096,
            "pad_token": "<pad>", "padding_side": "left", "processor_class": "LlavaProcessor",
            "tokenizer_class": "LlamaTokenizer", "trust_remote_code": False, "unk_token": "<unk>",
            "extra_special_tokens": {"image_token": "<image>"}, "image_token": "<image>",
            "added_tokens_decoder": {
                str(number): {"content": token, "lstrip": False, "normalized": False, "rstrip": False,
                              "single_word": False, "special": True}
                for token, number in {"<unk>": 0, "<s>": 1, "</s>": 2, **ids}.items()
            },
        },
    )  # fmt: skip
    return ids["<image>"]


def _llava_config(image_id: int) -> dict[str, Any]:
    return {
        "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": image_id,
        "model_type": "llava", "pad_token_id": image_id + 1, "projector_hidden_act": "gelu",
        "text_config": {
            "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "model_type": "llama",
            "rms_norm_eps": 1e-05, "torch_dtype": "float16", "vocab_size": PADDED, "hidden_size": 64,
            "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        },
        "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.36.0.dev0",
        "vision_config": {
            "hidden_size": 32, "image_size": SIDE, "intermediate_size": 64, "model_type": "clip_vision_model",
            "num_attention_heads": 4, "num_hidden_layers": 3, "patch_size": PATCH, "projection_dim": 24,
            "vocab_size": 32000,
        },
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": PADDED,
    }  # fmt: skip


def _old_name(name: str) -> str:
    for new, old in (
        ("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
        ("model.vision_tower.", "vision_tower.vision_model."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    ):  # fmt: skip
        if name.startswith(new):
            return old + name.removeprefix(new)
    raise AssertionError(name)


def write_llava(directory: Path, texts: Iterable[str], seed: int = 0) -> dict[str, torch.Tensor]:
    """Writes a LLaVA as the hub has it; returns its weights under today's names."""
    directory.mkdir(parents=True)
    config = _llava_config(_llama_tokenizer(directory, texts))
    _write(directory / "config.json", config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llava = LlavaForConditionalGeneration(LlavaConfig(**json.loads(json.dumps(config))))
    state = {name: value.half() for name, value in llava.state_dict().items()}
    old = {_old_name(name): value.contiguous() for name, value in state.items()}
    names = sorted(old)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: old[name] for name in part}, directory / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in shards.items() for name in part}
    size = sum(value.numel() * 2 for value in old.values())
    _write(directory / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map})
    generation = {
        "_from_model_config": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "transformers_version": "4.36.0.dev0",
    }
    _write(directory / "generation_config.json", generation)
    _write(directory / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    _write(
        directory / "processor_config.json",
        {
            "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": PATCH,
            "processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default",
        },
    )  # fmt: skip
    _write(
        directory / "preprocessor_config.json",
        {
            "crop_size": {"height": SIDE, "width": SIDE}, "do_center_crop": True, "do_convert_rgb": True,
            "do_normalize": True, "do_rescale": True, "do_resize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "LlavaProcessor", "resample": 3,
            "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": SIDE},
        },
    )  # fmt: skip
    return state


def write_sam(directory: Path, seed: int = 0, shared_twice: bool = True) -> None:
    """Writes a SAM as the hub has it, its shared positional frequencies stored in both places or only in one."""
    directory.mkdir(parents=True)
    config: SamConfig = sam_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = SamModel(config)
        reset_for_training(sam, torch.Generator().manual_seed(seed))
    config.architectures = ["SamModel"]
    config.save_pretrained(directory)
    shared = "shared_image_embedding.positional_embedding"
    state = {name: value.contiguous() for name, value in sam.state_dict().items() if "shared_embedding" not in name}
    assert shared in state
    if shared_twice:
        state["prompt_encoder.shared_embedding.positional_embedding"] = state[shared].clone()
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})
    _write(
        directory / "preprocessor_config.json",
        {
            "do_convert_rgb": True, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
            "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "SamImageProcessor",
            "image_std": [0.229, 0.224, 0.225], "pad_size": {"height": 128, "width": 128},
            "processor_class": "SamProcessor", "resample": 2, "rescale_factor": 0.00392156862745098,
            "size": {"longest_edge": 128},
        },
    )  # fmt: skip
