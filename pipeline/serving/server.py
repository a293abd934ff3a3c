"""MLflow's scoring server for one model, with limits that ``mlflow models serve`` does not have.

``mlflow models serve`` starts uvicorn on its own app, and takes no middleware: nothing can limit the size of a request.
Here the same app gets Starlette's `RequestBodyLimitMiddleware`, and uvicorn a limit on concurrent requests. Routes,
formats and answers are MLflow's.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
from mlflow.pyfunc import PyFuncModel, scoring_server
from starlette.requests import Request  # at run time: FastAPI reads annotations
from starlette.responses import Response

from pipeline import tracking
from pipeline.config import DamagedModel, ServeConfig, UserError, first_line
from pipeline.tracking import registry

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.middleware.base import RequestResponseEndpoint


def run_server(config: ServeConfig) -> None:
    """Answer requests until interrupted."""
    import uvicorn

    tracking.connect()
    model = registry.fetch_model(config.model_uri)
    check_address_is_free(config.host, config.port)
    app = limited_app(model.root, round(config.max_body_mb * 2**20))
    print(f"{model.name} answers on http://{config.host}:{config.port}/invocations", flush=True)
    uvicorn.run(
        app, host=config.host, port=config.port, limit_concurrency=config.max_requests, log_level="warning",
        timeout_keep_alive=5,
    )  # fmt: skip


def limited_app(model_folder: Path, max_body_bytes: int) -> FastAPI:
    """Return MLflow's scoring app for a logged model on disk, which answers 413 to a larger request.

    Faulty requests that MLflow's own app answers with status 500 get one of 400 to 499.

    Raises:
        DamagedModel: the model, which runs code of its own, does not load.
    """
    from starlette.middleware.body_limit import RequestBodyLimitMiddleware

    model = _loaded(model_folder)
    app: FastAPI = scoring_server.init(model)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=max_body_bytes)
    app.add_exception_handler(RecursionError, _answer(400, "JSON must not be nested so deeply"))
    app.add_exception_handler(ValueError, _answer(400, "the body must be what its content type says, and is not"))
    remedy = "send fewer or smaller photos, or start the server with a larger max_body_mb"
    too_large = _answer(413, f"a request must have at most {max_body_bytes} bytes ({remedy})")
    of_no_kind = _answer(415, "a request must say its content type (application/json)")

    @app.middleware("http")
    async def refuse_by_its_head(request: Request, proceed: RequestResponseEndpoint) -> Response:
        if int(request.headers.get("content-length", 0)) > max_body_bytes:
            return await too_large(request, ValueError())
        if request.method == "POST" and "content-type" not in request.headers:
            return await of_no_kind(request, ValueError())
        return await proceed(request)

    return app


def _loaded(model_folder: Path) -> PyFuncModel:
    """Load a model, and its network, so that no caller waits for that."""
    try:
        model = mlflow.pyfunc.load_model(str(model_folder))
        model.predict(np.zeros((1, 8, 8, 3), np.uint8))
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as error:  # of the model's own code, whose exceptions are not those of this package
        raise DamagedModel(f"a model must load and answer, got {first_line(error)} from {model_folder}") from error
    return model


def _answer(status: int, message: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    from fastapi.responses import JSONResponse

    async def answer(request: Request, error: Exception) -> Response:
        return JSONResponse({"error_code": "INVALID_REQUEST", "message": message}, status_code=status)

    return answer


def check_address_is_free(host: str, port: int) -> None:
    """Raise UserError unless a server could listen there: asked before a model is loaded, which takes seconds."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(
            f"host and port must be an address to listen on, got {host}:{port}: {error.strerror} "
            f"(try --port={port + 1})"
        ) from error
