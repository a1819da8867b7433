"""Whether the drawn data that lie on the disk are those that a recipe describes.

A `synth` directory is drawn where it is absent. One that is there was perhaps drawn with another size, seed or version,
and `config.yaml` would then record what the run was not trained on.
"""

from __future__ import annotations

import json
import re

from segtune.core.errors import DataError
from segtune.data.config import SynthConfig
from segtune.data.layouts import recognise
from segtune.data.prepare import named_dataset
from segtune.data.sources.synthetic.drawn_directory import DESCRIPTION, drawn_as, in_words
from segtune.data.sources.synthetic.write import FILES, description_of
from segtune.data.sources.synthetic.write_masks import MASKS_FILES, masks_description
from segtune.data.spec import DataSpec, is_absent


def is_drawn(spec: DataSpec) -> bool:
    """Whether a dataset is drawn, by the file that every drawn directory holds, whatever kind it is named as.

    Args:
        spec: A dataset that is there.
    """
    return spec.directory is None or (spec.directory.expanduser() / DESCRIPTION).is_file()


def require_drawn_as_asked(names: dict[str, str | None], root: str | None, asked: SynthConfig) -> None:
    """Refuses a `synth` dataset that was drawn otherwise than the recipe says; one that is absent will be drawn.

    Args:
        names: The datasets of the recipe by their keys.
        root: The directory before relative paths.
        asked: What the recipe says of the drawing.

    Raises:
        DataError: It was drawn with another size, seed or version, has lost files, or was not drawn at all.
    """
    for key, name in names.items():
        spec = named_dataset(name, root) if name else None
        if spec is None or spec.kind != "synth" or spec.directory is None or is_absent(spec.directory):
            continue
        masks = recognise(spec.directory) == "masks"
        wanted = (masks_description if masks else description_of)(asked.scenes, asked.seed)
        found = drawn_as(spec.directory.expanduser().resolve(), wanted, MASKS_FILES if masks else FILES)
        if found:
            raise DataError(
                f"the data of {key} were drawn otherwise than data.synth says",
                where=str(spec.directory),
                expected=in_words(wanted),
                found=found,
                fix=_fix(spec, "masks" if masks else "reasonseg"),
            )


def _fix(spec: DataSpec, plain: str) -> str:
    """What to do: draw others, say that these are meant, or take the files as they are."""
    assert spec.directory is not None
    split = f"@{spec.split}" if spec.split else ""
    others = f"draw others beside them (synth:{spec.location}2{split}), or remove {spec.location}"
    as_it_is = f"name them {plain}:{spec.location}{split}, which takes files as they are"
    try:
        made = json.loads((spec.directory / DESCRIPTION).read_text(encoding="utf-8"))
        scenes, seed = made["scenes"], made["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{others}, or {as_it_is}"
    if not all(re.fullmatch(r"\d+", str(value)) for value in (scenes, seed)):
        return f"{others}, or {as_it_is}"
    return f"say that they are meant (data.synth={{scenes: {scenes}, seed: {seed}}}), {others}, or {as_it_is}"
