"""Weights of 4 and 8 bits: only where they were asked for, and trained around for real, on a CPU."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from tests.factory import batch_of, groups, tiny_config, tiny_loaded
from tests.models.counts import TINY
from torch import nn

from segtune.config import ExperimentConfig
from segtune.core.config import validate
from segtune.core.errors import ConfigError
from segtune.engine.checkpoint import load_weights, open_checkpoint, save_checkpoint
from segtune.engine.config import OptimConfig
from segtune.engine.loading import Loaded, build, export_base, load
from segtune.engine.optim import build_optimizer
from segtune.engine.step import train_step
from segtune.losses.config import LossConfig
from segtune.losses.terms import ReasoningObjective
from segtune.models import quantize
from segtune.models.config import TrainSettings
from segtune.models.quantize import bits_of, dequantize, logical_size, stored_bytes
from segtune.models.trainable import component_of, table, train_mode

needs_bitsandbytes = pytest.mark.quant
LANGUAGE = {"llm": "4bit"}
EVERYTHING = {"llm": "4bit", "vision_tower": "8bit", "mask_encoder": "4bit"}


def _train(loaded: Loaded, steps: int, rate: float = 5e-3) -> list[float]:
    """The loss of each of so many steps on one batch."""
    train_mode(loaded.model)
    optimizer, batch = build_optimizer(loaded.model, OptimConfig(lr=rate)), batch_of(loaded, groups(2))
    losses = []
    for _ in range(steps):
        report = train_step(
            loaded.model, [batch], optimizer, rate=rate, clip=1.0,
            objective=ReasoningObjective(LossConfig(), loaded.model.seg_id),
            accelerator=Accelerator(cpu=True), observe=lambda *_: None,
        )  # fmt: skip
        assert not report.skipped
        losses.append(float(report.terms["loss"]))
    loaded.model.eval()
    return losses


def _output(loaded: Loaded):
    with torch.no_grad():
        return loaded.model.eval()(batch_of(loaded, groups(2)))


def _assert_same(one, other, **tolerance: float) -> None:
    torch.testing.assert_close(one.answer_logits, other.answer_logits, **tolerance)
    torch.testing.assert_close(one.masks.logits, other.masks.logits, **tolerance)


def _widths(loaded: Loaded) -> dict[str, set[str]]:
    """The bits of the linear layers of each component."""
    found: dict[str, set[str]] = {}
    for name, module in loaded.model.named_modules():
        if isinstance(module, nn.Linear) and "lora_" not in name:
            found.setdefault(component_of(f"{name}.weight"), set()).add(bits_of(module))
    return found


@needs_bitsandbytes
@pytest.mark.parametrize(
    "settings", [LANGUAGE, {"llm": "8bit"}, EVERYTHING, {"vision_tower": "4bit"}, {"mask_encoder": "8bit"}]
)
def test_only_what_was_asked_for_is_quantised(settings):
    loaded = tiny_loaded(quantize=settings)
    for component, bits in _widths(loaded).items():
        assert bits == {settings.get(component, "none")}, component
    assert torch.isfinite(_output(loaded).masks.logits).all()


@needs_bitsandbytes
def test_4_bits_are_nf4_with_double_quantisation():
    loaded = tiny_loaded(quantize=EVERYTHING)
    layers = [module for module in loaded.model.modules() if bits_of(module) == "4bit"]
    assert layers
    for layer in layers:
        assert (layer.weight.quant_state.quant_type, layer.weight.quant_state.nested) == ("nf4", True)
        assert layer.compute_dtype == torch.float32
        assert not layer.support_avx512bf16_for_cpu


@needs_bitsandbytes
def test_the_answer_stays_near_the_one_in_full_precision():
    exact, narrow, wide = (tiny_loaded(quantize={"llm": bits}) for bits in ("none", "4bit", "8bit"))
    wanted = _output(exact).answer_logits
    errors = [float((_output(model).answer_logits - wanted).norm() / wanted.norm()) for model in (narrow, wide)]
    assert 0 < errors[1] < errors[0] < 0.3


@needs_bitsandbytes
@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (LANGUAGE, {}),
        ({"llm": "8bit"}, {}),
        (LANGUAGE, {"lora": {"dropout": 0.0, "targets": "all", "rank_stabilised": True, "dora": True}}),
        (EVERYTHING, {"train": TrainSettings(vision_tower="lora", mask_encoder="lora")}),
    ],
    ids=["4bit", "8bit", "4bit-dora", "mixed"],
)
def test_training_around_quantised_weights(settings, changes, tmp_path):
    loaded = tiny_loaded(quantize=settings, **changes)
    frozen = {n: p.detach().clone() for n, p in loaded.model.named_parameters() if not p.requires_grad}
    losses = _train(loaded, 20)
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(p, frozen[n]) for n, p in loaded.model.named_parameters() if n in frozen)
    moved = {component_of(n) for n, p in loaded.model.named_parameters() if "lora_B" in n and bool(p.detach().any())}
    train = loaded.config.train
    assert moved == {"lora"} | ({"vision_lora", "mask_lora"} if train.vision_tower == "lora" else set())

    save_checkpoint(tmp_path / "last", loaded.model, {"fingerprint": loaded.fingerprint})
    fresh = tiny_loaded(quantize=settings, seed=0, **changes)
    load_weights(open_checkpoint(tmp_path / "last"), fresh.model, fresh.fingerprint)
    _assert_same(_output(fresh), _output(loaded), rtol=0, atol=0)
    saved = sum(file.stat().st_size for file in (tmp_path / "last").glob("*.safetensors"))
    trained = sum(p.numel() * p.element_size() for p in loaded.model.parameters() if p.requires_grad)
    assert saved < 1.2 * trained + 50_000, "adapters alone, no quantised base among them"


@needs_bitsandbytes
def test_an_evaluation_between_steps_changes_no_gradient():
    loaded = tiny_loaded(quantize=LANGUAGE)
    batch = batch_of(loaded, groups(2))

    def gradients() -> dict[str, torch.Tensor]:
        train_mode(loaded.model)
        loaded.model.zero_grad()
        loaded.model(batch).answer_logits.square().mean().backward()
        return {n: p.grad.clone() for n, p in loaded.model.named_parameters() if p.grad is not None and "lora_" in n}

    before = gradients()
    _output(loaded)
    after = gradients()
    assert any(".layers.0." in name and float(value.abs().max()) > 0 for name, value in before.items())
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@needs_bitsandbytes
def test_what_trains_has_32_bits_and_what_is_frozen_is_not_widened():
    model = tiny_loaded(quantize=LANGUAGE, dtype="bfloat16").model
    trained = {p.dtype for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {torch.float32}
    llava = model.vlm.llava
    assert llava.get_input_embeddings().weight.dtype == torch.bfloat16
    norms = [p.dtype for n, p in llava.named_parameters() if "layernorm" in n and "language_model" in n]
    assert set(norms) == {torch.bfloat16}
    layers = [module for module in model.modules() if bits_of(module) == "4bit"]
    assert {module.compute_dtype for module in layers} == {torch.bfloat16}


@needs_bitsandbytes
@pytest.mark.parametrize("autocast", [False, True])
def test_16_and_32_bits_meet_in_training_and_prediction(autocast):
    train = TrainSettings(projector="full", vision_tower="lora", mask_encoder="lora")
    loaded = tiny_loaded(quantize=EVERYTHING, dtype="bfloat16", train=train)
    batch = batch_of(loaded, groups(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        train_mode(loaded.model)
        output = loaded.model(batch)
        (output.masks.logits.square().mean() + output.answer_logits.float().square().mean()).backward()
        loaded.model.eval().generate(batch, max_new_tokens=2)
    trained = {n: p for n, p in loaded.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    reached = {component_of(n) for n, p in trained.items() if p.grad is not None and bool(p.grad.any())}
    assert reached >= {"lora", "vision_lora", "mask_lora", "projector", "seg_token", "seg_projection", "mask_decoder"}


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_the_table_counts_weights_and_bytes(bits):
    loaded = tiny_loaded(quantize={"llm": bits, "vision_tower": bits})
    rows = {row.component: row for row in table(loaded.model)}
    assert {name: row.total for name, row in rows.items()} == {k: v for k, v in TINY.items() if k != "connector"}
    whole = 0
    for module in loaded.model.modules():
        if bits_of(module) == "4bit":
            state = module.weight.quant_state
            scales = (state.absmax, state.state2.absmax)
            own = module.weight.untyped_storage().nbytes() + sum(s.numel() * s.element_size() for s in scales)
        elif bits_of(module) == "8bit":
            own = module.weight.numel() + 4 * module.weight.SCB.numel()
        else:
            continue
        assert stored_bytes(module.weight) == own
        assert logical_size(module.weight) == module.in_features * module.out_features
        whole += own
    assert whole > 0
    assert rows["llm"].bytes < (0.2 if bits == "4bit" else 0.3) * 4 * rows["llm"].total
    assert rows["lora"].bytes == 4 * rows["lora"].total


@needs_bitsandbytes
def test_an_exported_model_answers_as_the_quantised_one_did(tmp_path):
    train = TrainSettings(vision_tower="lora", mask_encoder="lora")
    loaded = tiny_loaded(quantize=EVERYTHING, train=train)
    _train(loaded, 2)
    before = _output(loaded)
    export_base(loaded, tmp_path / "base")
    after = load(str(tmp_path / "base"))
    assert all(bits == {"none"} for bits in _widths(after).values())
    # LLM.int8 rounds activations too, which widened weights do not
    _assert_same(_output(after), before, rtol=0.05, atol=0.05)


@needs_bitsandbytes
@pytest.mark.parametrize("llm", ["lora", "frozen"])
def test_an_exported_4_bit_model_is_exact(llm, tmp_path):
    loaded = tiny_loaded(
        train=TrainSettings(llm=llm),
        quantize={"llm": "4bit", "mask_encoder": "4bit"},
        lora={"dropout": 0.0, "dora": True},
    )
    _train(loaded, 2)
    before = _output(loaded)
    export_base(loaded, tmp_path / "base")
    _assert_same(_output(load(str(tmp_path / "base"))), before, rtol=1e-3, atol=1e-3)


@needs_bitsandbytes
def test_a_trained_model_is_quantised_as_a_start_for_another(tmp_path):
    first = tiny_loaded()
    _train(first, 2)
    about = {"model": first.config.model_dump(mode="json"), "fingerprint": first.fingerprint, "base": "tiny",
             "conversation": first.conversation.wording.model_dump(mode="json")}  # fmt: skip
    save_checkpoint(tmp_path / "checkpoints" / "best", first.model, about)
    second = build(tiny_config(base=str(tmp_path), quantize=EVERYTHING), None)
    assert _widths(second)["llm"] == {"4bit"}
    wanted, found = _output(first).answer_logits, _output(second).answer_logits
    assert float((found - wanted).norm() / wanted.norm()) < 0.3
    third = build(tiny_config(base=str(tmp_path), quantize=EVERYTHING), None)
    assert third.fingerprint == second.fingerprint


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_widened_weights_are_what_the_layer_multiplies_with(bits):
    llava = tiny_loaded(quantize={"llm": bits}, train=TrainSettings(llm="frozen", seg_token=False)).model.vlm.llava
    layer = llava.model.language_model.layers[0].mlp.up_proj
    states = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = layer(states)
        dequantize(llava, torch.float32)
        widened = llava.model.language_model.layers[0].mlp.up_proj
        found = widened(states)
    assert type(widened) is nn.Linear
    if bits == "4bit":
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    else:  # LLM.int8 rounds inputs too: each by half of a step at most, of 127 up to the largest of its row; in 16 bits
        bound = states.abs().amax(dim=1, keepdim=True) / 254 * widened.weight.abs().sum(dim=1)
        assert bool(((found - wanted).abs() <= bound + 4e-3 * wanted.abs()).all())
        assert float((found - wanted).norm() / wanted.norm()) < 2e-2
    assert not hasattr(llava.config, "quantization_config")


@needs_bitsandbytes
@pytest.mark.parametrize("used", [False, True])
def test_8_bit_layers_move_whole(used):
    """What PyTorch does on the way to another device, on one: every weight gets other memory."""
    loaded = tiny_loaded(quantize={"llm": "8bit", "vision_tower": "8bit"})
    wanted = _output(tiny_loaded(quantize={"llm": "8bit", "vision_tower": "8bit"}))
    if used:
        _output(loaded)
    loaded.model._apply(lambda tensor: tensor.clone())
    layers = [module for module in loaded.model.modules() if bits_of(module) == "8bit"]
    assert layers
    for layer in layers:
        kept = [keeper.CB for keeper in (layer.weight, layer.state) if keeper.CB is not None]
        assert [codes.data_ptr() for codes in kept] == [layer.weight.data_ptr()]
    _assert_same(_output(loaded), wanted, rtol=0, atol=0)


@needs_bitsandbytes
def test_a_layer_quantised_by_accident_is_noticed(monkeypatch):
    monkeypatch.setattr(quantize, "VISION_TOWER", "vision_tower.")  # the trap: a bare name protects nothing
    with pytest.raises(AssertionError, match=r"model\.vision_tower\..* is 4bit instead of none"):
        tiny_loaded(quantize=LANGUAGE)


def test_without_bitsandbytes_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(quantize.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install \"segtune\[quant\]\"") as caught:
        tiny_loaded(quantize={"mask_encoder": "8bit"})
    assert caught.value.exit_code == 2
    assert caught.value.where == "model.quantize.mask_encoder=8bit"
    tiny_loaded()  # nothing quantised: nothing missed


@pytest.mark.parametrize("part", ["llm", "vision_tower", "mask_encoder"])
def test_full_training_of_quantised_weights_is_refused_before_loading(part):
    model = {"vlm": "no/such-model", "mask_model": "no/such-model", "quantize": {part: "4bit"}, "train": {part: "full"}}
    with pytest.raises(ConfigError) as caught:
        validate(ExperimentConfig, {"data": {"train": "synth:x@train"}, "model": model}, where="here")
    assert f"model.train.{part}=full" in str(caught.value)
    assert f"model.quantize.{part}=4bit" in str(caught.value)
    assert caught.value.exit_code == 2
