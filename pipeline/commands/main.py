"""``main``: preprocess, then tune, then evaluate, as one run with three runs below it."""

from __future__ import annotations

from pipeline.config import EvaluateConfig, PreprocessConfig, PromotionConfig, TuneConfig
from pipeline.config import MainConfig as CONFIG


def run(config: CONFIG) -> None:
    """Run the three commands in turn; the winner becomes champion if it earns it."""
    from pipeline.tracking import registry
    from pipeline import tracking
    from pipeline.commands import evaluate, preprocess, tune
    from pipeline.processes.pool import warm_up

    if not config.ray_address:
        warm_up("pipeline.search.preload")  # before anything else starts processes, which would then be what trials fork from
    tracking.connect()
    with tracking.run("main", f"main {config.data}", config):
        preprocess.run(PreprocessConfig(**config.data_config().model_dump(), strict=config.strict))
        tune.run(TuneConfig(**{name: getattr(config, name) for name in TuneConfig.model_fields}))
        promotion = {name: getattr(config, name) for name in PromotionConfig.model_fields}
        evaluate.run(EvaluateConfig(model_uri=f"models:/{config.model_name}@{registry.CHALLENGER}", **promotion))
