"""One question about one image: by the command and from Python, with one answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.commands import SCENES
from tests.e2e.conftest import Trained
from tests.e2e.test_evaluate import decoded

import segtune
from segtune.cli.main import main
from segtune.core.errors import DataError

IMAGE, QUERY = f"{SCENES}/val/scene_00008_a.jpg", "the item to the left of the lilac one"


def test_the_command_and_python_agree(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(trained.run), IMAGE, QUERY, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    names = ["scene_00008_a_mask.png", "scene_00008_a_overlay.png", "scene_00008_a.json"]
    assert printed[-3:] == [str(tmp_path / name) for name in names]
    mask = np.asarray(Image.open(tmp_path / names[0]))
    overlay = np.asarray(Image.open(tmp_path / names[1]))
    answer = json.loads((tmp_path / names[2]).read_text())

    predictor = segtune.Predictor.from_pretrained(trained.run)
    prediction = predictor.predict(IMAGE, QUERY)
    assert 0 < prediction.mask.sum() < prediction.mask.size
    np.testing.assert_array_equal(mask, prediction.mask * np.uint8(255))
    np.testing.assert_array_equal(np.any([decoded(rle) for rle in answer["masks"]], axis=0), prediction.mask)
    np.testing.assert_array_equal(overlay, prediction.overlay())
    assert answer == prediction.to_dict()
    assert answer["query"] == QUERY
    assert "<SEG>" in answer["text"]
    assert f"{prediction.mask.mean():.1%} of the image" in printed[1]

    pixels = np.asarray(Image.open(IMAGE).convert("RGB"))
    assert pixels.shape == (*mask.shape, 3)
    np.testing.assert_array_equal(predictor.predict(pixels, QUERY).mask, prediction.mask)
    both = predictor.predict_many(pixels, [QUERY, "the red one"])
    np.testing.assert_array_equal(both[0].mask, prediction.mask)
    for annotation, rle in zip(prediction.to_coco(), answer["masks"], strict=True):
        assert annotation["segmentation"] == rle
        assert annotation["area"] == decoded(rle).sum()


def test_json_alone_goes_to_standard_output(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = trained.run / "checkpoints" / "last"
    assert main(["predict", str(checkpoint), IMAGE, QUERY, "--out", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "scene_00008_a.json").read_text())


def test_an_image_of_any_shape(trained: Trained, tmp_path: Path) -> None:
    wide = np.asarray(Image.open(IMAGE).convert("RGB").resize((301, 77)))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert main(["predict", str(trained.run), str(tmp_path / "wide.png"), "what is left?", "--out", str(tmp_path)]) == 0
    assert Image.open(tmp_path / "wide_mask.png").size == (301, 77)
    assert Image.open(tmp_path / "wide_overlay.png").size == (301, 77)


def test_every_way_to_give_a_picture_gives_one_answer(trained: Trained, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(IMAGE).save(tmp_path / "turned.jpg", exif=exif)
    predictor = segtune.Predictor.from_pretrained(trained.run)
    expected = predictor.predict(tmp_path / "turned.jpg", QUERY)
    assert expected.mask.shape == Image.open(IMAGE).size
    for given in (Image.open(tmp_path / "turned.jpg"), (tmp_path / "turned.jpg").read_bytes()):
        np.testing.assert_array_equal(predictor.predict(given, QUERY).masks, expected.masks)
    with pytest.raises(DataError, match="this is no picture"):
        predictor.predict([IMAGE], QUERY)  # type: ignore[arg-type]


def test_two_questions_keep_both_answers_and_long_names_fit(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "\N{CJK UNIFIED IDEOGRAPH-7167}" * 82
    Image.open(IMAGE).save(tmp_path / f"{name}.jpg")
    for query in (QUERY, "the red one", QUERY):
        arguments = ["predict", str(trained.run), str(tmp_path / f"{name}.jpg"), query, "--out", str(tmp_path / "out")]
        assert main(arguments) == 0
    written = [json.loads(path.read_text())["query"] for path in (tmp_path / "out").glob("*.json")]
    assert sorted(written) == sorted([QUERY, "the red one"])
    assert len(list((tmp_path / "out").iterdir())) == 6
