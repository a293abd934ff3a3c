"""``ablate``: change one factor at a time and say what the change does to validation accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import AblateConfig as CONFIG
from pipeline.config import TrainConfig, UserError

if TYPE_CHECKING:
    import pandas as pd


def run(config: CONFIG) -> None:
    """Train the base and every value of every factor with every seed; log the table of differences."""
    import pandas as pd

    from pipeline import tracking
    from pipeline.experiment import log_store, open_store, tracked_fit

    plan = planned(config)
    tracking.connect()
    with tracking.run("ablate", f"ablate {config.factors}", config):
        store = None
        rows = []
        for factor, value, wanted in plan:
            name = f"{factor}={value} seed={wanted.seed}"
            with tracking.run("ablate", name, wanted, {"factor": factor, "value": value}) as run_id:
                store = open_store(wanted)
                log_store(store)
                trained = tracked_fit(wanted, store, wants_model=lambda _: False)
            accuracy = trained.best.val_accuracy
            rows.append(
                {"factor": factor, "value": value, "seed": wanted.seed, "val_accuracy": accuracy, "run_id": run_id}
            )
            print(f"[{len(rows)}/{len(plan)}] {name}: val_accuracy {accuracy:.4f}", flush=True)
        runs = pd.DataFrame(rows)
        tracking.log_table(runs, "ablation_runs.csv")
        table = difference_table(runs)
        tracking.log_table(table, "ablation.csv")
        tracking.copy_artifacts(str(rows[0]["run_id"]), tracking.RUN_PICTURES)
    print(table.round(4).to_string(index=False))


def planned(config: CONFIG) -> list[tuple[str, str, TrainConfig]]:
    """Return (factor, value, training) of every run: the base first, then each value of each factor, over the seeds.

    Raises:
        UserError: the factors cannot be read, name no training or data flag, or hold a value out of range.
    """
    from pipeline.flags import make_config

    changes: list[tuple[str, str, dict[str, str]]] = [("base", "", {})]
    for part in config.factors.split(";"):
        factor, _, values = (text.strip() for text in part.partition("="))
        if factor not in TrainConfig.model_fields or not values:
            raise UserError(f"factors must read flag=value,value;flag=value with flags of train, got {part!r}")
        changes += [(factor, value.strip(), {factor: value.strip()}) for value in values.split(",") if value.strip()]
    seeds = range(config.seed, config.seed + config.seeds)
    base = config.train_config().model_dump()
    return [
        (factor, value, make_config(TrainConfig, base | change | {"seed": seed}))
        for factor, value, change in changes
        for seed in seeds
    ]


def difference_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return each value's mean val_accuracy and its difference to the base, paired by seed.

    Args:
        runs: columns factor, value, seed, val_accuracy; the base has factor ``base``.

    Returns:
        Columns factor, value, val_accuracy, difference, and difference_std over the seeds (missing for one seed).
    """
    base = runs[runs["factor"] == "base"].set_index("seed")["val_accuracy"]
    paired = runs.assign(difference=runs["val_accuracy"] - runs["seed"].map(base))
    groups = paired.groupby(["factor", "value"], sort=False)
    table = groups.agg(val_accuracy=("val_accuracy", "mean"), difference=("difference", "mean"))
    return table.assign(difference_std=groups["difference"].std()).reset_index()
