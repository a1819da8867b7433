"""A tiny random model and a few drawn groups, for every test that needs a whole model.

The base is written once per process into a temporary directory and loaded by the same code as any other; a `Loaded`
is fresh at every call, so that a test may train or break it.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from segtune.core.input_spec import ConversationConfig
from segtune.core.records import IGNORE, Example, Group, Query
from segtune.core.types import Batch
from segtune.data.collate import Collate
from segtune.engine.loading import NOTHING_TRAINS, Loaded, build
from segtune.models.config import LoraSettings, ModelConfig, TrainSettings
from segtune.models.tiny.architecture import IMAGE_SIZE, build_tokenizer, llava_config, sam_config, write_tiny_base

torch.set_num_threads(1)

TEXTS = (
    "What is the red box in this image? Please output segmentation mask. USER: ASSISTANT: It is <SEG>.",
    "Which of these things could hold water, and which one is far to the left of the green disc? Sure, it is <SEG>.",
)
PHRASES = ("the red box", "a disc", "the largest thing that stands beside the small green disc", "the blue one")
NO_DROPOUT = LoraSettings(dropout=0.0)
SEG_HIDDEN = 64

# The dimensions of the tiny model, from its configuration: tests state relations, not today's sizes.
LLAVA, SAM = llava_config(build_tokenizer(TEXTS)), sam_config()
SIDE = IMAGE_SIZE  # of both squares, in model pixels
LOW = 4 * SAM.prompt_encoder_config.image_embedding_size  # side of a low-res mask
WIDTH, LAYERS, ROWS = LLAVA.text_config.hidden_size, LLAVA.text_config.num_hidden_layers, LLAVA.text_config.vocab_size
PATCHES = (SIDE // LLAVA.vision_config.patch_size) ** 2  # image placeholders of a prompt


@cache
def tiny_base(seed: int = 0) -> Path:
    """The directory of a random base; tests only read it (copy it to change it)."""
    directory = Path(tempfile.mkdtemp(prefix="segtune-tiny-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    write_tiny_base(directory, TEXTS * 3, seed, ConversationConfig(), SEG_HIDDEN)
    return directory


def tiny_config(**changes: object) -> ModelConfig:
    """The configuration of a tiny model without dropout."""
    return ModelConfig.model_validate(
        {"base": str(tiny_base()), "seg_hidden": SEG_HIDDEN, "lora": NO_DROPOUT, **changes}
    )


def tiny_loaded(
    mask_features: str = "encoder", train: TrainSettings | None = None, *, seed: int = 0, **changes: object
) -> Loaded:
    """A fresh tiny model in evaluation mode; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded = build(tiny_config(mask_features=mask_features, train=train or TrainSettings(), **changes), None)
    loaded.model.eval()
    return loaded


def plain_loaded(mask_features: str = "encoder", **changes: object) -> Loaded:
    """A tiny model without any adapter, nothing of which trains."""
    return tiny_loaded(mask_features, NOTHING_TRAINS, **changes)


def group(seed: int, *, size: tuple[int, int] = (60, 90), queries: int = 2, ignore: bool = True) -> Group:
    """One image of drawn rectangles and an example for each, reproducible by its seed.

    The queries differ in length, the targets in place; with `ignore` the first target has an ignored stripe.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    image = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
    examples = []
    for index in range(queries):
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        box = (slice(top, top + height // 3), slice(left, left + width // 3))
        image[box] = rng.integers(100, 256, 3)
        target = np.zeros((height, width), np.uint8)
        target[box] = 1
        if ignore and index == 0:
            target[-4:] = IGNORE
        text = f"{PHRASES[(seed + index) % len(PHRASES)]} {index}"
        examples.append(Example(f"g{seed}#{index}", Query(text, is_sentence=index % 2 == 1), target))
    return Group(f"g{seed}", image, tuple(examples))


def groups(count: int, *, queries: int = 2) -> list[Group]:
    """Groups of different sizes, both upright and lying."""
    sizes = ((60, 90), (77, 51), (64, 64), (35, 101))
    return [group(seed, size=sizes[seed % len(sizes)], queries=queries) for seed in range(count)]


def batch_of(loaded: Loaded, members: Sequence[Group], answer: str | Sequence[Sequence[str]] = "It is <SEG>.") -> Batch:
    """A batch of whole groups, all with one answer or with an answer for each query of each group."""
    samples = []
    for index, member in enumerate(members):
        count = len(member.examples)
        answers = (answer,) * count if isinstance(answer, str) else tuple(answer[index])
        samples.append(loaded.transform(member, answers))
    return Collate(loaded.conversation.tokenizer.pad_token_id)(samples)


class DrawnSource:
    """A source of `groups`, drawn when asked for."""

    name = "drawn"

    def __init__(self, count: int, queries: int = 2) -> None:
        self.count, self.queries = count, queries

    def __len__(self) -> int:
        return self.count

    def group(self, index: int, epoch: int = 0) -> Group:
        return group(index, size=(24 + index, 30), queries=self.queries)

    def ids(self, index: int) -> list[str]:
        return [f"g{index}#{query}" for query in range(self.queries)]
