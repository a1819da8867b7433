"""The embedded base: small enough, complete, loaded by the common code, and willing to ask for a mask."""

import importlib.resources

import numpy as np

from segtune.data.config import DataConfig
from segtune.data.loader import ScoringLoader
from segtune.data.prepare import prepare
from segtune.data.sources.synthetic.write import write_dataset
from segtune.engine.evaluator import evaluate_split
from segtune.engine.loading import load
from segtune.engine.predictor import Predictor

WEIGHTS = importlib.resources.files("segtune.models.tiny") / "weights"


def test_it_is_small_and_complete():
    files = {p.relative_to(str(WEIGHTS)).as_posix(): p.stat().st_size for p in _paths()}
    assert sum(files.values()) <= 8_000_000
    assert {"vlm/model.safetensors", "vlm/tokenizer.json", "mask_model/model.safetensors", "segtune.json"} <= set(files)
    assert {"segmentation.safetensors", "README.md"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl"))]


def _paths():
    from pathlib import Path

    return [path for path in Path(str(WEIGHTS)).rglob("*") if path.is_file()]


def test_it_asks_for_a_mask_on_questions_it_has_never_seen(tmp_path):
    write_dataset(tmp_path / "scenes", scenes=60, seed=11)
    data = prepare(f"reasonseg:{tmp_path / 'scenes'}@val", DataConfig(train="unused"))
    loaded = load("segtune/tiny")
    loader = ScoringLoader(data.source, loaded.transform, batch_size=4, pad_id=loaded.conversation.tokenizer.pad_token_id)
    evaluation = evaluate_split(loaded.model, loader, loaded.conversation, "generate", max_new_tokens=16)
    result = evaluation.scorer.result(data="scenes", split="val", mode="generate")
    assert result["counts"]["queries"] >= 20
    assert result["metrics"]["emission_rate"] >= 0.9


def test_a_phrase_of_its_own_grammar_finds_more_than_chance(tmp_path):
    predictor = Predictor.from_pretrained("segtune/tiny")
    image = np.full((128, 128, 3), 150, np.uint8)
    yy, xx = np.mgrid[:128, :128]
    red, blue = (xx - 36) ** 2 + (yy - 64) ** 2 < 22**2, (abs(xx - 92) < 20) & (abs(yy - 64) < 20)
    image[red], image[blue] = (205, 40, 40), (40, 70, 200)
    for query, wanted, other in (("red disc", red, blue), ("blue square", blue, red)):
        mask = predictor.predict(image, query).mask
        assert (mask & wanted).sum() > 4 * (mask & other).sum(), query
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.5, query
