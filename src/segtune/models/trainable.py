"""What trains: declared in the config, applied once, shown as a table and asserted.

Every parameter belongs to exactly one component; one that belongs to none is an error, and so is a component that the
config wants to train and the model does not have. A frozen component is also kept in evaluation mode, because frozen
modules in training mode still move their buffers and drop activations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import nn

from segtune.core.errors import ConfigError
from segtune.models.config import TrainSettings
from segtune.models.quantize import logical_size, stored_bytes

# First match wins. A name is the parameter's canonical path; what stands in it must follow in this order.
_COMPONENT_BY_PATTERN = (
    ("vlm.vision_tower.*lora_", "vision_lora"),
    ("vlm.multi_modal_projector.*lora_", "projector_lora"),
    ("sam.vision_encoder.*lora_", "mask_lora"),
    ("sam.mask_decoder.*lora_", "decoder_lora"),
    ("lora_", "lora"),
    ("trainable_tokens", "seg_token"),
    ("vlm.vision_tower.", "vision_tower"),
    ("vlm.multi_modal_projector.", "projector"),
    (".embed_tokens.", "embeddings"),
    (".lm_head.", "embeddings"),
    ("vlm.language_model.", "llm"),
    ("seg_projection.", "seg_projection"),
    ("connector.", "connector"),
    ("sam.vision_encoder.", "mask_encoder"),
    ("sam.prompt_encoder.", "prompt_encoder"),
    ("sam.shared_image_embedding.", "prompt_encoder"),
    ("sam.mask_decoder.", "mask_decoder"),
)

ADAPTERS = ("lora", "vision_lora", "projector_lora", "seg_token")
"""Components that PEFT saves, in its own files; those of the mask model are saved by name with everything else."""

BRIDGE = ("seg_projection", "connector")
"""Components between the two models: a base may have them or not."""

DENSE_COMPONENTS = ("encoder", "decoder", "class_head", "binary_head")
"""Components of a dense model: the first part of a parameter's path is its component."""

FIXED = ("shared_image_embedding.positional_embedding",)
"""Parameters that never train: the random Fourier frequencies of SAM's positions, which Segment Anything holds as a
buffer (Kirillov et al., arXiv 2304.02643) and transformers as a parameter."""

_LORA_OF = {
    "lora": "llm", "vision_lora": "vision_tower", "projector_lora": "projector", "mask_lora": "mask_encoder",
    "decoder_lora": "mask_decoder",
}  # fmt: skip

_REASONING_COMPONENTS = tuple(dict.fromkeys((*_LORA_OF, *(component for _, component in _COMPONENT_BY_PATTERN))))

COMPONENTS = (*_REASONING_COMPONENTS, *DENSE_COMPONENTS)
"""The components of every kind of model, in the order of the table."""


def canonical_name(name: str) -> str:
    """The path of a parameter without PEFT's wrappers: the same whether adapters are in or not."""
    for wrapper, plain in ((".base_model.model", ""), ("vlm.vlm.model.", "vlm."), ("vlm.vlm.", "vlm.")):
        name = name.replace(wrapper, plain)
    return name.replace(".token_adapter.base_layer.", ".").replace(".base_layer.", ".")


def component_of(name: str) -> str:
    """The component that a parameter belongs to.

    Args:
        name: Its path in a `ReasoningSegmenter` or a `DenseSegmenter`.

    Raises:
        ConfigError: It belongs to none, so nobody decided whether it trains.
    """
    if (first := name.partition(".")[0]) in DENSE_COMPONENTS:
        return first
    plain = "." + canonical_name(name)
    for pattern, component in _COMPONENT_BY_PATTERN:
        head, _, tail = pattern.partition("*")
        if head in plain and tail in plain.partition(head)[2]:
            return component
    raise ConfigError("this parameter belongs to no component", where=name, expected=", ".join(COMPONENTS))


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """One line of the table: parameters and bytes of a component.

    A quantised weight counts as one parameter, whatever it takes; bytes are what it takes.
    """

    component: str
    total: int
    trainable: int
    frozen: int
    bytes: int


def apply_trainable(model: nn.Module, settings: TrainSettings) -> None:
    """Sets `requires_grad` of every parameter as declared.

    Args:
        model: A `ReasoningSegmenter`, adapters already in.
        settings: What trains.

    Raises:
        ConfigError: A component that should train has no parameters in this model.
    """
    wanted = _wanted(settings)
    present = set()
    for name, parameter in model.named_parameters():
        component = component_of(name)
        present.add(component)
        parameter.requires_grad_(wanted[component] and _can_train(name, parameter))
    # Encoder and connector exclude each other; which one there is follows from mask_features.
    optional = {"connector", "mask_encoder", "mask_lora"}
    missing = [part for part, wish in wanted.items() if wish and part not in present and part not in optional]
    if missing:
        raise ConfigError(
            f"nothing to train in: {', '.join(missing)}",
            where="model.train",
            expected="components that this model has",
            found=", ".join(sorted(present)),
        )


def _can_train(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter may train at all: quantised weights and fixed frequencies do not."""
    return parameter.is_floating_point() and not name.endswith(FIXED)


def require_trainable_as_declared(model: nn.Module, settings: TrainSettings) -> None:
    """Asserts that a model trains what was declared and nothing else; called at every boundary of stages.

    Args:
        model: A `ReasoningSegmenter` as it is about to train.
        settings: The declaration.

    Raises:
        AssertionError: A parameter trains that should not, or the reverse; up to eight are named.
    """
    wanted = _wanted(settings)
    wrong = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad != (wanted[component_of(name)] and _can_train(name, parameter))
    ]
    if wrong:
        more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise AssertionError(f"trains otherwise than declared: {', '.join(wrong[:8])}{more}")


def _wanted(settings: TrainSettings) -> dict[str, bool]:
    """Whether each component trains under a declaration."""
    return {
        **{lora: getattr(settings, part) == "lora" for lora, part in _LORA_OF.items()},
        "seg_token": settings.seg_token and settings.embeddings == "frozen",
        **{
            part: getattr(settings, part) == "full"
            for part in _REASONING_COMPONENTS
            if part not in (*_LORA_OF, "seg_token")
        },
    }


def train_mode(model: nn.Module) -> None:
    """Training mode for what trains, evaluation mode for what is frozen (buffers and dropout stand still)."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def table(model: nn.Module) -> list[ComponentRow]:
    """Counts parameters and bytes by component, in a fixed order, components without parameters left out."""
    counts = {component: [0, 0, 0] for component in COMPONENTS}
    for name, parameter in model.named_parameters():
        row = counts[component_of(name)]
        count = logical_size(parameter)
        row[0] += count
        row[1] += count if parameter.requires_grad else 0
        row[2] += stored_bytes(parameter)
    return [
        ComponentRow(component, total, trainable, total - trainable, size)
        for component, (total, trainable, size) in counts.items()
        if total
    ]


def table_dict(rows: list[ComponentRow]) -> dict[str, object]:
    """The table as `parameters.json` holds it: totals first, then by component."""
    return {
        "total": sum(row.total for row in rows),
        "trainable": sum(row.trainable for row in rows),
        "frozen": sum(row.frozen for row in rows),
        "bytes": sum(row.bytes for row in rows),
        "components": {row.component: {k: v for k, v in asdict(row).items() if k != "component"} for row in rows},
    }


def render_table(rows: list[ComponentRow]) -> str:
    """The table as text, a line per component and one for the whole."""
    columns = ("total", "trainable", "frozen", "bytes")
    total = ComponentRow("total", *(sum(getattr(r, k) for r in rows) for k in columns))
    lines = [f"{'component':<16}{'parameters':>15}{'trainable':>15}{'MB':>10}"]
    lines += [f"{r.component:<16}{r.total:>15,}{r.trainable:>15,}{r.bytes / 1e6:>10.2f}" for r in [*rows, total]]
    return "\n".join(lines)
