"""``main``: preprocess, then tune, then evaluate, as one run with three runs below it."""

from __future__ import annotations

from pipeline.config import EvaluateConfig, PreprocessConfig, TuneConfig
from pipeline.config import MainConfig as CONFIG


def run(config: CONFIG) -> None:
    """Run the three commands in turn; the champion is set if there is none yet."""
    from pipeline import registry, tracking
    from pipeline.commands import evaluate, preprocess, tune

    tracking.connect()
    with tracking.run("main", f"main {config.data}", config):
        preprocess.run(PreprocessConfig(**config.data_config().model_dump()))
        tune.run(TuneConfig(**config.model_dump()))
        evaluate.run(EvaluateConfig(model_uri=f"models:/{config.model_name}@{registry.CHALLENGER}"))
