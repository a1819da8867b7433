"""What a reasoning model is made of and what of it trains; free of torch, so that a recipe is checked in no time."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from segtune.core.config import Config

Part = Literal["frozen", "full"]
LanguagePart = Literal["frozen", "lora", "full"]


class LoraSettings(Config):
    """Low-rank adapters on the language model (Hu et al., arXiv 2106.09685), made by PEFT."""

    r: int = Field(8, ge=1, description="rank")
    alpha: float = Field(16.0, gt=0, description="scale; the update is multiplied by alpha / r")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout before the adapter")
    targets: tuple[str, ...] = Field(("q_proj", "v_proj"), description="projections of the language model")


class TrainSettings(Config):
    """What trains, by component. Everything is declared here and nowhere else."""

    vision_tower: Part = "frozen"
    projector: Part = "frozen"
    llm: LanguagePart = "lora"
    embeddings: Part = Field("frozen", description="all token embeddings and the whole LM head")
    seg_token: bool = Field(True, description="the <SEG> rows of embedding and LM head, where the rest is frozen")
    seg_projection: Part = "full"
    connector: Part = Field("full", description="only with mask_features: shared")
    mask_encoder: Part = Field("frozen", description="only with mask_features: encoder")
    prompt_encoder: Part = "frozen"
    mask_decoder: Part = "full"


class ModelConfig(Config):
    """A vision-language model, a mask decoder and the bridge between them."""

    base: str | None = Field(None, description="where to start: segtune/tiny, a run, a checkpoint directory")
    vlm: str | None = Field(None, description="LLaVA checkpoint: hub id or directory, where there is no base")
    mask_model: str | None = Field(None, description="SAM checkpoint: hub id or directory, where there is no base")
    mask_features: Literal["encoder", "shared"] = Field(
        "encoder", description="the decoder's image features: SAM's own encoder, or the tower's through a connector"
    )
    image_geometry: Literal["pad", "crop"] = Field("pad", description="the VLM's square: padded, or centre-cropped")
    seg_hidden: int | None = Field(None, ge=1, description="hidden width of the <SEG> projection; default the LLM's")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the frozen weights")
    lora: LoraSettings = LoraSettings()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.base and (self.vlm or self.mask_model):
            raise ValueError("give either model.base, or model.vlm with model.mask_model, not both")
        if bool(self.vlm) != bool(self.mask_model):
            raise ValueError("model.vlm and model.mask_model go together: one of them is missing")
        if not (self.base or self.vlm):
            raise ValueError("give model.base (segtune/tiny, a run, a checkpoint), or model.vlm and model.mask_model")
        return self
