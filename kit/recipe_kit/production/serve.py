"""`recipe serve`: answers over HTTP from one process, by the version that is promoted; a page to try it by hand.

    POST /predict  {"rows": [{column: value, ...}, ...]}  ->  {"version", "predictions": [{"id", "prediction", "probabilities"}]}
    GET  /schema   the columns and an example    GET /health  alive, and counts    GET /ready  200 when the promoted version serves
    GET  /         the page                      GET /openapi.json                 GET /metrics  for Prometheus

Every refusal is {"error": one sentence} with a 4xx or 503. Without RECIPE_TOKEN in the environment there is no
authentication; run it behind an authenticating proxy. With it, requests need the header Authorization: Bearer <token>.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ..owner.errors import UserError
from ..project import Project
from .batch import Refused, Service
from .guard import Bounded, Guard, complain, token
from .log import FILE, Log
from .metrics import KIND
from .model import Package, load
from .registry import chosen

MOST_BYTES = 16 << 20  # of a request's body
MOST_ROWS = 1000  # of a request
SECONDS = 30.0  # for the body to arrive, and again for the answer
SWITCH = 0.0005  # seconds that the thread of the log may keep the event loop from Python's lock
LEAVE = 30  # seconds that running requests get when the server is told to stop
SETTINGS: dict[str, Any] = {
    "log_level": "warning",
    "timeout_graceful_shutdown": LEAVE,
    "timeout_keep_alive": 30,
    "access_log": False,
    "proxy_headers": False,  # nothing here asks where a request comes from
    "server_header": False,
    "http": Bounded,
}


def command(project: Project, args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; requests that are running are answered first."""
    import uvicorn

    host, port = args.host or "127.0.0.1", args.port or 8000
    if not 0 <= args.sample <= 1 or port > 65535:
        raise UserError(f"--sample {args.sample} must be a share up to 1, and --port {port} a number up to 65535")
    require_free(host, port)
    service = start(project, args)
    sys.setswitchinterval(SWITCH)
    project.say(f"serve: {service.package.version} on http://{host}:{port}  (stop it with Ctrl-C)")
    app = Guard(make_app(service), host, token(), service.metrics.observe)
    gc.collect()
    gc.freeze()  # what is loaded by now stays: a full collection that looks at all of it stops every answer for 0.2 s
    uvicorn.run(app, host=host, port=port, **SETTINGS)  # type: ignore[arg-type]
    return 0


def require_free(host: str, port: int) -> None:
    """Refuse an address that is taken or not ours, before the model is loaded."""
    try:
        with socket.create_server((host, port)):
            pass
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}:{port}: {error}; choose another with --port or --host") from None


def start(project: Project, args: argparse.Namespace) -> Service:
    """Load the version that is to serve, replay its golden examples, and open the log."""
    package = load(project.task, chosen(project, args.model), project.config.device)
    hidden = [name.strip() for name in args.exclude.split(",") if name.strip()]
    if unknown := [name for name in hidden if name not in {c["name"] for c in package.columns}]:
        raise UserError(f"--exclude {unknown[0]!r} is no column that the model reads; see: recipe serve, /schema")
    path = project.root / FILE if not args.log else Path(args.log)
    log = None if args.log == "none" else Log(path, args.sample or 1.0, hidden)
    return Service(project, package, log, bool(args.model), kept={package.version: package})


def make_app(service: Service) -> Direct:
    """The application; its routes are below."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(complain)
        tasks = [asyncio.create_task(service.work()), asyncio.create_task(service.follow())]
        yield
        for task in tasks:
            task.cancel()
        service.pool.shutdown()
        if service.log:
            service.log.close()

    app = FastAPI(title=service.project.root.name, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(HTTPException, _unknown)
    _add_reads(app, service)
    body = {"required": True, "content": {"application/json": {"schema": request_schema(service.package)}}}
    app.post("/predict", openapi_extra={"requestBody": body})(partial(predict, service))
    return Direct(app, service)


def _add_reads(app: FastAPI, service: Service) -> None:
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def _page() -> HTMLResponse:
        rules = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data: blob:"
        return HTMLResponse(page, headers={"Content-Security-Policy": rules})

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Alive; requests that the model failed on, how much was logged, and how much the log lost."""
        log = service.log
        counts = {"logged": log.written, "not_logged": log.lost} if log else {}
        return {"status": "ok", "version": service.package.version, "errors": service.errors, **counts}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        """200 when the promoted version serves; 503 and why not when an older one does."""
        content = {"ready": not service.problem, "version": service.package.version, "problem": service.problem}
        return JSONResponse(content, 503 if service.problem else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(service.metrics.text(service), media_type=KIND)

    @app.get("/schema")
    async def schema() -> dict[str, Any]:
        """The columns that a row needs, their kinds and ranges, and an example to send."""
        return described(service.package)


@dataclass
class Direct:
    """ASGI application: POST /predict without the layers and the routing of FastAPI, which take longer than a small model;
    anything else goes to `app`."""

    app: FastAPI
    service: Service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/predict" and scope["method"] == "POST":
            response = await predict(self.service, Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def predict(service: Service, request: Request) -> Response:
    """Answers to the rows, in their order; all of them, or none and why."""
    try:
        body = await content(request)
        version, answers = await service.ask(parse(body), len(body), request, SECONDS)
        return Response(to_json({"version": version, "predictions": answers}), media_type="application/json")
    except Refused as error:
        return JSONResponse(
            {"error": error.sentence}, error.status, {"Retry-After": "1"} if error.status == 503 else None
        )
    except Exception as error:
        service.errors += 1
        service.note("the server", error)
        return JSONResponse({"error": f"the server failed: {type(error).__name__}"}, 500)


async def content(request: Request) -> bytes:
    """The body, unless it is too large or too slow in coming."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MOST_BYTES:
        raise Refused(413, f"the request has {int(declared):,} bytes; at most {MOST_BYTES:,} are taken")
    parts, size = [], 0
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    raise Refused(413, f"the request has more than {MOST_BYTES:,} bytes")
                parts.append(part)
    except TimeoutError:
        raise Refused(408, f"the request did not arrive within {SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise Refused(499, "the client has gone") from None
    return b"".join(parts)


def parse(body: bytes) -> list[dict[str, Any]]:
    """The rows of a request. Raises Refused with what is wrong."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # a number of more than 4,300 digits is a ValueError too
        raise Refused(400, 'the request is no JSON; send {"rows": [{...}]}') from None
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise Refused(400, 'the request holds no list called "rows"; send {"rows": [{...}]}')
    rows = found["rows"]
    if not 1 <= len(rows) <= MOST_ROWS:
        raise Refused(413 if rows else 422, f"the request has {len(rows)} rows; send 1 to {MOST_ROWS}")
    if odd := [i for i, row in enumerate(rows) if not isinstance(row, dict)]:
        raise Refused(422, f"row {odd[0]} is no object of columns and values")
    return rows


async def _unknown(request: Request, error: Any) -> JSONResponse:
    sentence = f"{request.method} {request.url.path[:100]} is not answered here; POST /predict, or GET /, /schema, /health, /ready, /metrics"
    return JSONResponse({"error": sentence}, error.status_code)


def described(package: Package) -> dict[str, Any]:
    """What a client needs to know of the version that serves."""
    golden = json.loads((package.folder / "golden.json").read_text(encoding="utf-8"))["rows"][0]
    images = [c["name"] for c in package.columns if c["kind"] == "image"]
    told = {name: package.manifest[name] for name in ("task", "target", "classes", "threshold")}
    example = {name: "<the file in base64>" if name in images else value for name, value in golden.items()}
    return {"version": package.version, **told, "columns": package.columns, "example": {"rows": [example]}}


def request_schema(package: Package) -> dict[str, Any]:
    """The request as JSON Schema, for openapi.json. Every column has to be there; null says that a value is missing."""
    kinds = {"number": "number", "integer": "integer", "boolean": "boolean"}
    properties = {c["name"]: {"type": [kinds.get(c["kind"], "string"), "null"]} for c in package.columns}
    row = {"type": "object", "properties": properties, "required": list(properties)}
    rows = {"type": "array", "minItems": 1, "maxItems": MOST_ROWS, "items": row}
    return {"type": "object", "properties": {"rows": rows}, "required": ["rows"]}
