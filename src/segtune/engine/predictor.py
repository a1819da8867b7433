"""One question about one image, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from segtune.core.errors import ConfigError
from segtune.core.files import write_bytes
from segtune.core.records import Example, Group, Query
from segtune.data.collate import Collate
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.conversation import Conversation
from segtune.data.digests import of_pixels
from segtune.data.given import Given, as_image
from segtune.data.transforms import Transform
from segtune.engine.answer_files import PICTURE, answer_stem, part_path
from segtune.engine.base_notes import tell_what_it_knows
from segtune.engine.inference import answer_batch
from segtune.engine.loading import load, usual_device
from segtune.engine.run_images import images_of
from segtune.models.reasoning import ReasoningSegmenter
from segtune.ops.masks import coco_annotation
from segtune.ops.overlays import overlay
from segtune.ops.rle import rle_encode


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model answered about one image.

    Attributes:
        query: The question.
        text: The model's words.
        masks: bool `[n, h, w]`, original pixels; n is 0 where the model asked for no mask.
        scores: n numbers in [0, 1], the mask decoder's estimate of each IoU; none where it never learned to estimate.
        image: uint8 `[h, w, 3]`, the image as it was read.
        note: What must be known of the model to read the answer; empty where there is nothing.
    """

    query: str
    text: str
    masks: np.ndarray
    scores: tuple[float, ...]
    image: np.ndarray
    note: str = ""

    @property
    def mask(self) -> np.ndarray:
        """Bool `[h, w]`: all masks together, empty where there is none."""
        return np.asarray(self.masks.any(axis=0)) if len(self.masks) else np.zeros(self.image.shape[:2], bool)

    def overlay(self) -> np.ndarray:
        """uint8 `[h, w, 3]`: the mask over the image."""
        return overlay(self.image, self.mask)

    def to_coco(self) -> list[dict[str, Any]]:
        """The masks as COCO annotations without ids: segmentation (RLE), area, bbox (x, y, width, height), score.

        Without `scores` there is no `score`.
        """
        scores = self.scores or (None,) * len(self.masks)
        return [coco_annotation(mask, score) for mask, score in zip(self.masks, scores, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Everything but pixels: query, text, digest and size of the picture, scores, masks as RLE, `emitted`."""
        return {
            "query": self.query,
            "text": self.text,
            PICTURE: of_pixels(self.image),
            "size": list(self.image.shape[:2]),
            **({"scores": list(self.scores)} if self.scores else {}),
            "masks": [rle_encode(mask) for mask in self.masks],
            "emitted": bool(len(self.masks)),
            **({"note": self.note} if self.note else {}),
        }

    def summary(self) -> str:
        """One line about the mask: how much of the image it covers, or that there is none."""
        if not len(self.masks):
            return "no mask: the model's answer asks for none"
        scores = ", estimated IoU " + ", ".join(f"{score:.2f}" for score in self.scores) if self.scores else ""
        masks = "1 mask" if len(self.masks) == 1 else f"{len(self.masks)} masks"
        return f"{masks}, {self.mask.mean():.1%} of the image{scores}"

    def save(self, directory: Path | str, stem: str) -> list[Path]:
        """Writes `STEM_mask.png` (0 and 255), `STEM_overlay.png` and `STEM.json`.

        An older answer to the same question about the same picture is replaced. Where any other file of an answer has
        the stem, a digest of both follows it (see `answer_files.answer_stem`).

        Returns:
            The three paths.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        answer = self.to_dict()
        stem = answer_stem(directory, stem, self.query, answer[PICTURE])
        paths = [*(part_path(directory, stem, part) for part in ("mask", "overlay")), directory / f"{stem}.json"]
        # first, because it says whose the others are, also where these cannot be written
        write_bytes(paths[2], (json.dumps(answer, indent=2, ensure_ascii=False) + "\n").encode())
        Image.fromarray(self.mask.astype(np.uint8) * 255).save(paths[0])
        Image.fromarray(self.overlay()).save(paths[1])
        return paths


class Predictor:
    """A loaded model that answers questions; make one with `from_pretrained`.

    Args:
        model: The model, on its device.
        conversation: Its wording and tokenizer.
        transform: Its input.
        max_new_tokens: Where an answer is cut.
        image: How pictures are read.
        note: For every prediction, see there.
    """

    def __init__(
        self,
        model: ReasoningSegmenter,
        conversation: Conversation,
        transform: Transform,
        max_new_tokens: int = 32,
        image: ImageConfig = USUAL_IMAGES,
        note: str = "",
    ) -> None:
        self.model, self.conversation, self.transform = model.eval(), conversation, transform
        self.max_new_tokens, self.image, self.note = max_new_tokens, image, note

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str | torch.device | None = None,
        max_pixels: int | None = None,
        grey_bits: int | None = None,
    ) -> Self:
        """Loads a model by name.

        Args:
            name: A run (`RUN` for its best checkpoint, `RUN@last`), a checkpoint directory, a base, or `segtune/tiny`.
            device: Where it runs; the accelerator where there is one if None, else the CPU.
            max_pixels: The largest picture that is read, width x height; as its run if None, 50 million without one.
            grey_bits: The bits that grey pictures of 16 bits use; as its run if None, 16 without one.

        Raises:
            CheckpointError: There is no such model, or it is damaged.
            ConfigError: A limit is out of bounds.
        """
        image = images_of(str(name), max_pixels, grey_bits)
        loaded = load(str(name))
        loaded.model.to(usual_device() if device is None else device)
        note = tell_what_it_knows(str(name))
        return cls(loaded.model, loaded.conversation, loaded.transform, loaded.max_new_tokens, image, note)

    def predict(self, image: Given, query: str, *, is_sentence: bool | None = None) -> Prediction:
        """Asks one question.

        Args:
            image: A path, the bytes of a file, an open file, a Pillow image, or an array, RGB `[h, w, 3]` or grey
                `[h, w]`, of uint8 or uint16; all are read alike (see `given.as_image`).
            query: A phrase or a sentence.
            is_sentence: Which of the two it is, as a dataset says it; None: as the text reads.

        Raises:
            DataError: The image cannot be read, or the question does not fit the context of the model.
            ConfigError: The question is no text, or an empty one.
        """
        return self.predict_many(image, [query], is_sentence=is_sentence)[0]

    def predict_many(
        self, image: Given, queries: Sequence[str], *, is_sentence: bool | None = None
    ) -> list[Prediction]:
        """Asks several questions about one image, which is encoded once; raises as `predict` does."""
        if isinstance(queries, str):
            raise ConfigError("one question in place of several", expected="a list of texts", found="a text")
        asked = [Query.typed(query, is_sentence) for query in queries]
        pixels = as_image(image, self.image)
        if not asked:
            return []
        nothing = np.zeros(pixels.shape[:2], np.uint8)
        examples = tuple(Example(f"question {i + 1}", query, nothing) for i, query in enumerate(asked))
        answers = (self.conversation.wording.forced_answer,) * len(examples)
        sample = self.transform(Group("image", pixels, examples), answers)
        device = next(self.model.parameters()).device
        batch = Collate(self.conversation.tokenizer.pad_token_id)([sample]).to(device)
        with torch.inference_mode():
            found = answer_batch(self.model, batch, self.conversation, "generate", max_new_tokens=self.max_new_tokens)
        return [
            Prediction(text, answer.text, answer.logits > 0, answer.scores, pixels, self.note)
            for text, answer in zip(queries, found, strict=True)
        ]
