"""The invariants of the model: one forward, whatever the mode, the padding or the company."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.factory import LOW, PHRASES, batch_of, group, groups, plain_loaded, tiny_loaded
from torch import Tensor

from segtune.core.records import Group, Query
from segtune.core.types import Batch
from segtune.data.collate import Collate
from segtune.data.conversation import Turn
from segtune.engine.inference import answer_batch
from segtune.engine.loading import Loaded
from segtune.engine.predictor import Predictor
from segtune.losses.config import LossConfig
from segtune.losses.objective import weighted_total
from segtune.losses.terms import ReasoningObjective
from segtune.models.trainable import train_mode
from segtune.ops.geometry import to_original

KINDS = pytest.mark.parametrize(
    "kind",
    [{"mask_features": "encoder"}, {"mask_features": "shared"}, {"prompting": "query_tokens", "prompt_tokens": 3}],
    ids=["encoder", "shared", "query_tokens"],
)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def _script(loaded: Loaded, monkeypatch: pytest.MonkeyPatch, answers: Sequence[str | Sequence[int]]) -> None:
    """Makes the language model's head say these answers, one per query, whatever the states are."""
    ids = [loaded.conversation.answer(a) if isinstance(a, str) else tuple(a) for a in answers]
    vocabulary = loaded.model.vlm.llava.lm_head.weight.shape[0]
    steps = iter(range(1000))

    def head(states: Tensor) -> Tensor:
        step = next(steps)
        logits = torch.zeros(len(states), vocabulary)
        for row, answer in enumerate(ids):
            logits[row, answer[step] if step < len(answer) else loaded.model.eos_id] = 1
        return logits

    monkeypatch.setattr(loaded.model.vlm, "head", head)


def _emitting(loaded: Loaded) -> Loaded:
    """Draws the head's `<SEG>` row towards the states at the end of prompts, as far as makes some tokens `<SEG>`."""
    model = loaded.model
    states = []
    head = model.vlm.llava.lm_head
    hook = head.register_forward_hook(lambda _, inputs, __: states.append(inputs[0].detach()))
    batch = batch_of(loaded, groups(3))
    model.generate(batch, max_new_tokens=1)
    hook.remove()
    mean = torch.cat(states).mean(0)
    for strength in torch.logspace(-3, 0, 40).tolist():
        with torch.no_grad():
            head.weight[model.seg_id] = strength * mean
        tokens = [token for ids in model.generate(batch, max_new_tokens=6).token_ids for token in ids]
        if tokens.count(model.seg_id) >= 3:
            return loaded
    raise AssertionError("no strength makes this model emit <SEG>")


def _answered(loaded: Loaded, members: Sequence[Group], answers: Sequence[Sequence[int]]) -> Batch:
    """A batch with given token ids as answers."""
    samples, rest = [], iter(answers)
    for member in members:
        sample = loaded.transform(member, ("<SEG>.",) * len(member.examples))
        turns = tuple(Turn(turn.prompt, tuple(next(rest))) for turn in sample.turns)
        samples.append(replace(sample, turns=turns))
    return Collate(loaded.conversation.tokenizer.pad_token_id)(samples)


@contextmanager
def _calls(loaded: Loaded):
    """Counts, by module, how often it runs and on how many images."""
    model, seen = loaded.model, Counter()
    llava = model.vlm.llava
    parts = {"tower": llava.model.vision_tower, "projector": llava.model.multi_modal_projector}
    if model.connector is None:
        parts["mask encoder"] = model.mask_model.sam.vision_encoder
    else:
        parts["connector"] = model.connector
    handles = []
    for name, module in parts.items():

        def note(module, inputs, name=name):
            seen[name] += 1
            seen[f"{name} images"] += len(inputs[0])

        handles.append(module.register_forward_pre_hook(note))
    yield seen
    for handle in handles:
        handle.remove()


@KINDS
def test_one_forward_in_training_evaluation_and_generation(kind, monkeypatch):
    loaded = tiny_loaded(**kind)
    model, batch = loaded.model, batch_of(loaded, groups(3), "Sure, it is <SEG>.")
    with torch.no_grad():
        evaluated = model.eval()(batch)
        train_mode(model)
        assert model.training
        trained = model(batch)
    torch.testing.assert_close(trained.masks.logits, evaluated.masks.logits, **CLOSE)
    torch.testing.assert_close(trained.answer_logits, evaluated.answer_logits, **CLOSE)
    model.eval()
    assert evaluated.masks.logits.shape == (6, LOW, LOW)
    assert float(evaluated.masks.logits.std()) > 1e-3, "constant masks would prove nothing"

    _script(loaded, monkeypatch, ["Sure, it is <SEG>."] * 6)
    generated = model.generate(batch)
    assert generated.token_ids == (loaded.conversation.answer("Sure, it is <SEG>."),) * 6
    assert generated.masks.query.tolist() == list(range(6))
    torch.testing.assert_close(generated.masks.logits, evaluated.masks.logits, **CLOSE)
    torch.testing.assert_close(generated.masks.scores, evaluated.masks.scores, **CLOSE)


@KINDS
def test_scoring_and_prediction_show_the_same_masks(kind, monkeypatch):
    loaded = tiny_loaded(**kind)
    model, wording = loaded.model, loaded.conversation.wording
    texts = [PHRASES[0], "What is it that stands beside the small green disc?"]
    drawn = group(0, size=(77, 51))
    asked = tuple(Query(text, is_sentence="?" in text) for text in texts)
    drawn = replace(drawn, examples=tuple(replace(e, query=q) for e, q in zip(drawn.examples, asked, strict=True)))
    batch = batch_of(loaded, [drawn], wording.forced_answer)
    with torch.no_grad():
        logits = to_original(model(batch).masks.logits, batch.images.geometries[0]).numpy()

    forced = answer_batch(model, batch, loaded.conversation, "forced", max_new_tokens=8)
    _script(loaded, monkeypatch, [wording.forced_answer] * 2)
    generated = answer_batch(model, batch, loaded.conversation, "generate", max_new_tokens=8)
    for answers in (forced, generated):
        assert [answer.text for answer in answers] == [wording.forced_answer] * 2
        assert all(answer.emitted for answer in answers)
        for answer, expected in zip(answers, logits, strict=True):
            assert answer.logits.shape == (1, 77, 51)
            np.testing.assert_allclose(answer.logits[0], expected, **CLOSE)

    monkeypatch.undo()
    _script(loaded, monkeypatch, [wording.forced_answer] * 2)
    predictor = Predictor(model, loaded.conversation, loaded.transform)
    for prediction, expected in zip(predictor.predict_many(drawn.image, texts), logits, strict=True):
        sure = np.abs(expected) > 1e-3
        np.testing.assert_array_equal(prediction.masks[0][sure], (expected > 0)[sure])


@KINDS
def test_a_padded_batch_equals_its_members_alone(kind):
    loaded = tiny_loaded(**kind)
    members = [group(0, queries=1), *groups(4)[1:]]
    answers = [["<SEG>."]] + [["It is <SEG>.", "Sure, it is <SEG>."]] * 3
    batch = batch_of(loaded, members, answers)
    assert len(set(batch.attention_mask.sum(1).tolist())) > 3, "a test of padding needs unequal lengths"
    with torch.no_grad():
        together = loaded.model(batch)
        alone = []
        for member, texts in zip(members, answers, strict=True):
            for example, text in zip(member.examples, texts, strict=True):
                alone.append(loaded.model(batch_of(loaded, [replace(member, examples=(example,))], [[text]])))
    torch.testing.assert_close(together.masks.logits, torch.cat([a.masks.logits for a in alone]), **CLOSE)
    torch.testing.assert_close(together.masks.scores, torch.cat([a.masks.scores for a in alone]), **CLOSE)
    torch.testing.assert_close(together.answer_logits, torch.cat([a.answer_logits for a in alone]), **CLOSE)


@KINDS
def test_generation_of_unequal_prompts_equals_one_by_one(kind):
    loaded = _emitting(plain_loaded(**kind))
    members = groups(3)
    batch = batch_of(loaded, members)
    assert len(set(batch.prompt_lengths.tolist())) > 2
    together = loaded.model.generate(batch, max_new_tokens=6)
    masks, query = [], []
    for index, row in enumerate((m, e) for m in members for e in m.examples):
        member, example = row
        alone = loaded.model.generate(batch_of(loaded, [replace(member, examples=(example,))]), max_new_tokens=6)
        assert alone.token_ids[0] == together.token_ids[index]
        masks.append(alone.masks.logits)
        query += [index] * len(alone.masks.logits)
    assert 3 <= len(query) < 36, "answers of nothing but <SEG> or without one would prove little"
    assert together.masks.query.tolist() == query
    torch.testing.assert_close(together.masks.logits, torch.cat(masks), **CLOSE)


@KINDS
def test_generation_with_a_cache_equals_reading_what_was_generated(kind):
    loaded = _emitting(plain_loaded(**kind))
    model, members = loaded.model, groups(3)
    steps = []
    hook = model.vlm.llava.lm_head.register_forward_hook(lambda _, __, logits: steps.append(logits))
    generated = model.generate(batch_of(loaded, members), max_new_tokens=6)
    hook.remove()
    with torch.no_grad():
        read = model(_answered(loaded, members, generated.token_ids))
    assert 3 <= len(generated.masks.query) < 36
    assert generated.masks.query.tolist() == read.masks.query.tolist()
    torch.testing.assert_close(read.masks.logits, generated.masks.logits, **CLOSE)
    said = torch.cat([torch.stack(steps)[: len(ids), query] for query, ids in enumerate(generated.token_ids)])
    torch.testing.assert_close(read.answer_logits, said, **CLOSE)


def test_generation_does_not_look_at_answers():
    loaded = _emitting(plain_loaded())
    one = loaded.model.generate(batch_of(loaded, groups(2), "<SEG>."), max_new_tokens=4)
    other = loaded.model.generate(batch_of(loaded, groups(2), "no such thing, sorry."), max_new_tokens=4)
    assert one.token_ids == other.token_ids
    torch.testing.assert_close(one.masks.logits, other.masks.logits, **CLOSE)


def test_generation_stops_at_the_end_of_an_answer_and_at_the_limit(monkeypatch):
    loaded = tiny_loaded()
    batch, answer = batch_of(loaded, groups(1)), loaded.conversation.answer
    _script(loaded, monkeypatch, ["<SEG>.", "Sure, it is <SEG>."])
    generated = loaded.model.generate(batch)
    assert generated.token_ids == (answer("<SEG>."), answer("Sure, it is <SEG>."))
    monkeypatch.undo()
    _script(loaded, monkeypatch, ["Sure, it is <SEG>."] * 2)
    cut = loaded.model.generate(batch, max_new_tokens=2)
    assert cut.token_ids == (answer("Sure, it is <SEG>.")[:2],) * 2
    assert cut.masks.logits.shape == (0, LOW, LOW)


def test_an_answer_after_its_end_asks_for_nothing(monkeypatch):
    loaded = tiny_loaded()
    seg, eos = loaded.model.seg_id, loaded.model.eos_id
    _script(loaded, monkeypatch, [(eos, seg, seg), (5, 5, seg, eos)])
    generated = loaded.model.generate(batch_of(loaded, groups(1)))
    assert generated.token_ids == ((eos,), (5, 5, seg, eos))
    assert generated.masks.query.tolist() == [1]


@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
@pytest.mark.parametrize("how", ["training step", "forced", "generate"])
def test_an_image_is_encoded_once_whatever_is_asked(mask_features, how):
    loaded = tiny_loaded(mask_features)
    model, batch = loaded.model, batch_of(loaded, [group(0, queries=3), group(1, queries=2)])
    with _calls(loaded) as seen:
        if how == "training step":
            train_mode(model)
            output = model(batch)
            objective = ReasoningObjective(LossConfig(), model.seg_id)
            weighted_total(objective.sums(output, batch), objective.weights, objective.counts(batch)).backward()
        else:
            answer_batch(model, batch, loaded.conversation, how, max_new_tokens=5)
    assert len(seen) == 6
    assert {name: n for name, n in seen.items() if not name.endswith("images")} == dict.fromkeys(
        (name for name in seen if not name.endswith("images")), 1
    )
    assert {n for name, n in seen.items() if name.endswith("images")} == {2}


@KINDS
def test_masks_belong_to_their_queries(kind, monkeypatch):
    loaded = tiny_loaded(**kind)
    members = groups(2)
    answers = [["<SEG> and <SEG>.", "no such thing."], ["It is <SEG>.", "<SEG>, <SEG>, and <SEG>."]]
    batch = batch_of(loaded, members, answers)
    with torch.no_grad():
        masks = loaded.model(batch).masks
        assert masks.query.tolist() == [0, 0, 2, 3, 3, 3]
        for query, text in ((0, answers[0][0]), (2, answers[1][0]), (3, answers[1][1])):
            member = members[int(batch.group_index[query])]
            single = replace(member, examples=(batch.examples[query],))
            alone = loaded.model(batch_of(loaded, [single], text)).masks.logits
            torch.testing.assert_close(masks.logits[masks.query == query], alone, **CLOSE)
    differences = [float((a - b).abs().max()) for i, a in enumerate(masks.logits) for b in masks.logits[:i]]
    # untrained tokens look at everything alike, so a few words more change little
    least = 1e-4 if "prompting" in kind else 1e-3
    assert min(differences) > least, "masks that are all alike would prove nothing"

    _script(loaded, monkeypatch, [text for texts in answers for text in texts])
    generated = loaded.model.generate(batch)
    assert generated.masks.query.tolist() == masks.query.tolist()
    torch.testing.assert_close(generated.masks.logits, masks.logits, **CLOSE)
    scored = answer_batch(loaded.model, batch, loaded.conversation, "forced", max_new_tokens=1)
    assert [len(answer.logits) for answer in scored] == [2, 0, 1, 3]
    assert scored[1].union is None
    np.testing.assert_array_equal(scored[0].union, scored[0].logits.max(axis=0))


def test_the_order_of_images_changes_nothing():
    loaded = tiny_loaded()
    members = groups(3)
    with torch.no_grad():
        forward = loaded.model(batch_of(loaded, members)).masks.logits
        backward = loaded.model(batch_of(loaded, members[::-1])).masks.logits
    torch.testing.assert_close(forward, backward.unflatten(0, (3, 2)).flip(0).flatten(0, 1), **CLOSE)


def test_a_mask_is_prompted_by_the_state_that_predicts_seg():
    """What follows `<SEG>`, and the token itself, have no influence on its mask: only what came before has."""
    loaded = plain_loaded()
    drawn = [group(0, queries=1)]
    seg, eos = loaded.model.seg_id, loaded.model.eos_id
    with torch.no_grad():
        base = loaded.model(_answered(loaded, drawn, [(7, seg, 9, eos)])).masks.logits
        after = loaded.model(_answered(loaded, drawn, [(7, seg, 300, 301, eos)])).masks.logits
        before = loaded.model(_answered(loaded, drawn, [(8, seg, 9, eos)])).masks.logits
        loaded.model.vlm.llava.get_input_embeddings().weight[seg] += 1
        other_row = loaded.model(_answered(loaded, drawn, [(7, seg, 9, eos)])).masks.logits
    torch.testing.assert_close(base, after, **CLOSE)
    torch.testing.assert_close(base, other_row, **CLOSE)
    assert float((base - before).abs().max()) > 1e-3
