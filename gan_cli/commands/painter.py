"""The page of `gan-explore` on a checkpoint that makes images of label maps: a user paints a map,
and sees what the generator makes of it.

The browser holds the map and sends it whole, a byte for each pixel; the server keeps nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_cli.errors import UserError, on_one_line, shortened
from gan_cli.files import SMALL
from gan_cli.reports import html_page

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from gan_cli.sampling.painting import Canvas

TEMPLATES = Path(__file__).parent / "templates"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Painter:
    """Answers to the requests of the page.

    Args:
        canvas: what is painted on.
        typed: keys of the generator that its `gan-sample` command repeats, such as `weights=raw`.
    """

    def __init__(self, canvas: "Canvas", typed: Sequence[str] = ()) -> None:
        self.canvas = canvas
        self.typed = typed

    def site(self) -> "Starlette":
        """All of it as one application, for the root of a server."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        routes = [
            Route("/", self.page),
            Route("/painter.css", self.style),
            Route("/painter.js", self.script),
            Route("/input", self.input),
            Route("/upload", self.upload, methods=["POST"]),
            Route("/map", self.map, methods=["POST"]),
            Route("/picture", self.picture, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={UserError: _refuse})

    def page(self, request: "Request") -> "Response":
        """The page itself, with the names and colours of the labels."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
        )
        canvas, generator = self.canvas, self.canvas.generator
        height, width = canvas.sides
        text = environment.get_template("painter.html").render(
            title=on_one_line(f"{generator.path}, step {generator.step}"),
            names=canvas.names,
            seeded=canvas.seeded,
            inputs=len(generator.inputs),
            data={
                "height": height,
                "width": width,
                "colours": canvas.colours,
                "inputs": len(generator.inputs),
            },
        )
        return _answer(text, "text/html")

    def style(self, request: "Request") -> "Response":
        """The style of the reports, and of the page."""
        paths = (html_page.TEMPLATES / "compare.css", TEMPLATES / "painter.css")
        return _answer("".join(path.read_text(encoding="utf-8") for path in paths), "text/css")

    def script(self, request: "Request") -> "Response":
        """What draws in the browser."""
        text = (TEMPLATES / "painter.js").read_text(encoding="utf-8")
        return _answer(text, "text/javascript")

    def input(self, request: "Request") -> "Response":
        """The map of an input that the checkpoint carries, `?number=`."""
        numbers = self.canvas.carried(_whole(request, "number"))
        return _answer(numbers.numpy().tobytes(), "application/octet-stream")

    async def upload(self, request: "Request") -> "Response":
        """The map in an image file, the body of the request."""
        from starlette.concurrency import run_in_threadpool

        content = await _body(request, SMALL)
        numbers = await run_in_threadpool(self.canvas.read, content)
        return _answer(numbers.numpy().tobytes(), "application/octet-stream")

    async def map(self, request: "Request") -> "Response":
        """The map in the body of the request, as a PNG in the colours of its labels."""
        from gan_cli import pictures

        numbers = self.canvas.map_of(await self._pixels(request))
        return _answer(pictures.png(self.canvas.painted(numbers)), "image/png")

    async def picture(self, request: "Request") -> "Response":
        """The picture of the map in the body and of `?seed=`, and the command that makes it."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import JSONResponse

        seed = _whole(request, "seed")
        content = await self._pixels(request)

        def made() -> dict[str, str]:
            from gan_cli import pictures

            pixels = self.canvas.picture(self.canvas.map_of(content), seed)
            command = self.canvas.command(seed, self.typed)
            return {"picture": pictures.data_url(pixels), "command": command}

        return JSONResponse(await run_in_threadpool(made), headers=HEADERS)

    async def _pixels(self, request: "Request") -> bytes:
        """The body of a request, if it is not longer than a map."""
        height, width = self.canvas.sides
        return await _body(request, height * width)


def _answer(content: Any, kind: str) -> "Response":
    from starlette.responses import Response

    return Response(content, media_type=kind, headers=HEADERS)


async def _body(request: "Request", most: int) -> bytes:
    """The body of a request.

    Raises:
        UserError: it is longer than `most` bytes; no more of it is read.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise UserError(f"more than {most} bytes were sent; expected {most} at most.")
    return bytes(content)


def _whole(request: "Request", key: str) -> int:
    """The whole number from 0 that the address of a request gives. Raises UserError if it is
    none."""
    from gan_cli.sampling.generator import shown, whole
    from gan_cli.sampling.options import MAX_SEED_DIGITS

    typed = request.query_params.get(key, "")
    if not (typed.isascii() and typed.isdecimal() and len(typed) <= MAX_SEED_DIGITS):
        raise UserError(f"{key}={shown(typed)}: expected a whole number from 0.")
    return whole(key, int(typed), 0)


def _refuse(request: "Request", error: Exception) -> "Response":
    """The sentence of a mistake, which the page shows."""
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(on_one_line(shortened(str(error))), 400, headers=HEADERS)
