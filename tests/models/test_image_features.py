"""What the language model and the mask decoder are given to look at: placeholders, features, geometry, gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.factory import LAYERS, PATCHES, WIDTH, batch_of, group, groups, tiny_loaded

from segtune.core.records import Example, Group, Query
from segtune.data.collate import Collate
from segtune.engine.inference import answer_batch
from segtune.losses.config import LossConfig
from segtune.losses.objective import weighted_total
from segtune.losses.terms import ReasoningObjective

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("placeholders", [1, PATCHES - 1, PATCHES + 1])
def test_a_wrong_number_of_image_placeholders_is_refused(placeholders):
    loaded = tiny_loaded()
    batch = batch_of(loaded, groups(1))
    image_id = loaded.model.vlm.llava.config.image_token_id
    row = [i for i in batch.input_ids[1].tolist() if i != image_id]
    row = (row[:1] + [image_id] * placeholders + row[1:] + [0] * PATCHES)[: batch.input_ids.shape[1]]
    input_ids = batch.input_ids.clone()
    input_ids[1] = torch.tensor(row)
    with pytest.raises(ValueError, match=f"{PATCHES} image placeholders.*{placeholders}"):
        loaded.model(replace(batch, input_ids=input_ids))


def test_queries_without_an_image_stand_beside_queries_with_one():
    loaded = tiny_loaded()
    members = [group(0, queries=1), group(1, queries=2), group(2, queries=1)]
    samples = [
        loaded.transform(m, ("<SEG>.",) * len(m.examples), with_image=sees)
        for m, sees in zip(members, (True, False, True), strict=True)
    ]
    collate = Collate(loaded.conversation.tokenizer.pad_token_id)
    with torch.no_grad():
        together = loaded.model(collate(samples)).masks.logits
        alone = torch.cat([loaded.model(collate([sample])).masks.logits for sample in samples])
        seeing = loaded.model(batch_of(loaded, members, "<SEG>.")).masks.logits
    torch.testing.assert_close(together, alone, **CLOSE)
    torch.testing.assert_close(together[[0, 3]], seeing[[0, 3]], **CLOSE)
    assert float((together[1:3] - seeing[1:3]).abs().max()) > 1e-3


def test_placeholders_take_the_features_of_their_own_image_in_order():
    loaded = tiny_loaded()
    vlm = loaded.model.vlm
    batch = batch_of(loaded, [group(0, queries=1), group(1, queries=2)])
    tokens = torch.randn(2, PATCHES, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedded = vlm.embed(batch.input_ids, tokens, batch.group_index)
        plain = vlm.llava.get_input_embeddings()(batch.input_ids)
    placeholder = batch.input_ids == vlm.llava.config.image_token_id
    for query, image in enumerate([0, 1, 1]):
        torch.testing.assert_close(embedded[query][placeholder[query]], tokens[image])
    torch.testing.assert_close(embedded[~placeholder], plain[~placeholder])


def test_shared_features_need_no_second_encoder():
    loaded = tiny_loaded("shared")
    names = [name for name, _ in loaded.model.named_parameters()]
    assert not any("sam.vision_encoder" in name for name in names)
    batch = batch_of(loaded, groups(1))
    assert batch.images.mask_pixels is None
    objective = ReasoningObjective(LossConfig(ce=0), loaded.model.seg_id)
    weighted_total(objective.sums(loaded.model(batch), batch), objective.weights, objective.counts(batch)).backward()
    for name, parameter in loaded.model.connector.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_the_mask_loss_reaches_the_language_model():
    loaded = tiny_loaded()
    batch, only_masks = batch_of(loaded, groups(1)), LossConfig(ce=0)
    objective = ReasoningObjective(only_masks, loaded.model.seg_id)
    loss = objective.sums(loaded.model(batch), batch)
    weighted_total(loss, objective.weights, objective.counts(batch)).backward()
    reached = [n for n, p in loaded.model.named_parameters() if "lora_B" in n and p.grad.abs().max() > 0]
    # queries and values of the last layer act on the state that predicts <SEG>, as those of the first do
    assert any("layers.0." in name for name in reached)
    assert any(f"layers.{LAYERS - 1}." in name for name in reached)


def test_an_empty_image_region_of_a_crop_is_background():
    loaded = tiny_loaded("shared", image_geometry="crop")
    example = Example("g#0", Query("the red box", is_sentence=False), np.zeros((40, 100), np.uint8))
    drawn = Group("g", np.full((40, 100, 3), 90, np.uint8), (example,))
    (answer,) = answer_batch(
        loaded.model, batch_of(loaded, [drawn], "<SEG>."), loaded.conversation, "forced", max_new_tokens=1
    )
    assert answer.logits.shape == (1, 40, 100)
    assert bool((answer.logits[0, :, :28] < -30).all())
    assert bool((np.abs(answer.logits[0, :, 35:65]) < 30).all())
