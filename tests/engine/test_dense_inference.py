"""Views, windows and strips against plain NumPy, and what must change nothing."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from tests.engine.dense_toys import BINARY, SIZE, WEIGHTS, Toy, image, softmax, transform, upsampled
from tests.models.dense.encoders import HUB, small_model

from segtune.core.config import validate
from segtune.core.errors import ConfigError, SegtuneError
from segtune.core.records import LabelledImage
from segtune.data.dense.transforms import DenseTransform, collate_dense
from segtune.engine import dense_inference
from segtune.engine.dense_config import DenseEvalConfig, DenseInferenceConfig
from segtune.engine.dense_inference import DenseAnswer, segment, segment_batch
from segtune.engine.dense_windows import WindowMap, WindowPlan


def _config(**settings) -> DenseInferenceConfig:
    return validate(DenseInferenceConfig, settings, "here")


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 `[3, h, w]` in 0..1."""
    shown = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(shown, np.float32).transpose(2, 0, 1) / 255


def _logits(pixels: np.ndarray) -> np.ndarray:
    return np.einsum("ck,khw->chw", np.vstack([WEIGHTS, BINARY[None]]), pixels)


def _require(answer: DenseAnswer, expected: np.ndarray, *, atol: float = 1e-5, same: float = 1.0) -> None:
    """Compares with logits `[4, h, w]` in original pixels."""
    probability = softmax(expected[:3])
    agree = answer.labels == probability.argmax(axis=0)
    # where two classes are equally good, the last bit decides
    top = np.sort(probability, axis=0)
    assert (agree | (top[-1] - top[-2] < 10 * atol)).mean() >= same
    assert answer.labels.dtype == np.uint8
    assert answer.confidence.dtype == answer.binary_logits.dtype == np.float32
    np.testing.assert_allclose(answer.confidence, probability.max(axis=0), atol=atol)
    np.testing.assert_allclose(answer.binary_logits, expected[3], atol=5 * atol, rtol=1e-4)


def _same(one: DenseAnswer, other: DenseAnswer, atol: float = 1e-5) -> None:
    for name in ("labels", "confidence", "binary_logits"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None and name == "labels":
            assert (a != b).mean() < 2e-3
        elif a is not None:
            np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("size", [(36, 50), (11, 9), SIZE], ids=["larger", "smaller", "same"])
def test_logits_are_brought_to_the_original_size_and_decided_there(size) -> None:
    picture = image(size)
    answer = segment(Toy().eval(), transform(), picture)
    _require(answer, upsampled(_logits(_resized(picture, SIZE)), size))


@pytest.mark.parametrize("tta", [{}, {"flip": True}, {"flip": True, "flip_vertical": True}])
def test_a_batch_is_its_images(tta) -> None:
    items = [LabelledImage(f"i{n}", image(s, n), np.zeros(s, np.uint8)) for n, s in enumerate([(36, 50), (50, 36)])]
    batch = collate_dense([transform()(item) for item in items])
    model = Toy(stride=4, change=lambda x: x + torch.linspace(0, 1, x.shape[-1])).eval()
    config = _config(tta=tta)
    for item, answer in zip(items, segment_batch(model, batch, tta=config.tta), strict=True):
        _same(answer, segment(model, transform(), item.image, config), atol=1e-6)


@pytest.mark.parametrize(("multiclass", "binary"), [(True, False), (False, True)])
@pytest.mark.parametrize("settings", [{}, {"tta": {"flip": True, "scales": [1, 2]}, "window": [20, 30]}])
def test_either_head_stands_alone(multiclass, binary, settings) -> None:
    both = segment(Toy().eval(), transform(), image(), _config(**settings))
    alone = segment(Toy(multiclass=multiclass, binary=binary).eval(), transform(), image(), _config(**settings))
    assert (alone.labels is None, alone.confidence is None, alone.binary_logits is None) == (
        not multiclass, not multiclass, not binary,
    )  # fmt: skip
    for name in ("labels", "confidence", "binary_logits"):
        if getattr(alone, name) is not None:
            np.testing.assert_allclose(getattr(alone, name), getattr(both, name), atol=1e-6)


def test_mirrors_change_nothing_for_a_model_that_follows_them() -> None:
    model = Toy(stride=4).eval()
    _same(segment(model, transform(), image(), _config(tta={"flip": True})), segment(model, transform(), image()))


def _tilted(pixels: torch.Tensor) -> torch.Tensor:
    """Neither mirrors nor places are alike to it."""
    height, width = pixels.shape[-2:]
    return pixels + torch.linspace(-1, 1, width) + 0.5 * torch.linspace(-1, 1, height)[:, None]


def test_views_are_averaged_as_probabilities() -> None:
    """The mean over mirrors and scales of softmax and sigmoid, at the size of the largest, against NumPy."""
    model, picture = Toy(change=_tilted).eval(), image()
    answer = segment(model, transform(), picture, _config(tta={"flip": True, "scales": [1.0, 1.5, 0.5]}))
    sizes = [SIZE, (40, 48), (16, 16)]  # 36 and 12 are no multiples of 8
    sizes[1:] = [model.fitting_size((36, 48)), model.fitting_size((12, 16))]
    assert {shape[-2:] for shape in model.calls} == set(sizes)
    largest, classes, foreground = (max(s[0] for s in sizes), max(s[1] for s in sizes)), [], []
    for size in sizes:
        pixels = _resized(picture, size)
        for mirrored in (False, True):
            seen = torch.from_numpy(pixels[..., ::-1].copy() if mirrored else pixels)
            found = _logits(_tilted(seen).numpy())
            logits = upsampled(found[..., ::-1] if mirrored else found, largest)
            classes.append(softmax(logits[:3]))
            foreground.append(1 / (1 + np.exp(-logits[3])))
    p, q = np.mean(classes, axis=0), np.mean(foreground, axis=0)
    _require(answer, upsampled(np.concatenate([np.log(p), np.log(q / (1 - q))[None]]), picture.shape[:2]), atol=1e-4)


@pytest.mark.parametrize(
    ("tta", "axes"),
    [({"flip_vertical": True}, [(), (-2,)]), ({"flip": True, "flip_vertical": True}, [(), (-1,), (-2,), (-1, -2)])],
)
def test_mirrors_upside_down_are_averaged_too(tta, axes) -> None:
    model, picture = Toy(change=_tilted).eval(), image()
    answer = segment(model, transform(), picture, _config(tta=tta))
    assert len(model.calls) == len(axes)
    pixels, classes, foreground = _resized(picture, SIZE), [], []
    for one in axes:
        found = _logits(_tilted(torch.from_numpy(np.flip(pixels, one).copy())).numpy())
        logits = np.flip(found, one)
        classes.append(softmax(logits[:3]))
        foreground.append(1 / (1 + np.exp(-logits[3])))
    p, q = np.mean(classes, axis=0), np.mean(foreground, axis=0)
    _require(answer, upsampled(np.concatenate([np.log(p), np.log(q / (1 - q))[None]]), picture.shape[:2]), atol=1e-4)


def test_scales_that_come_to_the_same_size_are_one_view() -> None:
    model = Toy().eval()
    segment(model, transform(), image(), _config(tta={"scales": [1.0, 1.05, 1.0, 2.0]}))
    assert [shape[-2:] for shape in model.calls] == [SIZE, (48, 64)]


def test_surely_right_views_stay_sure() -> None:
    """Probabilities of exactly 0 and 1 in single precision must not become infinite logits."""
    model = Toy(change=lambda x: 1000 * x).eval()
    answer = segment(model, transform(), image(), _config(tta={"flip": True}))
    assert np.isfinite(answer.binary_logits).all()
    _same(answer, segment(model, transform(), image()), atol=1e-2)


@pytest.mark.parametrize("window", [(36, 50), (100, 100), (36, 51)])
def test_a_window_that_holds_the_image_is_no_window(window) -> None:
    model, config = Toy(stride=4, change=_tilted).eval(), _config(window=window)
    one, other = segment(model, transform(), image(), config), segment(model, transform(), image())
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.confidence, other.confidence)
    assert np.array_equal(one.binary_logits, other.binary_logits)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_windows_of_a_model_that_looks_at_single_pixels_make_up_the_scaled_image(overlap, batch_size) -> None:
    picture = image((70, 90))
    config = _config(window=[35, 40], overlap=overlap, batch_size=batch_size)
    model = Toy().eval()
    answer = segment(model, transform(), picture, config)
    whole = upsampled(_logits(_resized(picture, (48, 72))), (70, 90))  # 70 x 24 / 35 and 90 x 32 / 40
    _require(answer, whole, atol=0.02, same=0.99)  # pixels of parts are rounded to 8 bits, now and then the other way
    assert np.abs(answer.binary_logits - whole[3]).mean() < 1e-3
    assert {shape[-2:] for shape in model.calls} == {SIZE}
    assert max(shape[0] for shape in model.calls) <= batch_size


@pytest.mark.parametrize("overlap", [0.0, 0.4, 0.7])
@pytest.mark.parametrize("stride", [1, 4])
def test_windows_are_blended_by_their_tapers(overlap, stride) -> None:
    """Everything at once on a canvas, in double precision, for a model that sees each window's borders differently."""
    rng = np.random.default_rng(0)
    plan = WindowPlan.of((70, 90), (35, 40), SIZE, _config(overlap=overlap))
    assert plan.size == (48, 72)
    given = {}

    def answer(boxes):
        for box in boxes:
            given[box] = rng.normal(size=(4, SIZE[0] // stride, SIZE[1] // stride)).astype(np.float32)
        return torch.from_numpy(np.stack([given[box] for box in boxes]))

    map_ = WindowMap(plan, answer, 2)
    found = torch.cat([map_.rows(first, min(first + 7, 48)) for first in range(0, 48, 7)], dim=1)

    def taper(side):
        ramp = max(1, side * min(overlap, 0.5))
        return np.array([min(1, (i + 0.5) / ramp, (side - i - 0.5) / ramp) for i in range(side)])

    weight, total = np.zeros((48, 72)), np.zeros((4, 48, 72))
    assert len(given) == plan.count
    for box, logits in given.items():
        top, left = round(box[0] * 48 / 70), round(box[1] * 72 / 90)
        place = (slice(top, top + 24), slice(left, left + 32))
        one = np.outer(taper(24), taper(32))
        weight[place] += one
        total[:, place[0], place[1]] += one * upsampled(logits, SIZE)
    assert weight.min() > 0
    np.testing.assert_allclose(found.numpy(), total / weight, atol=1e-4)


@pytest.mark.parametrize("seed", range(30))
def test_windows_cover_the_image_and_overlap_enough(seed) -> None:
    rng = np.random.default_rng(seed)
    shown, seen = rng.integers(5, 60, 2), rng.integers(8, 40, 2)
    size, overlap = rng.integers(5, 300, 2), float(rng.choice([0, 0.1, 0.5, 0.9]))
    plan = WindowPlan.of(tuple(size), tuple(shown), tuple(seen), _config(overlap=overlap))
    for starts, side, window, part, whole in zip(
        (plan.tops, plan.lefts), plan.size, plan.window, shown, size, strict=True
    ):
        assert starts[0] == 0
        assert starts[-1] + window == side
        steps = np.diff(starts)
        assert (steps > 0).all()
        assert (steps <= max(1, np.ceil(window * (1 - overlap)))).all()
        assert side == pytest.approx(whole * window / min(part, whole), abs=0.5)  # the scale of training
    corners = plan.box(plan.tops[-1], plan.lefts[-1])
    assert corners[2:] == pytest.approx(tuple(size))
    assert all(high <= side for high, side in zip(corners[2:], size, strict=True))


def test_windows_with_views_are_windows_of_the_views() -> None:
    """For a model that looks at single pixels and follows mirrors, every view of every window is the same map."""
    model, picture = Toy().eval(), image((70, 90))
    plain = segment(model, transform(), picture, _config(window=[35, 40]))
    flipped = segment(model, transform(), picture, _config(window=[35, 40], tta={"flip": True}))
    _same(plain, flipped)
    scaled = segment(model, transform(), picture, _config(window=[35, 40], tta={"scales": [2]}))
    assert (plain.labels == scaled.labels).mean() > 0.97
    assert np.abs(plain.confidence - scaled.confidence).mean() < 0.01


@pytest.mark.parametrize("settings", [{}, {"window": [35, 40], "overlap": 0.6}])
def test_strips_of_any_height_give_the_same(settings, monkeypatch) -> None:
    model, picture = Toy(stride=4, change=_tilted).eval(), image((70, 90))
    whole = segment(model, transform(), picture, _config(**settings))
    for numbers in (1, 90 * 4 * 7):
        monkeypatch.setattr(dense_inference, "STRIP", numbers)
        _same(segment(model, transform(), picture, _config(**settings)), whole, atol=1e-6)


def test_a_tall_image_keeps_few_rows_in_memory() -> None:
    plan = WindowPlan.of((4000, 60), (40, 40), SIZE, _config())
    map_ = WindowMap(plan, lambda boxes: torch.zeros(len(boxes), 4, *SIZE), 8)
    most = 0
    for first in range(0, plan.size[0], 16):
        map_.rows(first, min(first + 16, plan.size[0]))
        most = max(most, map_._sums.untyped_storage().nbytes() // (4 * 4 * plan.size[1]))
    assert plan.size[0] == 2400
    assert most <= 2 * SIZE[0] + 16


def test_numbers_that_are_none_are_told() -> None:
    with pytest.raises(SegtuneError, match=r"not a number \(NaN\)(.|\n)*earlier checkpoint"):
        segment(Toy(change=lambda x: x * float("nan")).eval(), transform(), image())


@pytest.mark.parametrize("family", HUB)
def test_every_family_takes_scales_and_windows(family, tmp_path) -> None:
    model = small_model(tmp_path, family, binary_classes=("car",)).eval()
    prepare = DenseTransform((64, 96), model.encoder.mean, model.encoder.std)
    for side in ((10.0, 10.0), (70.4, 91.3), (64.0, 96.0)):
        size = model.fitting_size(side)
        with torch.no_grad():
            model.decode(torch.zeros(1, 3, *size))
    assert model.fitting_size((64, 96)) == (64, 96)
    settings = {"tta": {"flip": True, "scales": [1.0, 0.8, 1.3]}, "window": [90, 120], "overlap": 0.2}
    answer = segment(model, prepare, image((100, 130)), _config(**settings))
    assert answer.labels.shape == answer.binary_logits.shape == (100, 130)


def test_no_gradient_and_nothing_in_the_model_is_left_behind(tmp_path) -> None:
    model = small_model(tmp_path, "resnet").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    segment(model, DenseTransform((64, 96), (0, 0, 0), (1, 1, 1)), image())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_settings_are_checked() -> None:
    assert _config().whole
    assert _config(tta={"flip": True}).whole
    assert not _config(tta={"scales": [0.5]}).whole
    assert not _config(window=[8, 8]).whole
    refuse = partial(validate, DenseEvalConfig, where="here")
    for settings, message in [
        ({"window": [0, 5]}, "window"), ({"overlap": 1.0}, "overlap"), ({"tta": {"scales": []}}, "scales"),
        ({"tta": {"scales": [0]}}, "scales"), ({"tta": {"flips": True}}, "did you mean tta.flip"),
        ({"windows": [8, 8]}, "did you mean window"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            refuse(mapping=settings)


def test_the_settings_load_without_torch() -> None:
    code = "import sys, segtune.engine.dense_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _handed(names: tuple[str, ...], **heads) -> Toy:
    """A model that knows where in an image it looks, as one that has learned sides does."""
    model = Toy(change=lambda x: x * torch.linspace(0.1, 2, x.shape[-1]), **heads).eval()
    model.classes, model.binary_classes = names, ()
    return model


def test_answers_for_classes_that_differ_by_a_side_change_places_in_the_mirror_image() -> None:
    model, picture = _handed(("background", "left_hand", "right_hand"), binary=False), image()
    answer = segment(model, transform(), picture, _config(tta={"flip": True}))
    straight = segment(model, transform(), picture)
    plain = _handed(("background", "a", "b"), binary=False)
    unchanged = segment(plain, transform(), picture, _config(tta={"flip": True}))
    always = segment(model, transform(), picture, _config(tta={"flip": True, "mirror": "always"}))
    _same(always, unchanged)
    assert (answer.labels != unchanged.labels).any()
    pixels = torch.from_numpy(_resized(picture, transform().size))[None]
    with torch.inference_mode():
        one = model.decode(pixels).classes
        other = model.decode(pixels.flip(-1)).classes.flip(-1)[:, [0, 2, 1]]
    expected = (one.softmax(1) + other.softmax(1)) / 2
    size = (picture.shape[0], picture.shape[1])
    whole = torch.nn.functional.interpolate(expected.log(), size=size, mode="bilinear").argmax(1)[0]
    assert (torch.from_numpy(answer.labels) == whole).float().mean() > 0.99
    assert straight.labels.shape == answer.labels.shape


@pytest.mark.parametrize(
    ("names", "binary", "tta"),
    [
        (("background", "left_hand", "hand"), (), {"flip": True}),
        (("background", "left_hand", "right_hand"), ("left_hand",), {"flip": True}),
        (("background", "left_hand", "right_hand"), (), {"flip_vertical": True}),
        (("background", "upper_lip", "lower_lip"), (), {"flip_vertical": True}),
    ],
)
def test_a_mirror_image_that_would_answer_for_the_wrong_class_is_refused(names, binary, tta) -> None:
    with pytest.raises(ConfigError, match="a mirror image would be taken"):
        _config(tta=tta).tta.order(names, binary)
    assert _config(tta={**tta, "mirror": "always"}).tta.order(names, binary) == (0, 1, 2)
    assert _config().tta.order(names, binary) == (0, 1, 2)


def test_a_class_that_a_text_called_by_a_side_is_refused_as_in_training() -> None:
    names, flip = ("background", "cup", "plate"), _config(tta={"flip": True})
    assert flip.tta.order(names) == (0, 1, 2)
    with pytest.raises(ConfigError, match="cup") as caught:
        flip.tta.order(names, (), ("cup",))
    assert "--mirror always" in caught.value.fix
    model = _handed(names, binary=False)
    model.sided_classes = ("cup",)
    with pytest.raises(ConfigError, match="a mirror image would be taken"):
        segment(model, transform(), image(), flip)


def test_usual_classes_are_no_side() -> None:
    assert _config(tta={"flip": True}).tta.order(("background", "label", "prawn", "port", "lava")) == (0, 1, 2, 3, 4)


def test_a_foreground_of_both_sides_is_the_same_in_a_mirror_image() -> None:
    names = ("background", "left_hand", "right_hand")
    assert _config(tta={"flip": True}).tta.order(names, names[1:]) == (0, 2, 1)
