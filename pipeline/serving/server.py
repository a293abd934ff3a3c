"""The HTTP server for one model: MLflow's routes, formats and answers, and photos as they are; what it says of itself.

``mlflow models serve`` computes each request by itself, and takes no middleware: nothing can limit
what a request costs. Here requests pass `limits`, and go in batches to processes that hold the model (`workers`). What
MLflow's scoring server takes, its own code parses.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import io
import json
import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.pyfunc import scoring_server
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request  # at run time: FastAPI reads annotations
from starlette.responses import JSONResponse, Response

from pipeline import __version__, tracking
from pipeline.config import ServeConfig, UserError
from pipeline.serving.inputs import MAX_PHOTOS
from pipeline.serving.limits import PREDICTIONS, PromptConnection, RequestLimits, answer_of
from pipeline.serving.workers import BATCH, ModelWorkers, Refused, Rows
from pipeline.tracking import registry

if TYPE_CHECKING:
    from fastapi import FastAPI

KEEP_ALIVE_S = 5
JSON_TYPES = ("application/json", "application/json;charset=utf-8")  # of others MLflow says what it thinks of them
TOP_FIELDS = {*scoring_server.SUPPORTED_FORMATS, scoring_server.SERVING_PARAMS_KEY}


def run_server(config: ServeConfig) -> None:
    """Answer requests until interrupted."""
    import uvicorn

    tracking.connect()
    model = registry.fetch_model(config.model_uri)
    check_address_is_free(config.host, config.port)
    metrics = CollectorRegistry()
    batch_photos = Histogram("batch_photos", "Photos per call of the model.", buckets=_powers(BATCH), registry=metrics)
    batch_seconds = Histogram("batch_duration_seconds", "Duration of a call of the model.", registry=metrics)

    def observe(photos: int, seconds: float) -> None:
        batch_photos.observe(photos)
        batch_seconds.observe(seconds)

    workers = ModelWorkers(model.root, config.workers, config.request_timeout_s, observe)
    try:
        workers.start()
        app = serving_app(workers, Model.load(str(model.root)), model.name, config, metrics)
        _log_access()
        gc.collect()
        gc.freeze()  # see `workers`
        print(f"{model.name} answers on http://{config.host}:{config.port}{PREDICTIONS}, see /docs", flush=True)
        uvicorn.run(
            app, host=config.host, port=config.port, http=PromptConnection, log_level="warning", access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=round(config.request_timeout_s),
        )  # fmt: skip
    finally:
        workers.close()


def serving_app(
    workers: ModelWorkers, model: Model, name: str, config: ServeConfig, metrics: CollectorRegistry
) -> FastAPI:
    """Return the app, whose requests the started ``workers`` answer.

    Args:
        workers: hold the model.
        model: what MLflow knows of it.
        name: what it is called, for the page.
        config: the limits.
        metrics: what ``/metrics`` shows.
    """
    from fastapi_offline import FastAPIOffline

    @contextlib.asynccontextmanager
    async def threads(_: FastAPI) -> AsyncIterator[None]:
        # MLflow's code waits for its answer in a thread: one for each request, or they would wait for each other.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(config.max_requests))
        yield

    app: FastAPI = FastAPIOffline(
        title=name,
        version=__version__,
        description=_DESCRIPTION.format(address=f"http://{config.host}:{config.port}{PREDICTIONS}"),
        lifespan=threads,
        redoc_url=None,
    )
    Gauge("requests_waiting", "Requests that wait for the model.", registry=metrics).set_function(
        lambda: workers.waiting
    )
    Gauge("workers_idle", "Processes that wait for requests.", registry=metrics).set_function(lambda: workers.ready)
    ProcessCollector(registry=metrics)
    app.add_middleware(
        RequestLimits, max_body_bytes=round(config.max_body_mb * 2**20), max_requests=config.max_requests,
        timeout_s=config.request_timeout_s, wait_s=workers.wait_s, metrics=metrics,
    )  # fmt: skip

    async def refuse(request: Request, error: Exception) -> Response:
        return answer_of(_refused_of(error))

    for kind in (Refused, RecursionError, ValueError):
        app.add_exception_handler(kind, refuse)
    schema = model.get_params_schema()  # type: ignore[no-untyped-call]
    known = [param.name for param in schema.params] if schema else []
    theirs = scoring_server.init(_QueuedModel(workers, model, known))  # type: ignore[arg-type]
    parse_theirs = next(route.endpoint for route in theirs.routes if route.path == PREDICTIONS)

    @app.post(PREDICTIONS, summary="Classify photos", openapi_extra=_invocations_schema(known), response_model=None)
    async def predict(request: Request) -> Response:
        """Photos in, a row for each out: label, probability, a column per class (or `top_k`), and `error`.

        The body is a photo as it is, a form with files, or any of MLflow's forms with photos as base64 text.
        """
        kind = request.headers["content-type"].partition(";")[0].strip().lower()
        if kind.startswith("image/"):
            return await answer([await request.body()], _numbers_of(request.query_params))
        if kind == "multipart/form-data":
            return await answer(*await _form_of(request))
        if request.query_params:
            raise Refused(400, "parameters must be in the body (params) of JSON, got some in the address")
        if request.headers["content-type"].replace(" ", "").lower() in JSON_TYPES:
            given = await asyncio.to_thread(json.loads, await request.body())
            if photos := _texts_of(given):
                return await answer(photos, given.get(scoring_server.SERVING_PARAMS_KEY))
        return await parse_theirs(request)

    async def answer(photos: Sequence[bytes | str], params: object) -> Response:
        rows = await asyncio.wrap_future(workers.submit_photos(photos, checked_params(params, known)))
        return JSONResponse({"predictions": rows})

    @app.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    app.router.routes += [route for route in theirs.routes if route.path in ("/ping", "/health", "/version")]
    return app


class _QueuedModel:
    """What MLflow's scoring server takes for a model: the processes that hold it."""

    def __init__(self, workers: ModelWorkers, model: Model, known: Sequence[str]) -> None:
        self.metadata, self._workers, self._known = model, workers, known

    def predict(self, data: object, params: object = None) -> Rows:
        try:
            return self._workers.submit_input(data, checked_params(params, self._known)).result()
        except Refused as refused:
            code = refused.error_code if refused.error_code in ErrorCode.keys() else "INVALID_PARAMETER_VALUE"  # noqa: SIM118
            raise MlflowException(refused.message, ErrorCode.Value(code)) from None


def checked_params(params: object, known: Sequence[str]) -> dict[str, Any]:
    """Return what a request asks of the model, which may be None.

    MLflow ignores what it does not know, and the models take a ``top_k`` of 0, their default, for all classes.

    Raises:
        Refused: something is not known, or asks for no class.
    """
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise Refused(400, f"params must be an object, got {type(params).__name__}")
    if unknown := [name for name in params if name not in known]:
        raise Refused(400, f"params must be among {', '.join(known) or 'none'}, got {unknown[0]!r}")
    top_k = params.get("top_k")
    if isinstance(top_k, bool) or (isinstance(top_k, int) and top_k < 1):
        raise Refused(400, f"top_k must be at least 1, got {json.dumps(top_k)} (leave it out for all classes)")
    return params


def _numbers_of(texts: Mapping[str, str]) -> dict[str, int | float | str]:
    """Return the parameters of an address or a form; what is no number stays a text, which is refused as such."""
    numbers: dict[str, int | float | str] = dict(texts)
    for name, text in texts.items():
        for kind in (float, int):
            with contextlib.suppress(ValueError):
                numbers[name] = kind(text)
    return numbers


def _texts_of(given: object) -> list[str]:
    """Return the photos of the usual JSON body, a list of base64 texts; none of other forms, which MLflow parses.

    MLflow would make of the texts an array whose every item is as large as the largest.
    """
    if not isinstance(given, dict):
        return []
    if unknown := given.keys() - TOP_FIELDS:
        raise Refused(400, f"the body's fields must be among {', '.join(sorted(TOP_FIELDS))}, got {min(unknown)!r}")
    forms = given.keys() & {*scoring_server.SUPPORTED_FORMATS}
    photos = given.get("inputs", given.get("instances"))
    if len(forms) != 1 or not isinstance(photos, list) or not all(isinstance(photo, str) for photo in photos):
        return []
    return photos


async def _form_of(request: Request) -> tuple[list[bytes], dict[str, int | float | str]]:
    """Return the files and the parameters of a form."""
    try:
        async with request.form(max_files=MAX_PHOTOS) as form:
            fields = form.multi_items()
            photos = [await value.read() for _, value in fields if isinstance(value, UploadFile)]
            params = {name: value for name, value in fields if isinstance(value, str)}
    except HTTPException as error:  # of the form's parser
        raise Refused(400, f"a form must be well-formed: {error.detail}") from None
    if not photos:
        raise Refused(400, "a form must have at least one file, got none (curl -F file=@photo.jpg)")
    return photos, _numbers_of({**request.query_params, **params})


def _refused_of(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, RecursionError):
        return Refused(400, "JSON must not be nested so deeply")
    return Refused(400, "the body must match its content type, and does not")


def _log_access() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    access = logging.getLogger("photo_pipeline.access")
    access.setLevel(logging.INFO)
    access.addHandler(handler)
    access.propagate = False


def _powers(most: int) -> list[int]:
    return [2**power for power in range(most.bit_length())]


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


_DESCRIPTION = """\
Photos in, labels and probabilities out. Try it below, or in a shell:

    curl -F file=@photo.jpg {address}
"""


def _invocations_schema(known: Sequence[str]) -> dict[str, Any]:
    """Return what OpenAPI says of ``/invocations``, with a photo to try it."""
    parameters = {
        "top_k": {"type": "integer", "minimum": 1, "description": "Only this many of the most likely classes."},
        "keep": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "description": (
                "Share of photos of known classes that keep their label; less certain ones are none of these."
            ),
        },
    }
    shown = {name: parameters.get(name, {}) for name in known}
    photo = {"type": "string", "format": "binary"}
    text = {"type": "string", "format": "byte", "description": "A photo as base64 text."}
    json_body = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {"type": "array", "items": text, "minItems": 1, "maxItems": MAX_PHOTOS},
            "params": {"type": "object", "properties": shown, "additionalProperties": False},
        },
    }
    row = {
        "type": "object",
        "properties": {
            "label": {"type": ["string", "null"]},
            "probability": {"type": ["number", "null"]},
            "error": {"type": ["string", "null"], "description": "Why the photo could not be used."},
        },
        "additionalProperties": True,
    }
    answer = {"type": "object", "properties": {"predictions": {"type": "array", "items": row}}}
    example = {"predictions": [{"label": "daisy", "probability": 0.9, "daisy": 0.9, "roses": 0.1, "error": None}]}
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": photo, "minItems": 1}, **shown},
        "required": ["file"],
    }
    refusals = {
        "400": "The body or a parameter is not valid.",
        "408": "The body did not arrive in time.",
        "413": "The body is too large.",
        "415": "The content type is not supported.",
        "503": "Too many requests are waiting; Retry-After says when to try again.",
    }
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "schema": shown[name],
                "description": "For a photo or a form; JSON has params.",
            }
            for name in shown
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": json_body, "example": {"inputs": [_example_photo()]}},
                "image/jpeg": {"schema": photo},
                "image/png": {"schema": photo},
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": {
            "200": {
                "description": "A row for every photo.",
                "content": {"application/json": {"schema": answer, "example": example}},
            },
            **{status: {"description": text} for status, text in refusals.items()},
        },
    }


def _example_photo() -> str:
    """Return a small picture as base64 text."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((32, 32)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()
