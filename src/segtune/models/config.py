"""What a reasoning model is made of and what of it trains; free of torch, so that a recipe is checked in no time."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from segtune.core.config import MOST_WIDE, Config

Part = Literal["frozen", "full"]
AdaptedPart = Literal["frozen", "lora", "full"]
Bits = Literal["none", "8bit", "4bit"]
Targets = Literal["all"] | tuple[str, ...]

QUANTIZED = ("llm", "vision_tower", "mask_encoder")
"""The components that may be held in 4 or 8 bits."""


class LoraSettings(Config):
    """Low-rank adapters (Hu et al., arXiv 2106.09685), made by PEFT, for every component that `train` sets to `lora`.

    Targets are the last part of a layer's name; `all` takes every linear layer of the component.
    """

    r: int = Field(8, ge=1, le=MOST_WIDE, description="rank")
    alpha: float = Field(16.0, gt=0, description="scale; the update is multiplied by alpha / r")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout before the adapter")
    targets: Targets = Field(("q_proj", "v_proj"), description="projections of the language model, or all")
    vision_targets: Targets = Field(("q_proj", "v_proj"), description="layers of the vision tower, or all")
    projector_targets: Targets = Field("all", description="layers of the projector, or all")
    mask_targets: Targets = Field(("qkv",), description="layers of the mask encoder, or all")
    decoder_targets: Targets = Field(("q_proj", "v_proj"), description="layers of the mask decoder, or all")
    rank_stabilised: bool = Field(False, description="multiply by alpha / sqrt(r) instead (arXiv 2312.03732)")
    dora: bool = Field(False, description="train the length of each weight row apart from its direction (2402.09353)")

    @field_validator("targets", "vision_targets", "projector_targets", "mask_targets", "decoder_targets", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) and value != "all" else value


class QuantizeSettings(Config):
    """Frozen weights in fewer bits, through bitsandbytes: `4bit` is NF4 with double quantisation, `8bit` LLM.int8.

    Only the linear layers of a component; never the LM head, the projector, the bridge or the mask decoder.
    """

    llm: Bits = "none"
    vision_tower: Bits = "none"
    mask_encoder: Bits = Field("none", description="only with mask_features: encoder")


class TrainSettings(Config):
    """What trains, by component. Everything is declared here and nowhere else."""

    vision_tower: AdaptedPart = "frozen"
    projector: AdaptedPart = "frozen"
    llm: AdaptedPart = "lora"
    embeddings: Part = Field("frozen", description="all token embeddings and the whole LM head")
    seg_token: bool = Field(True, description="the <SEG> rows of embedding and LM head, where the rest is frozen")
    seg_projection: Part = Field("full", description="what turns hidden states into prompts, of either prompting")
    connector: Part = Field("full", description="only with mask_features: shared")
    mask_encoder: AdaptedPart = Field("frozen", description="only with mask_features: encoder")
    prompt_encoder: Part = "frozen"
    mask_decoder: AdaptedPart = "full"


def require_effect(model: ModelConfig) -> None:
    """Refuses settings of training that would change nothing: a run would end well and have learned nothing by them.

    Models are also loaded to be scored, frozen altogether and with settings of old; so this is asked of recipes alone.

    Args:
        model: What a recipe wants to train.

    Raises:
        ValueError: What contradicts what, and what to set instead.
    """
    train, problems = model.train, []
    if model.mask_features == "shared":
        wishes = (("train", train.mask_encoder, "frozen"), ("quantize", model.quantize.mask_encoder, "none"))
        problems += [
            f"model.{section}.mask_encoder={wish} and model.mask_features=shared exclude each other: there is no mask "
            f"encoder then; set model.mask_features=encoder, or model.{section}.mask_encoder={idle}"
            for section, wish, idle in wishes
            if wish != idle
        ]
    absent = "mask_encoder" if model.mask_features == "shared" else "connector"
    parts = [name for name in type(train).model_fields if name not in (absent, "seg_token")]
    if not train.seg_token and all(getattr(train, name) == "frozen" for name in parts):
        problems.append(
            f"model.train freezes everything that this model has ({', '.join(parts)} and seg_token), so nothing would "
            "train; set one of them to full, for example model.train.mask_decoder=full"
        )
    if problems:
        raise ValueError("; ".join(problems))


class ModelConfig(Config):
    """A vision-language model, a mask decoder and the bridge between them."""

    base: str | None = Field(None, description="where to start: segtune/tiny, a run, a checkpoint directory")
    vlm: str | None = Field(None, description="LLaVA checkpoint: hub id or directory, where there is no base")
    vision: str | None = Field(None, description="instead of vlm, with language: a CLIP; a fresh projector joins them")
    language: str | None = Field(None, description="instead of vlm, with vision: a causal language model")
    mask_model: str | None = Field(None, description="SAM checkpoint: hub id or directory, where there is no base")
    mask_features: Literal["encoder", "shared"] = Field(
        "encoder", description="the decoder's image features: SAM's own encoder, or the tower's through a connector"
    )
    img_size: int | None = Field(
        None,
        ge=1,
        le=MOST_WIDE,
        description="side of the square that each image encoder sees; default the model's own sizes",
    )
    image_geometry: Literal["pad", "crop"] = Field("pad", description="the VLM's square: padded, or centre-cropped")
    prompting: Literal["seg_state", "query_tokens"] = Field(
        "seg_state", description="the decoder's prompt: the <SEG> state, or learned tokens that attend to all states"
    )
    prompt_tokens: int = Field(
        4, ge=1, le=MOST_WIDE, description="learned tokens, and prompts of each mask, with query_tokens"
    )
    seg_hidden: int | None = Field(
        None, ge=1, le=MOST_WIDE, description="hidden width of the <SEG> projection; default the LLM's"
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the frozen weights")
    quantize: QuantizeSettings = QuantizeSettings()
    lora: LoraSettings = LoraSettings()
    train: TrainSettings = TrainSettings()

    @property
    def start(self) -> str:
        """What it starts from, in a word for people and files."""
        return self.base or self.vlm or f"{self.vision} + {self.language}"

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        pair = bool(self.vision or self.language)
        if self.base and (self.vlm or self.mask_model or pair):
            raise ValueError("give either model.base, or model.vlm with model.mask_model, not both")
        if self.vlm and pair:
            raise ValueError("give either model.vlm, or model.vision with model.language, not both")
        if pair and not (self.vision and self.language):
            raise ValueError("model.vision and model.language go together: one of them is missing")
        if bool(self.vlm or pair) != bool(self.mask_model):
            raise ValueError("model.vlm and model.mask_model go together: one of them is missing")
        if not (self.base or self.vlm or pair):
            raise ValueError("give model.base (segtune/tiny, a run, a checkpoint), or model.vlm and model.mask_model")
        if pair and self.train.projector != "full":
            raise ValueError("model.vision and model.language get a fresh projector: set model.train.projector=full")
        return self

    @model_validator(mode="after")
    def _quantised_weights_stay_frozen(self) -> Self:
        """A weight of 4 or 8 bits has no gradient: such a component would look trained and never move."""
        problems = []
        for part in QUANTIZED:
            bits = getattr(self.quantize, part)
            if bits != "none" and getattr(self.train, part) == "full":
                problems.append(
                    f"model.train.{part}=full and model.quantize.{part}={bits} exclude each other: weights of {bits} "
                    f"cannot be trained; set model.train.{part}=lora, or model.quantize.{part}=none"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self
