"""``serve``: MLflow's scoring server for a registered model, with limits to what a request may cost."""

from __future__ import annotations

from pipeline.config import ServeConfig as CONFIG


def run(config: CONFIG) -> None:
    """Answer requests until interrupted."""
    import uvicorn

    from pipeline.tracking import registry
    from pipeline import tracking
    from pipeline.serving.server import check_is_free, limited_app

    tracking.connect()
    folder = registry.classifier_folder(config.model_uri).parents[1]
    check_is_free(config.host, config.port)
    app = limited_app(folder, round(config.max_body_mb * 2**20))
    print(f"{config.model_uri} answers on http://{config.host}:{config.port}/invocations", flush=True)
    uvicorn.run(
        app, host=config.host, port=config.port, limit_concurrency=config.max_requests, log_level="warning",
        timeout_keep_alive=5,
    )  # fmt: skip
