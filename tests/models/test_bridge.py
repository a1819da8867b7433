"""What turns hidden states into prompts: shapes, what it may look at, and where a base has another kind."""

from __future__ import annotations

import pytest
import torch
from tests.factory import SAM, SEG_HIDDEN, WIDTH, batch_of, groups, tiny_config, tiny_loaded
from tests.models.counts import query_tokens

from segtune.core.errors import CheckpointError
from segtune.engine.loading import build, export_base, load
from segtune.models.bridge import QueryTokens, SegProjection
from segtune.models.trainable import table, train_mode

PROMPT = SAM.prompt_encoder_config.hidden_size
QUERY_TOKENS = {"prompting": "query_tokens", "prompt_tokens": 3}


def _states() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """States of two queries, the second padded behind its fourth token; masks at three places."""
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    return torch.randn(2, 6, 8), real, torch.tensor([0, 0, 1]), torch.tensor([2, 5, 3])


@pytest.mark.parametrize(("module", "prompts"), [(SegProjection(8, 12), 1), (QueryTokens(8, 12, 5, 7), 5)])
def test_every_mask_has_its_prompts(module, prompts):
    states, real, query, position = _states()
    assert module(states, real, query, position).shape == (3, prompts, 12)
    nobody = torch.zeros(0, dtype=torch.long)
    assert module(states, real, nobody, nobody).shape == (0, prompts, 12)


def test_query_tokens_see_the_real_tokens_of_their_query_up_to_seg():
    torch.manual_seed(0)
    module = QueryTokens(8, 12, 2)
    states, real, query, position = _states()
    states.requires_grad_()
    for mask, (own, last) in enumerate(zip(query.tolist(), position.tolist(), strict=True)):
        (gradient,) = torch.autograd.grad(module(states, real, query, position)[mask].square().sum(), states)
        touched = gradient.abs().sum(-1) > 0
        expected = torch.zeros(2, 6, dtype=torch.bool)
        expected[own, : last + 1] = True
        assert torch.equal(touched, expected)


def test_padding_on_the_left_is_not_seen_either():
    torch.manual_seed(0)
    module = QueryTokens(8, 12, 2)
    states = torch.randn(1, 4, 8)
    padded = torch.cat([torch.randn(1, 3, 8), states], dim=1)
    real, one = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, dtype=torch.long)
    left = torch.cat([torch.zeros(1, 3, dtype=torch.bool), real], dim=1)
    wanted = module(states, real, one, one + 2)
    torch.testing.assert_close(module(padded, left, one, one + 5), wanted)


def test_query_tokens_are_counted_and_trained():
    loaded = tiny_loaded(**QUERY_TOKENS)
    rows = {row.component: row for row in table(loaded.model)}
    assert rows["seg_projection"].trainable == query_tokens(WIDTH, PROMPT, 3, SEG_HIDDEN)
    train_mode(loaded.model)
    loaded.model(batch_of(loaded, groups(2))).masks.logits.square().mean().backward()
    for name, parameter in loaded.model.seg_projection.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name
    lora = [p for n, p in loaded.model.named_parameters() if "lora_B" in n]
    assert any(bool(p.grad.any()) for p in lora), "the masks teach the language model too"


def test_a_base_brings_its_prompting_with_it(tmp_path):
    loaded = tiny_loaded(**QUERY_TOKENS)
    batch = batch_of(loaded, groups(1))
    with torch.no_grad():
        wanted = loaded.model(batch).masks.logits
    export_base(loaded, tmp_path / "base")
    again = load(str(tmp_path / "base"))
    assert isinstance(again.model.seg_projection, QueryTokens)
    with torch.no_grad():
        torch.testing.assert_close(again.model(batch).masks.logits, wanted, rtol=1e-4, atol=1e-4)

    with pytest.raises(CheckpointError, match=r"model\.prompt_tokens"):
        build(tiny_config(base=str(tmp_path / "base"), prompting="query_tokens", prompt_tokens=4), None)
    other = build(tiny_config(base=str(tmp_path / "base")), None)
    assert isinstance(other.model.seg_projection, SegProjection), "another kind starts afresh"
