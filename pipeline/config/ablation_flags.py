"""The flags of an ablation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Config

# What a ResNet on small photos could owe its accuracy to; what needs a download (weights=imagenet) is left out.
DEFAULT_FACTORS = (
    "depth=34;block=v2,vd;skip_connections=false;stem=deep;width=0.5;augment=none,light,strong;mixup=0.2;cutmix=1;"
    "label_smoothing=0.1;ema=0.99;image_ops=opening,closing,erosion,dilation,gradient,top_hat,black_hat,clahe,grey;"
    "image_size=32,96;start_size=32;optimizer=sgd&learning_rate=0.1&weight_decay=0.0005;lr_schedule=constant,step;"
    "head_units=512"
)


class AblationConfig(Config):
    """The ablation: which factors to vary around the flags above, and how often."""

    factors: str = Field(
        DEFAULT_FACTORS,
        min_length=1,
        description="factor=value,value;factor=value, where a factor is a flag of train, depth or block; "
        "value&flag=value changes another flag with it, and a + joins the items of a list.",
    )
    design: Literal["one_at_a_time", "grid"] = Field(
        "one_at_a_time", description="Change one factor at a time, or train every combination."
    )
    seeds: int = Field(3, ge=1, description="Seeds per value, counting up from seed; a single seed proves nothing.")
