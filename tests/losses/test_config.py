from __future__ import annotations

import pytest
from pydantic import ValidationError

from segtune.losses.config import OPTIONAL_TERMS, TERMS, LossConfig


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
