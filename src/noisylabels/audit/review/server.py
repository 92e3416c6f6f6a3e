"""Serve the review page and its data on the loopback interface, to clients that know the token.

Requests from pages of other sites are refused. The page receives the token when its address is opened, and
sends it in the header Authorization; a browser gives it to no other site and no other port, as it would a
cookie. Images and the exported file, which the page names in links, need a key that only the page knows. All
requests need this server as Host (which stops DNS rebinding), this server as Origin and, to change anything,
a header that only a script of this page can send. Only the page's own files, which hold no data, need no
token.
The content security policy lets the page load only this server's files and forbids inline scripts.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import socket
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from noisylabels.audit.review.connections import connection_class
from noisylabels.audit.review.pictures import SIDES, NoPicture
from noisylabels.audit.review.session import Session
from noisylabels.core.checks import InputError
from noisylabels.core.opening import read_bytes
from noisylabels.core.optional import import_optional

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
HEADER = "x-noisylabels"
MOST_BYTES = 1 << 20  # per request body: 100,000 positions fit
MOST_DETAILS = 200  # examples per request

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/words.js": ("../words.js", "text/javascript; charset=utf-8"),
    "/api.js": ("api.js", "text/javascript; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/many.js": ("many.js", "text/javascript; charset=utf-8"),
    "/keys.js": ("keys.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_NO_TOKEN = b'<meta name="token" content="">'
_LINKED = ("/picture/", "/neighbors/", "/corrected.csv")  # what the page names in links
_ONCE = frozenset({"host", "origin", HEADER, "content-type", "content-length", "authorization"})


class Guard:
    """Middleware that refuses unauthorized requests and adds security headers to every response.

    Args:
        app: the application to protect.
        port: port of this server.
        token: secret that a request must carry.
        launch: tokens that are valid for one visit; see `serve`.
        key: secret in the addresses of images and of the exported file.
    """

    def __init__(self, app: ASGIApp, port: int, token: str, launch: set[str], key: str) -> None:
        self._app = app
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        self._token = token
        self._launch = launch
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the application, or refuse it with a reason."""
        if scope["type"] != "http":
            return
        from starlette.responses import PlainTextResponse

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.encode(), value.encode()) for name, value in SECURITY.items()]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    headers.append((b"cache-control", b"no-store"))
                if refusal:  # the rest of the request is not read
                    headers.append((b"connection", b"close"))
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        welcome = self._is_welcome(scope)
        if refusal := self._refusal(scope, welcome):
            await PlainTextResponse(refusal[1] + "\n", refusal[0])(scope, receive, sent)
        else:
            scope["state"] = {**scope.get("state", {}), "token": self._token if welcome else ""}
            await self._app(scope, receive, sent)

    def _is_welcome(self, scope: Scope) -> bool:
        """Return whether this request opens the address with the token."""
        if scope["path"] != "/" or scope["method"] != "GET":
            return False
        given = _asked(scope, "token")
        if given in self._launch:
            self._launch.discard(given)
            return True
        return _same(given, self._token)

    def _may(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """Return whether a request to this path carries what it needs."""
        path = scope["path"]
        if path in _PAGE:
            return path != "/" or not _asked(scope, "token")  # a wrong one: the address is an old one
        if _same(headers.get("authorization", ""), f"Bearer {self._token}"):
            return True
        return path.startswith(_LINKED) and _same(_asked(scope, "v"), self._key)

    def _refusal(self, scope: Scope, welcome: bool) -> tuple[int, str] | None:
        """Return status and reason to refuse the request with; None to accept it."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            if key in headers and key in _ONCE:
                return 400, f"refused: two headers {key}"
            headers[key] = value.decode("latin-1")
        if headers.get("host", "").lower() not in self._hosts:
            return 403, "refused: the header Host names another server"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self._hosts}:
            return 403, "refused: the request comes from a page of another origin"
        site = headers.get("sec-fetch-site", "none")
        # the page itself, which holds no data, may be opened from any site: a terminal may be a web page
        if site not in ("same-origin", "none") and scope["path"] != "/":
            return 403, "refused: the request comes from a page of another site"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, f"refused: method {scope['method']}"
        if not (welcome or self._may(scope, headers)):
            return 403, "refused: the token is missing; open the address that `noisylabels review` printed"
        length = headers.get("content-length", "0" if scope["method"] != "POST" else "")
        most = MOST_BYTES if scope["method"] == "POST" else 0
        # a body in chunks states no length, and could have any
        if "transfer-encoding" in headers or not length.isdecimal() or int(length[:20]) > most:
            return 413, f"refused: expected a body of at most {most} bytes, and its length in Content-Length"
        if scope["method"] == "POST":
            if headers.get(HEADER) != "review":
                return 403, f"refused: the header {HEADER} is missing"
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return 415, "refused: expected application/json"
        return None


def _same(given: str, secret: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _asked(scope: Scope, name: str) -> str:
    """Return a parameter of the address, "" without one."""
    found: str = parse_qs(scope["query_string"].decode("latin-1")).get(name, [""])[0]
    return found


def application(
    session: Session,
    port: int,
    token: str,
    launch: set[str] | None = None,
    escape_formulas: bool = False,
) -> Starlette:
    """Return the ASGI application of a review.

    Args:
        session: the review.
        port: port of the server.
        token: secret that a request must carry.
        launch: tokens that are valid for one visit.
        escape_formulas: of the file that the page offers, see `export.export`.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    version = secrets.token_urlsafe(24)  # a key in the addresses of images, which browsers cache
    folder = Path(__file__).parent
    files = {path: (read_bytes(folder / name), kind) for path, (name, kind) in _PAGE.items()}
    listing = json.dumps(session.listing() | {"version": version}, separators=(",", ":")).encode()

    def file(request: Request) -> Response:
        content, kind = files[request.url.path]
        if known := request.state.token.encode():
            content = content.replace(_NO_TOKEN, _NO_TOKEN.replace(b'""', b'"' + known + b'"'))
        return Response(content, headers={"content-type": kind})

    def audit(request: Request) -> Response:
        return Response(listing, media_type="application/json")

    def decisions(request: Request) -> Response:
        return JSONResponse(session.changes(_whole(request.query_params.get("since", "0"))))

    def details(request: Request) -> Response:
        asked = [_whole(word) for word in request.query_params.get("at", "").split(",") if word]
        if len(asked) > MOST_DETAILS:
            raise InputError(f"got {len(asked)} examples, expected at most {MOST_DETAILS} per request")
        return JSONResponse(_finite(session.details(asked)))

    def picture(request: Request) -> Response:
        size = request.query_params.get("size", "large")
        if size not in SIDES:
            return PlainTextResponse("no such image\n", 404)
        return image(request, lambda position: session.pictures.get(position, size))

    def neighbors(request: Request) -> Response:
        return image(request, session.pictures.neighbors)

    def image(request: Request, make: Callable[[int], tuple[bytes, str]]) -> Response:
        position = request.path_params["position"]
        if not 0 <= position < len(session.audit):
            return PlainTextResponse("no such image\n", 404)
        try:
            content, kind = make(position)
        except NoPicture as error:
            return PlainTextResponse(f"{error}\n", 404)
        keep = "private, max-age=86400, immutable" if request.query_params.get("v") == version else "no-store"
        return Response(content, headers={"content-type": kind, "cache-control": keep})

    def corrected(request: Request) -> Response:
        from noisylabels.audit.audited_data import check_rows
        from noisylabels.audit.review.export import write_rows

        check_rows(session.audit)
        text = io.StringIO()
        write_rows(session, text, escape_formulas=escape_formulas)
        headers = {
            "content-type": "text/csv; charset=utf-8",
            "content-disposition": 'attachment; filename="corrected.csv"',
        }
        return Response(text.getvalue().encode("utf-8"), headers=headers)

    def changing(act: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                asked = json.loads(await request.body())
            except (ValueError, RecursionError):
                raise InputError("the request body is not JSON") from None
            if not isinstance(asked, dict) or not isinstance(asked.get("event"), str):
                raise InputError("the request lacks its event id")
            if not (8 <= len(asked["event"]) <= 64 and asked["event"].isascii()):
                raise InputError("the event id is invalid, expected 8 to 64 ASCII characters")
            since = asked.get("since", 0)
            if not isinstance(since, int) or since < 0:
                raise InputError("since is invalid, expected the number of an event, 0 or more")
            # saved on another thread: a slow disk must not delay the images
            return JSONResponse(await run_in_threadpool(act, asked))

        return answer

    def decide(asked: dict[str, Any]) -> dict[str, Any]:
        position, action = asked.get("index"), asked.get("action")
        if not isinstance(position, int) or not isinstance(action, str):
            raise InputError("the decision lacks the example's position or the action")
        return session.decide(asked["event"], position, action, asked.get("label"), asked.get("since", 0))

    def decide_many(asked: dict[str, Any]) -> dict[str, Any]:
        positions, action = asked.get("indexes"), asked.get("action")
        if not isinstance(positions, list) or not isinstance(action, str):
            raise InputError("the decision lacks the positions of the examples or the action")
        return session.decide_many(
            asked["event"], positions, action, asked.get("label"), asked.get("since", 0)
        )

    def undo(asked: dict[str, Any]) -> dict[str, Any]:
        return session.undo(asked["event"], asked.get("since", 0))

    def wrong(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    return Starlette(
        routes=[
            *(Route(path, file) for path in files),
            Route("/api/audit", audit),
            Route("/api/decisions", decisions),
            Route("/api/details", details),
            Route("/api/decide", changing(decide), methods=["POST"]),
            Route("/api/decide-many", changing(decide_many), methods=["POST"]),
            Route("/api/undo", changing(undo), methods=["POST"]),
            Route("/picture/{position:int}", picture),
            Route("/neighbors/{position:int}", neighbors),
            Route("/corrected.csv", corrected),
        ],
        middleware=[
            Middleware(
                Guard, port=port, token=token, launch=launch if launch is not None else set(), key=version
            )
        ],
        exception_handlers={InputError: wrong},
    )


def serve(
    session: Session,
    port: int = 0,
    announce: Callable[[str, str], None] | None = None,
    escape_formulas: bool = False,
) -> None:
    """Serve a review on the loopback interface until the process is interrupted.

    Args:
        session: the review.
        port: port to listen on; 0 for a free one.
        announce: called once the server listens, with its address and with an address that is valid for one
            visit, for opening a browser: other users of the machine can read a browser's command line.
        escape_formulas: of the file that the page offers, see `export.export`.

    Raises:
        InputError: the port is in use, or a package is missing.
    """
    missing = "the review needs more packages; run pip install 'noisylabels[review]'"
    uvicorn = import_optional("uvicorn", missing)
    import_optional("starlette.applications", missing)  # fail here rather than later
    sys.setswitchinterval(0.0005)  # answers to decisions must not wait for threads that render images
    warnings.filterwarnings("ignore", module="PIL")  # about image metadata, which is not used
    with contextlib.closing(_listening(port)) as listening:
        port = listening.getsockname()[1]
        token, once = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        config = uvicorn.Config(
            application(session, port, token, {once}, escape_formulas),
            log_level="warning",
            access_log=False,
            loop="asyncio",
            http=connection_class(),
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        session.pictures.prepare()
        if announce is not None:
            # the socket already listens: a browser that is faster than the server waits in its queue
            announce(*(f"http://{HOST}:{port}/?token={word}" for word in (token, once)))
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
            uvicorn.Server(config).run(sockets=[listening])


def _listening(port: int) -> socket.socket:
    # With an explicit protocol asyncio sets TCP_NODELAY; otherwise the kernel holds the body of a response
    # back until its head is acknowledged, 40 ms later.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # on Windows it would let two servers share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((HOST, port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        if isinstance(error, OverflowError):
            raise InputError(f"the port is {port}, expected 0 to 65535") from None
        raise InputError(
            f"port {port} cannot be used ({error.strerror}); choose another --port, or leave it out"
        ) from None
    return made


def _whole(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 16):
        raise InputError(f"got {word[:40]!r}, expected the number of an example or event")
    return int(word)


def _finite(value: Any) -> Any:
    """Return the value with None for NaN and infinity, which JSON cannot represent."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
