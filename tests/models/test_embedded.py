"""The embedded base: small enough, complete, loaded by the common code, and willing to ask for a mask."""

import importlib.resources
from pathlib import Path

from segtune.data.config import DataConfig
from segtune.data.loader import ScoringLoader
from segtune.data.prepare import prepare
from segtune.data.sources.synthetic.write import write_dataset
from segtune.engine.evaluator import evaluate_split, score_baselines
from segtune.engine.loading import load

WEIGHTS = importlib.resources.files("segtune.models.tiny") / "weights"


def test_it_is_small_and_complete():
    files = {
        p.relative_to(str(WEIGHTS)).as_posix(): p.stat().st_size for p in Path(str(WEIGHTS)).rglob("*") if p.is_file()
    }
    assert sum(files.values()) <= 8_000_000
    assert {"vlm/model.safetensors", "vlm/tokenizer.json", "mask_model/model.safetensors", "segtune.json"} <= set(files)
    assert {"segmentation.safetensors", "README.md"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl"))]


def test_it_asks_for_a_mask_on_questions_it_has_never_seen(tmp_path):
    write_dataset(tmp_path / "scenes", scenes=60, seed=11)
    data = prepare(f"reasonseg:{tmp_path / 'scenes'}@val", DataConfig(train="unused"))
    loaded = load("segtune/tiny")
    loader = ScoringLoader(
        data.source, loaded.transform, batch_size=4, pad_id=loaded.conversation.tokenizer.pad_token_id
    )
    evaluation = evaluate_split(loaded.model, loader, loaded.conversation, "generate", max_new_tokens=16)
    result = evaluation.scorer.result(data="scenes", split="val", mode="generate")
    assert result["counts"]["queries"] >= 20
    assert result["metrics"]["emission_rate"] >= 0.9


def test_it_knows_attribute_phrases_on_scenes_it_has_never_seen():
    data = prepare("stream:attributes@val", DataConfig(train="unused"), limit=40, seed=77)
    loaded = load("segtune/tiny")
    loader = ScoringLoader(
        data.source, loaded.transform, batch_size=8, pad_id=loaded.conversation.tokenizer.pad_token_id
    )
    evaluation = evaluate_split(loaded.model, loader, loaded.conversation, "forced", max_new_tokens=4)
    result = evaluation.scorer.result(data="attributes", split="val", mode="forced")
    painted = score_baselines(data.source, None)["everything"]["gIoU"]
    assert result["by"]["kind:attribute"]["gIoU"] > 8 * painted
    assert result["metrics"]["gIoU"] > 7 * painted
