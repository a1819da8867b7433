from __future__ import annotations

import json

import pytest
from tests.external import shared_data

from segtune.core.errors import DataError
from segtune.data.check import check_dataset
from segtune.data.sources.foreign import advice_on, export_of, tool_of
from segtune.data.sources.reasonseg import ReasonSeg

VALUES = {
    "COCO panoptic": {"images": [], "categories": [], "annotations": [{"image_id": 1, "segments_info": []}]},
    "COCO annotations": {"images": [], "categories": [], "annotations": []},
    "Label Studio export": [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": []}]}],
    "notes.json": {"categories": [{"id": 0, "name": "car"}], "info": {"contributor": "Label Studio"}},
    "VIA": {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}},
    "Datumaro": {"dm_format_version": "1.0", "items": []},
    "Labelbox": [{"data_row": {"id": "x"}, "projects": {}}],
    "CVAT backup": [{"version": 0, "tags": [], "shapes": [], "tracks": []}],
    "Supervisely": {"size": {"height": 1, "width": 1}, "objects": []},
    "Cityscapes": {"imgHeight": 1024, "imgWidth": 2048, "objects": []},
    "Darwin": {"version": "2.0", "item": {}, "annotations": []},
    "SA-1B": {"image": {}, "annotations": []},
    "CreateML": [{"image": "a.jpg", "annotations": []}],
    "BDD100K": [{"name": "a.jpg", "labels": []}],
    "GeoJSON": {"type": "FeatureCollection", "features": []},
}


@pytest.mark.parametrize("name", VALUES)
def test_every_tool_is_known_by_its_name_and_has_an_advice(name):
    tool = tool_of(VALUES[name])
    assert name in tool
    assert "COCO" in advice_on(tool) or "coco" in advice_on(tool)


@pytest.mark.parametrize(
    "value",
    [
        {"text": ["a"], "is_sentence": True, "shapes": []},
        {"version": "5", "shapes": [], "imagePath": "a.jpg", "flags": {}, "imageData": None},
        [{"image": "a.jpg", "text": "a", "annotation": "a.json"}], [{"image": "a.jpg", "query": "a", "outputs": "b"}],
        {"classes": ["a", "b"]}, ["a", "b"], [], {}, None, 3, "text", [[]], {"a": []}, {"frames": 3}, {"images": 3},
        {"images": 3, "annotations": 3}, {"annotations": {}, "images": []},
    ],
)  # fmt: skip
def test_our_own_files_and_odd_values_are_of_no_tool(value):
    assert tool_of(value) == "" or (isinstance(value, dict) and "annotations" in value)


@pytest.mark.parametrize("with_image", [True, False])
@pytest.mark.parametrize("name", VALUES)
def test_a_file_of_another_tool_is_refused_by_its_name(tmp_path, write_pair, name, with_image):
    write_pair(tmp_path / "train", "good")
    path = write_pair(tmp_path / "train", "other", colour=5)
    path.write_text(json.dumps(VALUES[name]))
    if not with_image:
        path.with_suffix(".png").unlink()
    (bad,) = ReasonSeg(tmp_path, "train").bad
    assert (bad.path, name in bad.reason) == ("train/other.json", True)


def test_an_index_of_another_tool_is_refused_by_its_name(tmp_path, write_pair):
    write_pair(tmp_path / "train", "good")
    (tmp_path / "train.json").write_text(json.dumps(VALUES["Label Studio export"]))
    (bad,) = ReasonSeg(tmp_path, "train").bad
    assert bad.path == "train.json"
    assert "Label Studio" in bad.reason


def test_a_labelme_file_without_a_question_says_so(tmp_path, write_pair):
    write_pair(tmp_path, "a", text=None, version="5.4.1", imagePath="a.png")
    assert "LabelMe wrote the file, and nothing is asked" in ReasonSeg(tmp_path).bad[0].reason


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"default.xml": "<?xml?><annotations><version>1.1</version>", "images/a.jpg": ""}, "CVAT XML"),
        ({"Annotations/a.xml": "<annotation><filename>a.jpg</filename><polygon>"}, "web LabelMe"),
        ({"Annotations/a.xml": "<annotation><segmented>0</segmented><bndbox>"}, "Pascal VOC"),
        ({"SegmentationClass/a.png": "", "JPEGImages/a.jpg": ""}, "Pascal VOC"),
        ({"images/a.jpg": "", "labels/a.txt": "0 0.1 0.1 0.2 0.2\n"}, "YOLO export of boxes"),
        ({"images/a.jpg": "", "labels/train/a.txt": "0 0.1 0.1 0.2 0.2 0.3 0.3\n"}, "YOLO segmentation"),
        ({"label_colors.txt": "0 0 0 background", "train/a.jpg": ""}, "CamVid"),
        ({"leftImg8bit/a.png": "", "gtFine/a.png": ""}, "Cityscapes layout"),
        (
            {"train/a.jpg": "", "train/a_mask.png": "", "train/_classes.csv": "0, car"},
            "Roboflow export of semantic masks",
        ),
        ({"images/training/a.jpg": "", "annotations/training/a.png": ""}, "ADE20K"),
        ({"train/a.jpg": "", "train/a_mask.png": ""}, "NAME_mask.png"),
        ({"task-1-annotation-2-by-1-tag-car-0.png": ""}, "Label Studio brush"),
        ({"result.json": json.dumps(VALUES["COCO annotations"]), "images/a.jpg": ""}, "COCO annotations (result.json)"),
        ({"annotations/train.json": json.dumps(VALUES["Datumaro"])}, "Datumaro"),
    ],
)
def test_an_export_is_refused_in_one_message_that_names_it(tmp_path, files, name):
    for path, content in files.items():
        (tmp_path / "export" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "export" / path).write_text(content)
    tool, advice = export_of(tmp_path / "export")
    assert name in tool
    with pytest.raises(DataError) as caught:
        check_dataset(tmp_path / "export")
    assert tool in caught.value.message
    assert caught.value.fix == advice


def test_an_unknown_directory_is_of_no_tool(tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "a.xml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "a.json").write_text("{")
    assert export_of(tmp_path) == ("", "")


@pytest.mark.external
def test_exports_of_real_tools_are_read_or_refused_by_name():
    named = {
        "cvat": "CVAT", "yolo": "YOLO", "camvid": "CamVid", "panoptic": "panoptic", "datumaro-datumaro": "Datumaro",
        "label_me": "LabelMe", "voc": "VOC", "brush": "Label Studio", "polygons": "Label Studio",
        "labelme-json": "LabelMe", "labelme2coco": "COCO", "label_studio-coco": "COCO",
    }  # fmt: skip
    read = {"datumaro-coco_instances", "datumaro-coco_instances_rle"}
    for folder in sorted(path for path in shared_data("exports").iterdir() if path.is_dir()):
        if folder.name in {"truth", "fixtures"} | read:
            continue
        with pytest.raises(DataError) as caught:
            check_dataset(folder)
        assert any(part in folder.name and name in str(caught.value) for part, name in named.items()), folder.name
    for name in read:
        report = check_dataset(shared_data("exports") / name)
        assert "crowds (iscrowd 1)" in report.text()
