"""The settings of an adaptation."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tfmlc.config import Config
from tfmlc.data.datasets.triplets import Alignment, Augmentation
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.losses.adapter import Mode


class AdaptConfig(Config):
    """The settings of an adaptation. Apart from ``views``, the defaults are the paper's where it states them."""

    backbone: str = Field(default="clip-vit-b16", description="name of the backbone")
    weights: str = Field(default="hub", description="weights of the backbone: hub, a file, or random")
    block: int = Field(default=3, ge=0, description="block whose features are adapted, counted from zero")
    mode: Mode = Field(
        default="flatten",
        description="flatten: all tokens as one vector, for one image size (the paper); "
        "token: each token separately, for any image size",
    )
    hidden: int = Field(default=1024, ge=1, description="width of the adapter's layers")
    alignment: Alignment = Field(
        default="shared",
        description="shared: the images of a triplet are augmented in the same way; independent: each differently; "
        "nuisance: in the same way, and then each gets a small shift, noise, JPEG, exposure and colours of its own",
    )
    photos: list[Path] = Field(
        default_factory=list[Path],
        description="sharp photos, and folders of them, that are blurred on the fly, in addition to the set",
    )
    count: int = Field(default=2000, ge=2, description="photos: number of triplets in an epoch")
    levels: int = Field(default=2, ge=2, description="photos: number of levels of blur")
    blur: BlurConfig = BlurConfig()
    augmentation: Augmentation = Augmentation()
    views: int = Field(
        default=8,
        ge=0,
        description="augmented views per triplet whose features are computed once; 0: new views in every step",
    )
    sampled_tokens: int = Field(
        default=64, ge=1, description="mode token: number of tokens that are drawn from each view in every step"
    )
    margin: float = Field(default=1.0, gt=0, description="margin of the triplet loss")
    held_out_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="fraction of the triplets to validate on; it is reached as nearly as whole videos allow",
    )
    epochs: int = Field(default=300, ge=1, description="largest number of epochs")
    patience: int = Field(default=5, ge=1, description="epochs without improvement before the learning rate falls")
    give_up: int = Field(default=30, ge=1, description="epochs without improvement before training ends")
    batch_size: int = Field(default=64, ge=2, description="triplets per step")
    learning_rate: float = Field(default=1e-4, gt=0, description="learning rate of Adam")
    seed: int = Field(default=0, ge=0, description="seed of everything random")
    licence: str = Field(default="Apache-2.0", description="licence of the adapter, stored with it")
