"""The classes and the foreground of one image, for people and programs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from segtune.core.config import nearest
from segtune.core.errors import ConfigError
from segtune.core.files import write_json
from segtune.core.names import short_name
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.dense.transforms import DenseTransform
from segtune.data.digests import of_pixels
from segtune.data.given import Given, as_image
from segtune.data.sources.classes import has_background
from segtune.engine.answer_files import PICTURE, answer_stem, heat_path, part_path, write_heat
from segtune.engine.dense_config import DenseInferenceConfig
from segtune.engine.dense_inference import segment
from segtune.engine.dense_loading import load_dense_model
from segtune.engine.grad_cam import BINARY, Target, default_layer, grad_cam
from segtune.engine.loading import usual_device
from segtune.engine.run_images import images_of
from segtune.models.dense.network import DenseSegmenter
from segtune.ops.masks import coco_annotation
from segtune.ops.overlays import TEXT, legend, overlay, overlay_heat, overlay_labels

FOREGROUND = "foreground"
_CLASS_BYTES, _DIGITS = 50, 8  # of a class in the name of a file, and of its digest
_LETTERS_PER_LINE = 90  # of a legend below a wide picture


@dataclass(frozen=True, slots=True, eq=False)
class DensePrediction:
    """What a model says about one image, in original pixels.

    Attributes:
        labels: uint8 `[h, w]`, indices into `classes`; None without a head for classes.
        mask: bool `[h, w]`, the binary foreground; None without that head.
        classes: The names of all classes.
        confidence: float32 `[h, w]`: the probability of the class at each pixel; without classes that of the mask's
            decision, foreground or not.
        image: uint8 `[h, w, 3]`, the image as it was read.
        foreground: float32 `[h, w]`, the probability of the foreground; None without that head.
        binary_classes: The classes that make up the foreground.
        background: Whether class 0 is the background, which pictures leave unpainted.
    """

    labels: np.ndarray | None
    mask: np.ndarray | None
    classes: tuple[str, ...]
    confidence: np.ndarray
    image: np.ndarray
    foreground: np.ndarray | None = None
    binary_classes: tuple[str, ...] = ()
    background: bool = False

    @property
    def shares(self) -> dict[str, float]:
        """The share of the image of each class that occurs, the largest first; none without a head for classes."""
        if self.labels is None:
            return {}
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        order = np.argsort(-counts, kind="stable")
        return {self.classes[index]: float(counts[index] / self.labels.size) for index in order if counts[index]}

    @property
    def foreground_share(self) -> float | None:
        """The share of the image inside the binary mask; None without that head."""
        return None if self.mask is None else float(self.mask.mean())

    def overlay(self) -> np.ndarray:
        """uint8 `[h, w, 3]`: the classes over the image, or the mask over it; with both the mask as an outline."""
        if self.labels is None:
            assert self.mask is not None
            return overlay(self.image, self.mask)
        clear = (0,) if self.background else ()
        picture = overlay_labels(self.image, self.labels, len(self.classes), clear=clear)
        return picture if self.mask is None else overlay(picture, self.mask, (255, 255, 255), alpha=0)

    def legend(self) -> np.ndarray:
        """uint8 `[height, w, 3]`: the names of the painted classes in their colours; of no height without classes."""
        width = self.image.shape[1]
        shown = [] if self.labels is None else [int(index) for index in np.unique(self.labels)]
        shown = [index for index in shown if index or not self.background]
        return legend(self.classes, shown, width, text=max(TEXT, width // _LETTERS_PER_LINE))

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO annotations without ids: one for each class that occurs, and one for a foreground that is not empty.

        Each has `category_id` (the label; of the foreground the number of classes), `category_name`, `segmentation`
        (RLE), `area`, `bbox` (x, y, width, height), `iscrowd` and `score`, the mean probability inside.
        """
        masks: list[tuple[int, str, np.ndarray, np.ndarray]] = []
        if self.labels is not None:
            for index in np.unique(self.labels).tolist():
                masks.append((index, self.classes[index], self.labels == index, self.confidence))
        if self.mask is not None and self.foreground is not None and self.mask.any():
            masks.append((len(self.classes), FOREGROUND, self.mask, self.foreground))
        return [
            {"category_id": index, "category_name": name, **coco_annotation(mask, _mean(certain[mask]))}
            for index, name, mask, certain in masks
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything but pixels: size and digest of the picture, classes, their shares, annotations as `to_coco`."""
        return {
            "size": list(self.image.shape[:2]),
            PICTURE: of_pixels(self.image),
            "classes": list(self.classes),
            "binary_classes": list(self.binary_classes),
            "shares": self.shares,
            "foreground_share": self.foreground_share,
            "mean_confidence": _mean(self.confidence),
            "annotations": self.to_coco(),
        }

    def summary(self) -> str:
        """One line: the shares of the largest classes and of the foreground."""
        shares = [f"{name} {share:.1%}" for name, share in self.shares.items()]
        more = [f"{len(shares) - 5} more"] if len(shares) > 5 else []
        mask = [] if self.mask is None else [f"{FOREGROUND} {self.foreground_share:.1%} of the image"]
        return ", ".join([*shares[:5], *more, *mask])

    def save(self, directory: Path | str, stem: str) -> list[Path]:
        """Writes what was predicted; an older answer about the same picture is replaced, and nothing else is.

        `STEM_labels.png` has the class indices as they are (dark to the eye), `STEM_mask.png` 0 and 255,
        `STEM_overlay.png` the classes over the image with their names below, `STEM.json` what `to_dict` gives.

        Returns:
            The paths, without the one of a head that the model lacks.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        answer = self.to_dict()
        stem = answer_stem(directory, stem, None, answer[PICTURE])
        pictures = {
            "labels": self.labels,
            "mask": None if self.mask is None else self.mask.astype(np.uint8) * 255,
            "overlay": np.concatenate([self.overlay(), self.legend()], axis=0),
        }
        about = directory / f"{stem}.json"
        write_json(about, answer)  # first, because it says whose the others are, also where these cannot be written
        paths = []
        for name, picture in pictures.items():
            if picture is not None:
                paths.append(part_path(directory, stem, name))
                Image.fromarray(picture).save(paths[-1])
        return [*paths, about]


class DensePredictor:
    """A dense model that is asked about images.

    Args:
        model: The model, on its device; it is put into evaluation mode.
        transform: Its input.
        config: Views and windows.
        image: How pictures are read.
    """

    def __init__(
        self,
        model: DenseSegmenter,
        transform: DenseTransform,
        config: DenseInferenceConfig | None = None,
        image: ImageConfig = USUAL_IMAGES,
    ) -> None:
        self.image = image
        self.model, self.transform = model.eval(), transform
        self.config = DenseInferenceConfig() if config is None else config
        self.config.tta.order(self.model.classes, self.model.binary_classes, self.model.sided_classes)  # may refuse

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        config: DenseInferenceConfig | None = None,
        max_pixels: int | None = None,
        grey_bits: int | None = None,
    ) -> Self:
        """Loads a model by name, on the accelerator where there is one.

        Args:
            name: A dense run (`RUN` for its best checkpoint, `RUN@last`) or a checkpoint directory.
            config: Views and windows; `tta.mirror` is that of the run where none is given.
            max_pixels: The largest picture that is read, width x height; as its run if None, 50 million without one.
            grey_bits: The bits that grey pictures of 16 bits use; as its run if None, 16 without one.

        Raises:
            CheckpointError: There is no such model, or it is damaged.
            ConfigError: A limit is out of bounds.
        """
        image = images_of(str(name), max_pixels, grey_bits)
        loaded = load_dense_model(str(name))
        loaded.model.to(usual_device())
        return cls(loaded.model, loaded.transform, loaded.as_trained(config or DenseInferenceConfig()), image)

    def predict(self, image: Given) -> DensePrediction:
        """Segments one image.

        Args:
            image: As `given.as_image` takes it: a path, bytes, an open file, a Pillow image or an array.

        Raises:
            DataError: The image cannot be read.
            SegtuneError: The model's answer is NaN.
        """
        pixels, classes = as_image(image, self.image), self.model.classes
        answer = segment(self.model, self.transform, pixels, self.config)
        mask = foreground = None
        if answer.binary_logits is not None:
            mask = answer.binary_logits > 0
            foreground = 0.5 * (1 + np.tanh(0.5 * answer.binary_logits))  # the logistic function, which cannot overflow
        confidence = answer.confidence
        if confidence is None:
            assert foreground is not None
            confidence = np.maximum(foreground, 1 - foreground)
        return DensePrediction(
            answer.labels, mask, classes, confidence, pixels, foreground, self.model.binary_classes,
            has_background(classes),
        )  # fmt: skip

    def heat(self, image: Given, target: str | int, layer: str | None = None) -> np.ndarray:
        """What of an image speaks for a class, by Grad-CAM (see `engine.grad_cam`), on the whole image.

        Args:
            image: As `given.as_image` takes it: a path, bytes, an open file, a Pillow image or an array.
            target: The name or the label of a class, or `binary` (which a class of that name goes before).
            layer: Name of a module of the model; the encoder's last block if None.

        Returns:
            float32 `[h, w]`, 0 to 1, original pixels; `ops.overlays.overlay_heat` makes a picture of it.

        Raises:
            ConfigError: There is no such class or layer.
            DataError: The image cannot be read.
        """
        pixels = as_image(image, self.image)
        names: Mapping[str, Target] = {name: index for index, name in enumerate(self.model.classes)}
        names = {BINARY: BINARY, **names}
        if isinstance(target, str) and target not in names:
            near = nearest(target, names, 1)
            raise ConfigError(
                "there is no such class", where=f"target={target}", expected=", ".join(names), found=target,
                fix=f"did you mean {near[0]}?" if near else "",
            )  # fmt: skip
        chosen: Target = names[target] if isinstance(target, str) else target
        prepared = self.transform.pixels(pixels).to(next(self.model.parameters()).device)
        layer = default_layer(self.model) if layer is None else layer
        return grad_cam(self.model, prepared, layer, chosen, size=(pixels.shape[0], pixels.shape[1]))

    def save_heat(
        self, image: Given, target: str | int, directory: Path | str, stem: str, layer: str | None = None
    ) -> Path:
        """Writes `STEM_heat_CLASS.png`, the heat map of `heat` over the image; raises as `heat` does.

        A map of the same picture is replaced, and nothing else is; the stem is the one of `DensePrediction.save`.

        Returns:
            The path.
        """
        pixels = as_image(image, self.image)
        picture = overlay_heat(pixels, self.heat(pixels, target, layer))
        digest = of_pixels(pixels)
        name = short_name(_plain(str(target)), _CLASS_BYTES)
        path = heat_path(Path(directory), answer_stem(Path(directory), stem, None, digest, name), name)
        write_heat(path, picture, digest)
        return path


def _plain(name: str) -> str:
    """A class name as part of a file name; a digest keeps two that become the same apart."""
    plain = re.sub(r"[^\w.-]+", "_", name)
    if plain == name.replace(" ", "_"):
        return plain
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:_DIGITS]}"


def _mean(values: np.ndarray) -> float:
    """The mean, summed in double precision."""
    return float(values.mean(dtype=np.float64))
