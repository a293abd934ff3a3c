"""``rollback``: the champion before the present one is champion again."""

from __future__ import annotations

from pipeline.config import RollbackConfig as CONFIG


def run(config: CONFIG) -> None:
    """Swap the aliases champion and previous, once the files of the model that returns are known to be whole."""
    from pipeline import tracking
    from pipeline.tracking import registry

    tracking.connect()
    returned, replaced = registry.roll_back(config.model_name)
    print(
        f"{returned.name} version {returned.number} is {registry.CHAMPION} again; "
        f"version {replaced.number} is {registry.PREVIOUS}"
    )
