"""A text is a phrase or a sentence by one rule, wherever it is asked."""

from __future__ import annotations

import pytest

from segtune.core.errors import ConfigError
from segtune.core.records import Query

SENTENCES = (
    "Which one opens bottles?",
    "one two three four five six seven eight",
    "Find the cup.",
    "Mark the dog!",
    "哪个东西可以用来打开瓶子？",
    "图中哪一个东西可以用来打开这个瓶子",  # no sign at its end, but as long as a sentence
    "どれで瓶を開けますか。",
    "أي شيء يفتح الزجاجة؟",
    "कौन सी चीज़ बोतल खोलती है।",
    "อะไรในภาพนี้ที่สามารถใช้เปิดขวดเบียร์ได้บ้าง",
    "병을 여는 것은 무엇입니까?",
    "Was kann man benutzen, um die Flasche zu öffnen, wenn",
)
PHRASES = (
    "the red box", "bottle opener", "one two three four five six seven", "红色的盒子", "das rote Kästchen",
    "красная коробка", "กล่องสีแดง", "лев.ая коробка", "الصندوق الأحمر", "빨간 상자", "赤い箱",
)  # fmt: skip


@pytest.mark.parametrize("text", SENTENCES + PHRASES)
def test_a_text_reads_alike_in_training_and_prediction(text: str) -> None:
    expected = text in SENTENCES
    left_open = Query(text, None)  # type: ignore[arg-type]  as a reader hands on what a file leaves open
    for query in (Query.of(text), Query.typed(text), left_open, Query.of(f"  {text}\n")):
        assert query.is_sentence is expected


@pytest.mark.parametrize("text", ["the red box", "Which one?"])
def test_who_says_it_is_believed(text: str) -> None:
    for said in (True, False):
        assert Query.of(text, said).is_sentence is Query.typed(text, said).is_sentence is said


@pytest.mark.parametrize("text", ["", " \n", "half \udcff", "\x1b[31m", "word " * 1000, None, 5, b"the box", ["a"]])
def test_what_is_no_question_is_refused(text: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Query.typed(text)  # type: ignore[arg-type]
    str(caught.value).encode()
