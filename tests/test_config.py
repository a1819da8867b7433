"""What only the whole configuration can know; its parts are tested beside them."""

from __future__ import annotations

import pytest

from segtune.config import load_recipe
from segtune.core.errors import ConfigError


@pytest.mark.parametrize("best", ["focal", "val_boundary"])
def test_a_best_checkpoint_by_a_loss_that_is_not_computed_is_refused(best: str) -> None:
    term = best.removeprefix("val_")
    with pytest.raises(ConfigError) as refused:
        load_recipe("quickstart", [f"train.best={best}"])
    assert f"train.best={best} needs losses.{term} above 0" in str(refused.value)
    config = load_recipe("quickstart", [f"train.best={best}", f"losses.{term}=0.5"])
    assert not config.train.best_is_highest


@pytest.mark.parametrize("best", ["val_P@0.5", "val_generalized_iou", "complete_iou"])
def test_new_metrics_are_best_when_high(best: str) -> None:
    assert load_recipe("quickstart", [f"train.best={best}"]).train.best_is_highest


def test_losses_are_refused_each_with_its_key() -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("quickstart", ["losses.focal=-1", "losses.tverski=1", "losses.space=lowres"])
    for text in ("losses.focal: ", "did you mean losses.tversky?", "losses.space: "):
        assert text in str(refused.value)
    with pytest.raises(ConfigError, match="losses: tversky_alpha and tversky_beta are both 0"):
        load_recipe("quickstart", ["losses.tversky_alpha=0", "losses.tversky_beta=0"])


def test_mask_losses_may_all_be_off() -> None:
    settings = [f"losses.{term}=0" for term in ("bce", "dice", "focal", "iou", "tversky", "boundary")]
    assert load_recipe("quickstart", settings).losses.terms == ("ce", "bce", "dice")
