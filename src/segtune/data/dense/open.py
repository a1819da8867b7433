"""From a dataset's name to labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from segtune.core.log import get_logger
from segtune.core.records import DenseSource
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.layouts import recognise
from segtune.data.open import open_source, the_split
from segtune.data.sources.classes import find_classes
from segtune.data.sources.coco import CocoInstances
from segtune.data.sources.listing import link_roots
from segtune.data.sources.masks import MaskFolder
from segtune.data.sources.synthetic.dense_stream import LabelledScenes
from segtune.data.sources.synthetic.write_masks import write_masks
from segtune.data.sources.texts import TextClasses, classes_of_words
from segtune.data.spec import DataSpec, is_absent

_log = get_logger(__name__)


def open_dense_source(
    spec: DataSpec,
    *,
    root: str | Path | None = None,
    words: Mapping[str, Sequence[str]] | None = None,
    limit: int | None = None,
    seed: int = 0,
    scenes: int = 400,
    stream_length: int = 2048,
    stream_queries: int = 4,
    image: ImageConfig = USUAL_IMAGES,
) -> DenseSource:
    """Opens a dataset whose pixels have classes.

    Args:
        spec: Its name: index masks, COCO instances, a stream, or data with questions. A `synth` directory that is
            absent or empty is drawn first: with index masks, or with questions where there are `words`.
        root: Links in the dataset must stay below this directory or the dataset's own.
        words: Data with questions: the words of each class, in place of the `classes.json` beside the data.
        limit: At most so many images.
        seed: Of what is drawn (`synth` and `stream`).
        scenes: Scenes of a `synth` dataset over all splits, where it is drawn.
        stream_length: Images that a stream calls an epoch.
        stream_queries: Targets of each image of a stream.
        image: How pictures are read.

    Returns:
        The source. One that reads files has `bad`, `files` and `image_path`.

    Raises:
        ConfigError: A stream without words, a stream without this split, or a class without texts.
        DataError: If the directory, the split or `classes.json` is missing or not as expected.
    """
    if spec.kind == "masks":
        return MaskFolder(spec.location, the_split(spec), root=root, limit=limit, image=image)
    if spec.kind == "coco":
        return CocoInstances(spec.location, the_split(spec), root=root, limit=limit, image=image)
    if spec.is_dense:
        length = stream_length if limit is None else min(limit, stream_length)
        return LabelledScenes(spec.location, length, seed, spec.split)
    if not words and _holds_drawn_masks(spec, scenes, seed):
        return MaskFolder(spec.location, the_split(spec), root=root, limit=limit, image=image)
    source = open_source(
        spec, root=root, seed=seed, scenes=scenes, limit=limit, stream_length=stream_length,
        stream_queries=stream_queries, image=image,
    )  # fmt: skip
    if words or spec.directory is None:
        return TextClasses(source, classes_of_words(words or {}), drawn=spec.directory is None)
    directory = spec.directory.expanduser().resolve()
    return TextClasses(source, find_classes(directory, getattr(source, "split", ""), link_roots(directory, root)))


def _holds_drawn_masks(spec: DataSpec, scenes: int, seed: int) -> bool:
    """Whether a dataset is `synth` and holds index masks; one that is not there yet is drawn with them."""
    directory = spec.directory
    if spec.kind != "synth" or directory is None:
        return False
    if is_absent(directory):
        _log.info("drawing %d scenes into %s, which does not exist yet (seed %d)", scenes, directory, seed)
        write_masks(directory, scenes=scenes, seed=seed)
    return recognise(directory) == "masks"
