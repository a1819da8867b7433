"""Every way to hold, see and prompt can learn: sixteen samples by heart, each combination within a minute or two.

What cannot overfit has a gradient that is cut, a mask in the wrong place or a precision that loses small steps, however
well its parts are tested. The runs are those of the real command, and the scores those of the loaded best checkpoint.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtune.cli.main import main
from segtune.core.files import read_json

pytestmark = pytest.mark.slow

SAMPLES, SIDE, BOUND = 16, 128, 0.9
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "yellow": (230, 220, 50)}
HELD = {
    "fp32": {},
    "bf16": {"model.dtype": "bfloat16", "train.precision": "bf16"},
    "4bit": {"model.dtype": "bfloat16", "train.precision": "bf16", "model.quantize.llm": "4bit"},
}
"""How the frozen weights are held; what trains has 32 bits in all of them, the language model trains by LoRA."""

EPOCHS = {"encoder": 70, "shared": 165}
"""Of one step each. The connector of shared features begins with nothing, but a step of it costs a third."""


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images of two boxes each; asked for the one, the right answer is the other.

    So the base, which knows boxes and colours, is wrong everywhere, and nothing but these samples teaches the answer.
    """
    place = tmp_path_factory.mktemp("overfit") / "boxes"
    (place / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(SAMPLES):
        image = rng.integers(0, 70, (SIDE, SIDE, 3)).astype(np.uint8)
        names = [str(name) for name in rng.permutation(list(COLOURS))[:2]]
        corners = []
        for half, name in enumerate(names):
            height, width = (int(size) for size in rng.integers(40, 60, 2))
            top, left = int(rng.integers(0, SIDE - height)), half * SIDE // 2 + int(rng.integers(0, SIDE // 2 - width))
            image[top : top + height, left : left + width] = COLOURS[name]
            corners.append((left, top, left + width - 1, top + height - 1))
        wanted = int(rng.integers(2))
        left, top, right, bottom = corners[wanted]
        points = [[left, top], [right, top], [right, bottom], [left, bottom]]
        about = {"text": [f"the {names[1 - wanted]} box"], "is_sentence": False}
        about["shapes"] = [{"label": "target", "points": points}]
        Image.fromarray(image).save(place / "train" / f"box_{index:02}.png")
        (place / "train" / f"box_{index:02}.json").write_text(json.dumps(about))
    return place


def _settings(held: str, features: str, prompting: str, boxes: Path) -> list[str]:
    settings: dict[str, object] = {
        "data.train": f"reasonseg:{boxes}@train", "data.val": f"reasonseg:{boxes}@train", "data.num_workers": 0,
        "data.max_shared_fraction": 1,
        "model.mask_features": features, "model.prompting": prompting, "model.train.llm": "lora",
        "model.train.embeddings": "frozen", "model.lora.targets": "all", "model.lora.dropout": 0, **HELD[held],
        "train.batch_size": SAMPLES, "train.epochs": EPOCHS[features], "train.validate_every": EPOCHS[features],
        "optim.lr": 2e-3, "optim.rates": "{}", "optim.warmup_steps": 10, "losses.ce": 0.1,
        "eval.overlays": 0, "run.name": f"{held}-{features}-{prompting}", "run.root": boxes.parent / "runs",
    }  # fmt: skip
    return [f"{key}={value}" for key, value in settings.items()]


@pytest.mark.parametrize("prompting", ["seg_state", "query_tokens"])
@pytest.mark.parametrize("features", ["encoder", "shared"])
@pytest.mark.parametrize("held", ["fp32", "bf16", pytest.param("4bit", marks=pytest.mark.quant)])
def test_sixteen_samples_are_learned_by_heart(held: str, features: str, prompting: str, boxes: Path) -> None:
    started = time.perf_counter(), time.process_time()
    assert main(["train", "quickstart", *_settings(held, features, prompting, boxes)]) == 0
    seconds, cpu_seconds = time.perf_counter() - started[0], time.process_time() - started[1]
    run = boxes.parent / "runs" / f"{held}-{features}-{prompting}"
    modes = ("forced", "generate")
    before, after = (
        {mode: read_json(place / f"eval_boxes_train_{mode}.json")["metrics"]["gIoU"] for mode in modes}
        for place in (run / "before", run)
    )
    print(f"{run.name}: gIoU {before} to {after}, {seconds:.0f} s, {cpu_seconds:.0f} s of CPU")
    assert max(before.values()) < 0.5
    assert min(after.values()) >= BOUND
