"""``main``: preprocess, then tune, then evaluate, as one run with three runs below it."""

from __future__ import annotations

from pipeline.config import EvaluateConfig, PreprocessConfig, PromotionConfig, TuneConfig
from pipeline.config import MainConfig as CONFIG


def run(config: CONFIG) -> None:
    """Run the three commands in turn; the winner becomes champion if it earns it."""
    from pipeline import tracking
    from pipeline.experiment import run_preprocessing
    from pipeline.promotion import run_evaluation
    from pipeline.search import preload_trials, resolve_search, run_search
    from pipeline.tracking.registry import CHALLENGER

    preload_trials(config)
    tracking.connect()
    with tracking.run("main", f"main {config.data_name}", config):
        search = TuneConfig(**{name: getattr(config, name) for name in TuneConfig.model_fields})
        resolved = resolve_search(search)
        run_preprocessing(PreprocessConfig(**resolved.data_config().model_dump(), strict=config.strict))
        run_search(search, resolved)
        promotion = {name: getattr(config, name) for name in PromotionConfig.model_fields}
        run_evaluation(EvaluateConfig(model_uri=f"models:/{config.model_name}@{CHALLENGER}", **promotion))
