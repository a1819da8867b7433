"""Every small input that once broke something does what its README calls right; run as a program it prints the table.

    python tests/e2e/test_cases.py [CASE ...]

The inputs are not in this repository (see `tests/external.py`). Each case is copied and run by commands and `Predictor`
only; a case without an entry in `CASES` fails, so that a new one is noticed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":  # run as a program: the package `tests` is found from the root of the repository
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import pytest
from PIL import Image
from tests.e2e.commands import SEGTUNE, Done, environment
from tests.external import shared_cases

from segtune import Predictor
from segtune.cli.main import main

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.long]

TINY = "segtune/tiny"
QUICK = ("train.epochs=1", "train.batch_size=2", "eval.before=false", "eval.final=false", "data.num_workers=0",
         "train.validate_generate=false", "train.best=val_gIoU", "run.root=RUNS", "run.name=a")  # fmt: skip


@dataclass
class Outcome:
    """What a case did: what was run, what came out, and what of it is not right."""

    ran: list[str] = field(default_factory=list)
    came: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def judge(self, ran: str, done: Done, code: int, *words: str, never: str = "") -> None:
        """Takes note of a command, which must end with this code, one message and these words (patterns)."""
        said = done.out + done.err
        lines = [line.strip() for line in said.splitlines()]
        told = next((line for line in lines if words and re.search(words[0], line)), lines[-1] if lines else "")
        self.ran.append(ran)
        self.came.append(f"{done.code}: {told}" if told else f"{done.code}")
        self.expect(done.code == code, f"exit code {done.code}, not {code}: {said[-500:]}")
        for word in words:
            self.expect(re.search(word, said, re.DOTALL) is not None, f"not said: {word}")
        for bad in ("Traceback", "bug of segtune", "internal error", *([never] if never else [])):
            self.expect(re.search(bad, said) is None, f"said: {bad}")
        self.expect(done.err.count("error: ") <= 1, "more than one message")

    def saw(self, ran: str, what: str, right: bool) -> None:
        """Takes note of something that was looked at."""
        self.ran.append(ran)
        self.came.append(what)
        self.expect(right, what)

    def expect(self, right: bool, words: str) -> None:
        """Takes note of what is not right."""
        if not right:
            self.wrong.append(words)


Case = Callable[[Path, Outcome], None]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    """Makes a function the entry of a case; it gets a copy of the case, which is the working directory."""

    def add(function: Case) -> Case:
        CASES[name] = function
        return function

    return add


def segtune(*arguments: str) -> Done:
    """One command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return Done(code, out.getvalue(), err.getvalue())


def process(*arguments: str) -> Done:
    """One command line in a process of its own."""
    done = subprocess.run(
        [str(SEGTUNE), *arguments], env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def _checked(name: str, *looks: tuple[str, int, Sequence[str]]) -> None:
    """The entry of a case that `data check` tells: the directory, the exit code and the words."""

    def look(_: Path, outcome: Outcome) -> None:
        for folder, code, words in looks:
            outcome.judge(f"data check {folder}", segtune("data", "check", folder), code, *words)

    CASES[name] = look


_checked("class-called-flag", (".", 0, (r"warning: .*'flag' encloses an area.*target is empty.*x\.json",)))
_checked("coco-backslash", (".", 0, (r"has backslashes, which are read as slashes", r"1 of 1 images can be used")))
_checked("coco-category-twice", (".", 0, (r"warning: .*one name, 'fish'", r"1 of 1 images can be used")))
_checked("coco-crowd-of-brush", (".", 0, (r"warning: .*1 of 2 annotations are crowds.*box 1",)))
_checked(
    "coco-of-cvat", *((folder, 0, (r"1 of 1 images can be used", r"box +2,880 +15.00%")) for folder in ("one", "two"))
)
_checked("coco-one-thin-part", (".", 0, (r"warning: .*part of fewer than three points", r"2 of 2 images can be used")))
_checked(
    "coco-size-as-float",
    *((one, 0, (r"1 of 1 images can be used", r"box +2,880 +15.00%")) for one in ("float", "string")),
)
_checked("coordinates-0-to-1", (".", 3, (r"n0\.json: all coordinates lie in 0\.\.1", r"n1\.json", r"n2\.json")))
_checked("json-not-utf8", (".", 3, (r"x\.json: the file is not in UTF-8",)))
_checked("labelme-linestrip", (".", 3, (r'x\.json: a shape of the type "linestrip" encloses no area',)))
_checked("labelme-points", (".", 3, (r'x\.json: a shape of the type "points" encloses no area',)))
_checked("labelme-mask-shape", (".", 0, (r"no bad items", r"usable +5 ", r"mean target fraction +0\.141")))
_checked("labelme-other-size", (".", 3, (r"x\.json: the image has not the size.*imageWidth and imageHeight",)))
_checked("picture-twins", (".", 3, (r"x\.png: another image has the same name and is used; found x\.jpg",)))
_checked("same-question-two-answers", (".", 0, (r"warning: .*a\.json and train/b\.json ask",)))
_checked("twelve-bit-grey", (".", 0, (r"warning: .*at most 12 are used: read as nearly black.*x\.png",)))


@case("accents-composed-or-not")
def _accents(_: Path, outcome: Outcome) -> None:
    for suffix, form in (("jpg", "NFC"), ("json", "NFD")):
        Path(f"train/good_0.{suffix}").rename("train/" + unicodedata.normalize(form, "café") + f".{suffix}")
    outcome.judge("data check .", segtune("data", "check", "."), 0, "accents are stored otherwise", r"usable +2 ")


@case("argument-not-utf8")
def _argument(_: Path, outcome: Outcome) -> None:
    done = process("predict", TINY, "good.jpg", "the \udcff box")
    outcome.judge("predict good.jpg 'the \\xff box'", done, 2, "error: .*an argument holds half of a character")


@case("file-name-not-utf8")
def _file_name(_: Path, outcome: Outcome) -> None:
    for suffix in ("jpg", "json"):
        os.rename(f"train/good_0.{suffix}", os.fsencode("train/") + b"foto_\xe9\xff." + suffix.encode())
    words = r"foto_\\udce9\\udcff\.jpg: the file name is not UTF-8"
    outcome.judge("data check .", segtune("data", "check", "."), 3, words)
    outcome.judge("train quickstart", _train("."), 3, "the file name is not UTF-8")
    done = segtune("evaluate", TINY, "--data", "reasonseg:.@train", "--out", "scores")
    outcome.judge("evaluate", done, 3, "the file name is not UTF-8")


@case("linked-dataset")
def _linked(place: Path, outcome: Outcome) -> None:
    (place / "set").mkdir()
    for split in ("train", "val"):
        (place / "set" / split).symlink_to(place / "store" / split)
    linked, root = str(place / "set"), str(place)
    outcome.judge("data check SET", segtune("data", "check", linked), 3, r"fix: .*--root .*data check.*data\.root=")
    outcome.judge("data check SET --root W", segtune("data", "check", linked, "--root", root), 0, "no bad items")
    outcome.judge("train data.root=W", done := _train(linked, f"data.root={root}"), 0, "segtune evaluate .*--root")
    following = next(line for line in done.out.splitlines() if "segtune evaluate" in line).split()[1:]
    outcome.judge("its next command", segtune(*following), 0, "gIoU")


@case("lone-surrogate-text")
def _surrogate(_: Path, outcome: Outcome) -> None:
    words = r"x\.json: 'text' holds half of a character"
    outcome.judge("data check .", segtune("data", "check", "."), 3, words)
    outcome.judge("train quickstart", _train("."), 3, words)
    outcome.judge("train max_bad_fraction=1", _train(".", "data.max_bad_fraction=1"), 0, words)


@case("long-file-name")
def _long_name(place: Path, outcome: Outcome) -> None:
    name = "照" * 82 + ".jpg"
    shutil.copy("good.jpg", name)
    outcome.judge("predict 照...照.jpg", segtune("predict", TINY, name, "the blue box", "--out", "out"), 0, "_mask.png")
    files = sorted(path.name for path in (place / "out").iterdir())
    outcome.saw("files in out", f"{len(files)} files", len(files) == 3)


@case("mirror-left-right-classes")
def _classes(place: Path, outcome: Outcome) -> None:
    for split in ("train", "val"):
        _mirror_by_hand(place / split, place / "plain" / split, place / "by_hand" / split)
    for folder in ("plain", "by_hand"):
        shutil.copy("classes.json", folder)

    def losses(folder: str, flip: float) -> str:
        settings = (
            f"data.root={folder}", "model.image_size=[120, 160]", "model.width=16", "train.epochs=1",
            "train.batch_size=2", "train.log_every=1", "train.validate_every=1", "eval.final=false",
            f"data.augment.flip={flip}", "data.augment.zoom=[1.0,1.0]", "data.augment.color=0",
            "run.root=RUNS", f"run.name={folder}",
        )  # fmt: skip
        words = "change places in mirror images: left_lung, right_lung" if flip else "run directory"
        outcome.judge(f"train camvid data.root={folder} flip={flip}", segtune("train", "camvid", *settings), 0, words)
        return _step_losses(Path("RUNS") / folder)

    same = losses("plain", 1.0) == losses("by_hand", 0.0)
    outcome.saw("flip against mirror images with swapped classes", "same losses" if same else "OTHER LOSSES", same)
    Image.open("val/images/g0.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("mirrored.png")
    Image.open("val/images/g0.jpg").save("straight.png")
    straight, mirrored = (_labels(name) for name in ("straight", "mirrored"))
    changed = float((np.array([0, 2, 1])[straight[:, ::-1]] == mirrored).mean())
    outcome.saw("predict --flip of both mirror images", f"{changed:.1%} of the pixels change sides", changed > 0.99)


def _mirror_by_hand(source: Path, plain: Path, by_hand: Path) -> None:
    """Writes a split as PNG, and its mirror image with the classes 1 and 2 swapped."""
    for picture in sorted((source / "images").iterdir()):
        image = np.array(Image.open(picture).convert("RGB"))
        labels = np.array(Image.open(source / "masks" / f"{picture.stem}.png"))
        for folder, arrays in (
            (plain, (image, labels)),
            (by_hand, (image[:, ::-1], np.array([0, 2, 1, *range(3, 256)], np.uint8)[labels[:, ::-1]])),
        ):
            for name, array in zip(("images", "masks"), arrays, strict=True):
                (folder / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.ascontiguousarray(array)).save(folder / name / f"{picture.stem}.png")


def _step_losses(run: Path) -> str:
    """What the first step of a run recorded, but for its times."""
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    kept = {key: value for key, value in row.items() if key in ("ce", "bce", "dice", "loss", "grad_norm")}
    assert len(kept) >= 3
    return json.dumps(kept)


def _labels(name: str) -> np.ndarray:
    """The classes that `predict --flip` finds in a picture: uint8 `[h, w]`."""
    assert segtune("predict", "RUNS/plain", f"{name}.png", "--flip", "--out", "out").code == 0
    return np.array(Image.open(f"out/{name}_labels.png"))


@case("mirror-other-language")
def _language(place: Path, outcome: Outcome) -> None:
    texts = re.findall(r'"(the box on the left.*?)"\):', (place / "run.py").read_text())[0].split('", "')
    plain = "the largest box"

    def losses(flip: float, asked: Sequence[str]) -> str:
        shutil.rmtree("data", ignore_errors=True)
        shutil.rmtree("RUNS", ignore_errors=True)
        for index, text in enumerate(asked):
            _write_example(place / "data" / "train", f"p{index}", text)
        _write_example(place / "data" / "val", "v", plain)
        more = ("train.log_every=1", f"train.batch_size={len(asked)}", f"data.augment.flip={flip}")
        done = _train("data", *more, "model.lora.dropout=0", "data.queries_per_image=1")
        assert done.code == 0, done.err
        return _step_losses(Path("RUNS/a"))

    kept = losses(1.0, texts) == losses(0.0, texts)
    outcome.saw(f"train with flip=1 and 0, {len(texts)} texts", "same losses" if kept else "MIRRORED", kept)
    moved = losses(1.0, [plain] * 2) != losses(0.0, [plain] * 2)
    outcome.saw("the same without side words", "other losses" if moved else "same losses", moved)


@case("more-than-fifty-megapixels")
def _megapixels(_: Path, outcome: Outcome) -> None:
    Image.new("RGB", (9504, 6336), (200, 10, 10)).save("big.jpg", quality=10)
    done = segtune("predict", TINY, "big.jpg", "the box")
    outcome.judge("predict big.jpg", done, 3, "fix: .*--max-pixels N", r"data\.image\.max_pixels")
    done = segtune("predict", TINY, "big.jpg", "the box", "--max-pixels", "61000000", "--out", "out")
    outcome.judge("the same --max-pixels 61000000", done, 0, "1 mask")


@case("name-that-looks-like-a-number")
def _number(_: Path, outcome: Outcome) -> None:
    for name in ("1e-4", "1.10", "+5"):
        done = segtune("train", "shapes", f"run.name={name}", "--dry-run")
        outcome.judge(f"train shapes run.name={name} --dry-run", done, 0, rf"(?m)^ +name: '{re.escape(name)}'$")
    done = segtune("train", "shapes", "data.root=1e3", "--dry-run")
    outcome.judge("train shapes data.root=1e3 --dry-run", done, 0, r"(?m)^ +root: '1e3'$", never="1000")


@case("pil-image-predict")
def _pillow(place: Path, outcome: Outcome) -> None:
    predictor = Predictor.from_pretrained(TINY)
    for name in ("turned.jpg", "grey16.png", "clear.png"):
        path = place / name
        answers = [predictor.predict(given, "the box") for given in (path, Image.open(path), path.read_bytes())]
        shapes, masks = {answer.masks.shape for answer in answers}, {answer.masks.tobytes() for answer in answers}
        same = len(shapes) == len(masks) == 1
        outcome.saw(f"Predictor.predict({name}): path, Pillow, bytes", "same" if same else f"DIFFER {shapes}", same)


@case("question-longer-than-the-context")
def _long_question(place: Path, outcome: Outcome) -> None:
    for times, code, words in ((400, 2, "question is too long"), (150, 3, "do not fit the context")):
        text = "the blue box that " * times
        outcome.judge(f"predict, {times} x 4 words", segtune("predict", TINY, "good.jpg", text), code, words)
    for split in ("train", "val"):
        _write_example(place / "data" / split, "p", text)
    outcome.judge("data check", segtune("data", "check", "data"), 0, r"warning: .*--model")
    outcome.judge("data check --model", segtune("data", "check", "data", "--model", TINY), 3, r"p\.json: \d+ tokens")
    outcome.judge("train quickstart", _train("data"), 3, r"p\.json: \d+ tokens")


@case("question-worded-twice")
def _worded(place: Path, outcome: Outcome) -> None:
    for path in sorted(place.glob("*.json")):
        for split in ("train", "val"):
            _write_example(place / "data" / split, f"{split}{path.stem}", "")
            shutil.copy(path, place / "data" / split / f"{split}{path.stem}.json")
    # the wording of the recipe `own`, in which phrases and sentences differ
    outcome.judge("train quickstart conversation={}", _train("data", "conversation={}", "optim.warmup_steps=1"), 0, "")
    options = ("--data", "reasonseg:data@val", "--mode", "generate", "--out", "scores")
    outcome.judge("evaluate (asks as training does)", segtune("evaluate", "RUNS/a", *options), 0, "gIoU")
    lines = [json.loads(line) for path in (place / "scores/predictions").iterdir() for line in path.open()]
    said = {line["id"]: line["masks"] for line in lines}
    predictor = Predictor.from_pretrained("RUNS/a")
    for path in sorted((place / "data/val").glob("*.json")):
        for index, text in enumerate(json.loads(path.read_text())["text"]):
            given = path.with_suffix(".png")
            answers = [predictor.predict(given, text, is_sentence=one).to_dict() for one in (None, True, False)]
            free, *told = [str([mask.get("rle", mask) for mask in answer["masks"]]) for answer in answers]
            same = str(said[f"{path.stem}#{index}"]) == free
            outcome.saw(f"Predictor.predict(..., {text[:24]!r})", "the mask of evaluate" if same else "DIFFERS", same)
            outcome.expect(told[0] != told[1], f"{text!r}: the wording does not show in the mask")


@case("resume-edited-config")
def _edited(place: Path, outcome: Outcome) -> None:
    for split, count in (("train", 6), ("val", 1)):
        for index in range(count):
            _write_example(place / "data" / split, f"p{index}", "the largest box")
    done = _train("data", "train.epochs=2", "train.save_steps=1", "train.batch_size=2")
    outcome.judge("train quickstart", done, 0, "")
    for old, new in (("batch_size: 2", "batch_size: 4"), ("accumulate: 1", "accumulate: 7"), ("seed: 0", "seed: 1")):
        config = place / "RUNS/a/config.yaml"
        kept = config.read_text()
        config.write_text(kept.replace(old, new))
        key, _, value = new.partition(": ")
        words = rf"{key}: {old[-1]} -> {value}"
        outcome.judge(f"config.yaml: {new}; train --resume", segtune("train", "--resume", "RUNS/a"), 2, words)
        config.write_text(kept)


@case("train-and-val-share")
def _share(_: Path, outcome: Outcome) -> None:
    words = "share 1 images"
    outcome.judge("data check .", segtune("data", "check", "."), 0, f"warning: .*{words}")
    outcome.judge("train quickstart", _train("."), 3, f"error: .*{words}", r"data\.max_shared_fraction=1")
    done = _train(".", "data.max_shared_fraction=1")
    outcome.judge("train max_shared_fraction=1", done, 0, f"warning: .*{words}")


@case("worker-error-hangs")
def _worker(place: Path, outcome: Outcome) -> None:
    for argument, code in ((), 3), (("--kill",), 1):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "run.py", *argument], env=environment(), cwd=place, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        said = done.stdout.strip()
        right = said == f"ended with {code} one message"
        outcome.saw(f"run.py {' '.join(argument)}".strip(), f"{said} ({time.monotonic() - began:.0f} s)", right)


def _train(dataset: str, *settings: str) -> Done:
    """A run of one epoch of the quickstart on a dataset, with as little around it as possible."""
    data = (f"data.train=reasonseg:{dataset}@train", f"data.val=reasonseg:{dataset}@val")
    return segtune("train", "quickstart", *data, *QUICK, *settings)


def _write_example(folder: Path, name: str, text: str) -> None:
    """A drawn picture, its own for every name, with a box that is the answer to a text."""
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(list(f"{folder.name}{name}".encode())).integers(0, 90, (120, 160, 3)).astype(np.uint8)
    image[48:108, 96:144] = (30, 60, 220)
    Image.fromarray(image).save(folder / f"{name}.png")
    corners = [[96, 48], [144, 48], [144, 108], [96, 108]]
    content = {"text": [text], "is_sentence": False, "shapes": [{"label": "target", "points": corners}]}
    (folder / f"{name}.json").write_text(json.dumps(content))


def outcome_of(name: str, source: Path, place: Path) -> Outcome:
    """Runs a case in a copy of it."""
    copy = place / name
    shutil.copytree(source / name, copy)
    outcome = Outcome()
    with contextlib.chdir(copy):
        CASES[name](copy, outcome)
    return outcome


def _names() -> list[str]:
    source = shared_cases()
    return sorted(path.name for path in source.iterdir() if path.is_dir()) if source else sorted(CASES)


@pytest.mark.parametrize("name", _names())
def test_a_case_behaves_as_its_readme_says(name: str, tmp_path: Path) -> None:
    source = shared_cases()
    if source is None:
        pytest.skip("the folder `cases` is absent: set SEGTUNE_SHARED_DATA to the folder of data beside it")
    assert name in CASES, f"{name}: a case without an entry in CASES"
    outcome = outcome_of(name, source, tmp_path)
    assert not outcome.wrong, "\n".join(outcome.wrong)


def _rows(names: Sequence[str], source: Path, place: Path) -> Iterator[tuple[str, Outcome]]:
    for name in names:
        try:
            outcome = outcome_of(name, source, place) if name in CASES else Outcome(wrong=["no entry in CASES"])
        except Exception:  # one row; the others are wanted too
            outcome = Outcome(wrong=[traceback.format_exc()])
        yield name, outcome


def print_table(names: Sequence[str]) -> int:
    """Prints a row for every case: its name, what was run, what came out. Returns how many are not right."""
    source = shared_cases()
    if source is None:
        print("the folder `cases` is absent: set SEGTUNE_SHARED_DATA to the folder of data beside it", file=sys.stderr)
        return 1
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        for name, outcome in _rows(names or _names(), source, Path(place).resolve()):
            failed += bool(outcome.wrong)
            print(f"{'NOT OK' if outcome.wrong else 'ok':6}  {name}")
            for ran, came in zip(outcome.ran, outcome.came, strict=True):
                print(f"          {ran}\n            {came[:160]}")
            for wrong in outcome.wrong:
                print(f"          wrong: {wrong}")
            sys.stdout.flush()
    print(f"{failed} cases are not right" if failed else "every case is right")
    return failed


if __name__ == "__main__":
    os.environ.update({"ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"})
    sys.exit(min(print_table(sys.argv[1:]), 1))
