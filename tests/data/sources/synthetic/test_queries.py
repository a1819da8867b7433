"""Both grammars: every text has one answer, and the languages are held apart.

The answers are found again from the words alone, by a reading of the grammar that shares no code with it.
"""

from __future__ import annotations

import re

import pytest

from segtune.data.sources.synthetic.attributes import CONTENT_WORDS, KINDS, attribute_phrases, attribute_queries
from segtune.data.sources.synthetic.corpus import training_texts
from segtune.data.sources.synthetic.filler import FILLER_WORDS
from segtune.data.sources.synthetic.keywords import KEY_WORDS, PLACES, PLURALS, ROLES, SUPERLATIVES, USES, words_of
from segtune.data.sources.synthetic.objects import COLOURS, SHAPES, SIZES, TEXTURES
from segtune.data.sources.synthetic.phrasings import TEMPLATES
from segtune.data.sources.synthetic.questions import askable, every_text, questions, render
from segtune.data.sources.synthetic.scene import Scene, draw_scene, scene_rng

SCENES = [draw_scene(scene_rng(7, 95, index)) for index in range(120)]
AXIS = {"west": (0, -1), "east": (0, 1), "north": (1, -1), "south": (1, 1)}
COMPASS = {"left": "west", "right": "east", "above": "north", "below": "south"}


def described(scene: Scene, words: list[str]) -> list[int]:
    """Indices of the objects that fit every attribute word."""
    chosen = []
    for index, one in enumerate(scene.objects):
        said = {"thing", one.shape, one.colour, one.texture, one.size}
        if all(word in said for word in words):
            chosen.append(index)
    return chosen


def furthest(scene: Scene, group: list[int], compass: str) -> list[int]:
    """Members that lie 8 pixels beyond every other member."""
    axis, sign = AXIS[compass]
    at = {i: sign * scene.objects[i].centre[axis] for i in group}
    return [i for i in group if all(at[i] - at[j] >= 8 for j in group if j != i)]


def sized(scene: Scene, group: list[int], which: str) -> list[int]:
    """Members whose visible area is 1.4 times as large (or small) as every other's."""
    areas = {i: int(scene.objects[i].mask.sum()) for i in group}
    if which == "largest":
        return [i for i in group if all(areas[i] >= 1.4 * areas[j] for j in group if j != i)]
    return [i for i in group if all(areas[j] >= 1.4 * areas[i] for j in group if j != i)]


def beyond(scene: Scene, anchor: int, compass: str) -> list[int]:
    """Objects on one side of the anchor; empty where any object is within 8 pixels of its line."""
    axis, sign = AXIS[compass]
    gaps = {i: sign * (one.centre[axis] - scene.objects[anchor].centre[axis]) for i, one in enumerate(scene.objects)}
    del gaps[anchor]
    return [i for i, gap in gaps.items() if gap > 0] if all(abs(gap) >= 8 for gap in gaps.values()) else []


def answers(scene: Scene, phrase: str) -> list[int]:
    """All objects that an attribute phrase without filler and article can mean."""
    relation = re.fullmatch(r"thing (west|east|north|south) of the (.+)", phrase)
    if relation:
        anchors = described(scene, relation[2].split())
        return beyond(scene, anchors[0], relation[1]) if len(anchors) == 1 else []
    if " excluding " in phrase:
        group, without = (described(scene, part.split()) for part in phrase.split(" excluding "))
        return [i for i in group if i not in without] if len(group) >= 2 else []
    first, *rest = phrase.split()
    if first in ("largest", "smallest"):
        return sized(scene, described(scene, rest), first)
    if first.endswith("most"):
        return furthest(scene, described(scene, rest), first.removesuffix("most"))
    return described(scene, phrase.split())


def test_every_attribute_phrase_has_exactly_one_answer() -> None:
    kinds = dict.fromkeys(KINDS, 0)
    for scene in SCENES:
        for kind, phrases in attribute_phrases(scene).items():
            for phrase, picked, _ in phrases:
                assert len(picked) == 1
                assert answers(scene, phrase) == list(picked), phrase
                kinds[kind] += 1
    assert all(count > 50 for count in kinds.values()), kinds


def test_single_words_pick_every_object_they_are_true_of() -> None:
    several, words = 0, set[str]()
    for number, scene in enumerate(SCENES):
        for query in attribute_queries(scene, scene_rng(1, 95, number), 6, ease=1.0):
            core = query.text.removeprefix("the ")
            assert sorted(query.indices) == answers(scene, core), core
            assert 0 < len(query.indices) < len(scene.objects)
            content = core.removeprefix("thing excluding ").removesuffix(" thing")
            assert " " not in content, core
            several += len(query.indices) > 1
            words.add(content)
    assert several > len(SCENES)
    assert words >= CONTENT_WORDS - {"thing", "excluding", "west", "east", "north", "south", *TEXTURES}


def test_no_phrase_rests_on_a_texture() -> None:
    for scene in SCENES:
        for kind, phrases in attribute_phrases(scene).items():
            if kind in ("extreme", "exclusion"):
                assert not {word for phrase, _, _ in phrases for word in phrase.split()} & set(TEXTURES)
        assert not {word for query in attribute_queries(scene, scene_rng(1, 97), 6, ease=1.0)
                    for word in query.text.split()} & set(TEXTURES)  # fmt: skip


def test_no_phrase_is_asked_twice_of_a_scene() -> None:
    for number, scene in enumerate(SCENES):
        for ease in (0.0, 0.5, 1.0):
            queries = attribute_queries(scene, scene_rng(1, 96, number), 8, ease)
            fillers = set(FILLER_WORDS)
            core = [" ".join(w for w in words_of(q.text) if w not in fillers).removeprefix("the ") for q in queries]
            assert len(set(core)) == len(core), core


def test_attribute_queries_are_dressed_phrases() -> None:
    fillers = set(FILLER_WORDS)
    with_filler = total = several = inside = stopped = 0
    for number, scene in enumerate(SCENES):
        queries = attribute_queries(scene, scene_rng(1, 94, number), 4)
        several += len({query.index for query in queries}) >= 3
        for query in queries:
            words = words_of(query.text)
            core = [word for word in words if word not in fillers]
            phrase = " ".join(core).removeprefix("the ").replace("excluding the ", "excluding ")
            assert answers(scene, phrase) == [query.index], query.text
            filled = len(core) < len(words)
            assert query.is_sentence == (filled and len(words) > 6)
            assert query.is_sentence or query.text == " ".join(words), "only sentences are punctuated"
            assert words[0] not in CONTENT_WORDS or query.text[0].islower(), "a capital makes another token of a word"
            stopped += query.text[-1] in ".?"
            if query.kind == "exclusion":  # may have filler words inside as well
                inside += bool(words[words.index("excluding") - 1] in fillers)
            else:
                with_filler += filled
                total += 1
    assert 0.4 < with_filler / total < 0.6
    assert inside > len(SCENES) / 2
    assert stopped > len(SCENES) / 2
    assert several >= 0.9 * len(SCENES), "targets should differ where they can"


def same_name(scene: Scene, name: str) -> list[int]:
    """Objects that a key word names by colour, by shape or by role."""
    return [
        i for i, one in enumerate(scene.objects)
        if name in (one.colour, one.shape, PLURALS[one.shape], ROLES[one.shape]) or name in USES[one.shape]
    ]  # fmt: skip


def check_question(scene: Scene, kind: str, slots: dict[str, str]) -> list[int]:
    """The answers of a question, from its slots."""
    if kind == "function":
        groups = same_name(scene, slots["do"]), same_name(scene, slots["noun"])
        return groups[0] if groups[0] == groups[1] else []
    everything = list(range(len(scene.objects)))
    if kind == "comparison":
        which = next(w for w, (adjectives, clauses) in SUPERLATIVES.items() if slots["adj"] in adjectives)
        assert slots["clause"] in SUPERLATIVES[which][1]
        return furthest(scene, everything, COMPASS[which]) if which in COMPASS else sized(scene, everything, which)
    if kind == "relation":
        anchors = same_name(scene, slots["colour"])
        side = next(d for d, places in PLACES.items() if slots["dir"] in places)
        return beyond(scene, anchors[0], COMPASS[side]) if len(anchors) == 1 else []
    group, without = (same_name(scene, slots[name].removesuffix(" one")) for name in ("group", "but"))
    return [i for i in group if i not in without] if len(group) == 2 else []


def test_everything_askable_has_exactly_one_answer() -> None:
    kinds = dict.fromkeys(TEMPLATES, 0)
    for scene in SCENES:
        for one in askable(scene):
            kinds[one.kind] += 1
            for slots in one.variants:
                assert check_question(scene, one.kind, dict(slots)) == [one.index], slots
    assert all(count > 50 for count in kinds.values()), kinds


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_questions_are_balanced_and_of_their_split(split: str) -> None:
    own = every_text(split)
    for number, scene in enumerate(SCENES):
        asked = questions(scene, split, scene_rng(2, 93, number), 5)
        assert asked == questions(scene, split, scene_rng(2, 93, number), 5)
        assert len({query.text for query in asked}) == len(asked)
        assert {query.text for query in asked} <= own
        possible = askable(scene)
        assert len({query.kind for query in asked}) == len({one.kind for one in possible})
        assert {query.is_sentence for query in asked} == {True, False}
        answers_by_kind = {(one.kind, one.index) for one in possible}
        assert all((query.kind, query.index) in answers_by_kind for query in asked)


def test_phrasings_are_held_apart() -> None:
    train, val, test = (every_text(split) for split in ("train", "val", "test"))
    assert not train & val
    assert not train & test
    assert not val & test
    plain = {text.lower().strip(" .?!") for text in train}
    assert not plain & {text.lower().strip(" .?!") for text in val | test}


def test_pretraining_texts_hold_no_held_out_question() -> None:
    texts = training_texts(seed=3, count=20_000)
    assert len(texts) == 20_000
    assert texts == training_texts(seed=3, count=20_000)
    assert not set(texts) & (every_text("val") | every_text("test"))
    known = {word for text in texts for word in words_of(text)}
    assert known >= set(FILLER_WORDS) | CONTENT_WORDS | KEY_WORDS


def test_the_two_languages_share_colours_and_shapes_alone() -> None:
    shared = {*COLOURS, *SHAPES}
    questions_say = {
        word for split in ("train", "val", "test") for text in every_text(split) for word in words_of(text)
    }
    assert {*SHAPES, *COLOURS, *TEXTURES, "small", "large", "westmost", "excluding"} <= CONTENT_WORDS
    assert questions_say & CONTENT_WORDS == shared
    assert shared == KEY_WORDS & CONTENT_WORDS
    assert not set(FILLER_WORDS) & (CONTENT_WORDS | KEY_WORDS | {"the", "of", *SIZES})
    assert len(set(FILLER_WORDS)) == len(FILLER_WORDS) >= 500


def test_what_held_out_questions_need_is_taught_several_times() -> None:
    """Each slot and each negation of a val or test template occurs in three or more train templates."""
    for kind, splits in TEMPLATES.items():
        for length in (0, 1):
            assert len(splits["train"][length]) >= 10
            assert len(splits["val"][length]) == len(splits["test"][length]) == 4
        train = [re.findall(r"\{\w+\}|[a-z']+", one.lower()) for both in splits["train"] for one in both]
        for split in ("val", "test"):
            for template in (one for both in splits[split] for one in both):
                for word in re.findall(r"\{\w+\}|[a-z']+", template.lower()):
                    if word.startswith("{") or word in KEY_WORDS:
                        assert sum(word in words for words in train) >= 3, (kind, word)


def test_sentences_are_long_and_phrases_short() -> None:
    for split in ("train", "val", "test"):
        for scene in SCENES[:60]:
            for one in askable(scene):
                for length in (0, 1):
                    for template in TEMPLATES[one.kind][split][length]:
                        count = len(render(template, one.variants[0]).split())
                        assert 10 <= count <= 18 if length else count <= 11, template
