from __future__ import annotations

import pytest
from pydantic import ValidationError

from segtune.losses.config import BINARY_TERMS, CLASS_TERMS, OPTIONAL_TERMS, TERMS, DenseLossConfig, LossConfig


def test_the_defaults_are_the_reference_systems():
    config = LossConfig()
    assert (config.ce, config.bce, config.dice, config.space, config.ignore) == (1.0, 2.0, 0.5, "model", "honour")
    assert [getattr(config, term) for term in OPTIONAL_TERMS] == [0, 0, 0, 0]
    assert config.terms == TERMS


def test_terms_are_those_of_every_run_and_those_with_a_weight():
    assert LossConfig(ce=0, bce=0, dice=0).terms == TERMS
    assert LossConfig(boundary=0.1, focal=2).terms == (*TERMS, "focal", "boundary")


@pytest.mark.parametrize("term", [*TERMS, *OPTIONAL_TERMS, "focal_gamma", "tversky_alpha", "tversky_beta"])
def test_nothing_is_negative(term):
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        LossConfig.model_validate({term: -0.1})


@pytest.mark.parametrize("values", [{"focal_alpha": 1.1}, {"space": "lowres"}, {"ignore": "positive"}, {"iou": True}])
def test_other_values_are_refused(values):
    with pytest.raises(ValidationError):
        LossConfig.model_validate(values)


def test_a_tversky_loss_that_sees_no_error_is_refused():
    with pytest.raises(ValidationError, match="tversky_alpha and tversky_beta are both 0"):
        LossConfig(tversky_alpha=0, tversky_beta=0)
    assert LossConfig(tversky_alpha=0, tversky_beta=1, tversky=1).terms[-1] == "tversky"


def test_the_terms_of_a_dense_model_are_those_of_its_heads():
    config = DenseLossConfig()
    assert config.terms(classes=True, binary=False) == CLASS_TERMS
    assert config.terms(classes=False, binary=True) == BINARY_TERMS
    assert config.terms(classes=True, binary=True) == (*CLASS_TERMS, *BINARY_TERMS)
    focal = DenseLossConfig(focal=20, binary_focal=1, dice=0)
    assert focal.terms(classes=True, binary=True) == (*CLASS_TERMS, "focal", *BINARY_TERMS, "binary_focal")


@pytest.mark.parametrize(
    "values",
    [{"ce": -1}, {"label_smoothing": 1}, {"focal_alpha": 1.5}, {"lambda": 5}, {"dice_background": 2}, {"dice": True}],
)
def test_other_dense_values_are_refused(values):
    with pytest.raises(ValidationError):
        DenseLossConfig.model_validate(values)


def test_dense_losses_that_teach_nothing_are_refused():
    nothing = dict.fromkeys(("ce", "dice", "binary_bce", "binary_dice"), 0)
    with pytest.raises(ValidationError, match="nothing would be learned; give one of ce, dice, focal, binary_bce"):
        DenseLossConfig(**nothing)
    binary_only = DenseLossConfig(**{**nothing, "binary_dice": 1})
    binary_only.require_weights(classes=False, binary=True)
    with pytest.raises(ValueError, match="head 'classes' and every loss of it has the weight 0"):
        binary_only.require_weights(classes=True, binary=True)
    with pytest.raises(ValueError, match="head 'binary'"):
        DenseLossConfig(**{**nothing, "focal": 1}).require_weights(classes=True, binary=True)
