"""`gan-explore`: a page on this machine to play with a trained generator. Needs the extra
`explore`."""

import base64
import io
import secrets
import shlex
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gan_cli.errors import UserError
from gan_cli.sampling.generator import Weights
from gan_cli.sampling.keys import checkpoint_key, plugins_key, weights_key
from gan_cli.sampling.options import Directions

if TYPE_CHECKING:
    from torch import Tensor

    from gan_cli.sampling.generator import Generator

HOST = "127.0.0.1"  # nobody else is to see it
SEEDS = 2**62  # beyond which none is asked for
SLIDERS = 8  # directions that one may go along
REACH = 4.0  # how far
STOPS = 21  # of the way between two samples
SHOWN = 384  # pixels a side


@dataclass
class ExploreConfig:
    """The keys of `gan-explore`."""

    checkpoint: str = checkpoint_key()
    port: int = field(
        default=8080, metadata={"least": 1, "help": "where the page is: http://127.0.0.1:PORT"}
    )
    show: bool = field(default=True, metadata={"help": "open a browser"})
    weights: Weights = weights_key()
    plugins: list[str] = plugins_key()


@dataclass
class View:
    """What is shown: a sample of a seed, moved along directions; or a stop on the way between two
    saved seeds."""

    seed: int = 0
    label: int | None = None
    truncation: float = 1.0
    directions: str = Directions.principal.value
    shifts: list[float] = field(default_factory=lambda: [0.0] * SLIDERS)
    saved: dict[str, int] = field(default_factory=dict)
    stop: int = 0

    def settled(self, classes: int) -> "View":
        """The same with what can be shown in the place of what cannot, whatever a hand-made event
        has put there."""
        ends = {end: _within(seed, 0, SEEDS, 0, whole=True) for end, seed in self.saved.items()}
        return View(
            seed=_within(self.seed, 0, SEEDS, 0, whole=True),
            label=_within(self.label, 0, classes - 1, 0, whole=True) if classes else None,
            truncation=_within(self.truncation, 0.0, 1.5, 1.0),
            directions=self.directions
            if self.directions in [kind.value for kind in Directions]
            else "principal",
            shifts=[_within(shift, -REACH, REACH, 0.0) for shift in self.shifts],
            saved=ends,
            stop=_within(self.stop, 0, STOPS - 1, 0, whole=True),
        )

    @property
    def walks(self) -> bool:
        """Whether both ends of a way are saved and it has been begun."""
        return len(self.saved) == 2 and self.stop > 0

    def latents(self, generator: "Generator") -> "Tensor":
        """What is rendered, (1, latent): by the same steps as `gan-sample` takes for `command`."""
        from gan_cli.sampling import walks

        seeds = [self.saved["A"], self.saved["B"]] if self.walks else [self.seed]
        latents = generator.drawn(seeds, [] if self.label is None else [self.label] * len(seeds))
        latents = generator.game.truncated(latents, self.truncation)
        if any(self.shifts):
            latents = walks.shifted(generator, latents, self.directions, self.shifts)
        return (
            walks.between(generator.game, latents, STOPS, "slerp")[self.stop, None]
            if self.walks
            else latents
        )

    def command(self, checkpoint: str) -> str:
        """The `gan-sample` line that makes the same picture; for a way, the row that it is in."""
        parts = ["gan-sample", f"checkpoint={checkpoint}"]
        if self.walks:
            parts += [
                "mode=interpolate",
                f"seeds=[{self.saved['A']},{self.saved['B']}]",
                f"steps={STOPS}",
            ]
        else:
            parts += [f"seeds={self.seed}"]
        parts += [] if self.label is None else [f"classes={self.label}"]
        parts += [] if self.truncation == 1 else [f"truncation={self.truncation:g}"]
        if any(self.shifts):
            parts += [
                f"directions={self.directions}",
                f"shifts=[{','.join(f'{shift:g}' for shift in self.shifts)}]",
            ]
        return shlex.join([*parts, "output=sample.png"])


def _within(value: Any, least: float, most: float, usual: float, whole: bool = False) -> Any:
    """A number between two others; the usual one in the place of what is none."""
    known = isinstance(value, int | float) and value == value
    inside = min(max(value if known else usual, least), most)
    return int(inside) if whole else round(float(inside), 2)


class Guard:
    """Lets nobody in but the one who has the address that was printed: neither another user of this
    machine, nor a page of another site, by whatever name it reaches this port (DNS rebinding).

    The first visit brings the token in its address and is given a cookie; all others bring that.
    """

    def __init__(self, app: Any, token: str, port: int) -> None:
        self.app, self.token, self.cookie = app, token, f"gan_explore_{port}"
        self.hosts = {
            f"{HOST}:{port}",
            f"localhost:{port}",
            *((HOST, "localhost") if port == 80 else ()),
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse
        from starlette.websockets import WebSocketClose

        if scope["type"] == "lifespan" or self._is_ours(scope):
            await self.app(
                scope, receive, self._with_cookie(send) if scope["type"] == "http" else send
            )
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)
        else:
            refused = PlainTextResponse("Open the address that gan-explore has printed.\n", 403)
            await refused(scope, receive, send)

    def _is_ours(self, scope: Any) -> bool:
        from starlette.requests import HTTPConnection

        asked = HTTPConnection(scope)
        brought = {asked.cookies.get(self.cookie, ""), asked.query_params.get("token", "")}
        known = any(
            secrets.compare_digest(token.encode(), self.token.encode()) for token in brought
        )
        origin = asked.headers.get("origin")
        near = asked.headers.get("host") in self.hosts and origin in (
            None,
            *(f"http://{host}" for host in self.hosts),
        )
        return known and near

    def _with_cookie(self, send: Any) -> Any:
        cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {
                    **message,
                    "headers": [*message["headers"], (b"set-cookie", cookie.encode())],
                }
            await send(message)

        return answer


def run(config: ExploreConfig) -> None:
    """Serve the page until Ctrl-C."""
    if find_spec("nicegui") is None:
        raise UserError(
            "gan-explore: needs the extra `explore`; install it with: pip install "
            "'gan-cli[explore]'."
        )
    from gan_cli.sampling.generator import Generator

    generator = Generator(config.checkpoint, config.weights.value, config.plugins)
    if generator.spec.kind != "image":
        raise UserError(
            f"checkpoint={config.checkpoint}: makes {generator.spec.kind}; gan-explore shows "
            "images."
        )
    _refuse_taken(config.port)
    from nicegui import app, ui

    token = secrets.token_urlsafe(16)
    app.add_middleware(Guard, token=token, port=config.port)
    ui.page("/")(lambda: _page(ui, generator, str(generator.path)))
    print(f"gan-explore: http://{HOST}:{config.port}/?token={token} (Ctrl-C ends it)", flush=True)
    show = f"/?token={token}" if config.show else False
    ui.run(
        host=HOST,
        port=config.port,
        title="gan-explore",
        show=show,
        reload=False,
        show_welcome_message=False,
    )


def _refuse_taken(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port={port}: cannot be used ({error}); take another, such as port=8081."
            ) from None


def picture(generator: "Generator", view: View) -> str:
    """What a view shows, as the address of a PNG."""
    from PIL import Image

    from gan_cli import pictures

    image = pictures.to_uint8(generator.render(view.latents(generator)))[0]
    buffer = io.BytesIO()
    Image.fromarray(pictures.pixels_of(image)).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _page(ui: Any, generator: "Generator", checkpoint: str) -> None:
    """One visitor's page: the sample on the left, what moves it on the right, the command below."""
    view = View(label=0 if generator.game.classes else None)
    ui.label(f"{checkpoint}, step {generator.step}").classes("text-lg")
    with ui.row(wrap=False).classes("gap-8"):
        with ui.column():
            image = ui.image().props("no-spinner no-transition").classes("sample")
            image.style(f"width: {SHOWN}px; height: {SHOWN}px; image-rendering: pixelated")
            told = (
                ui.label()
                .classes("told font-mono text-xs")
                .style(f"width: {SHOWN}px; word-break: break-all")
            )
        with ui.column().classes("w-96 gap-1"):

            def show() -> None:
                shown = view.settled(generator.game.classes)
                image.set_source(picture(generator, shown))
                told.set_text(shown.command(checkpoint))

            _controls(ui, generator, view, show)
    show()


def _controls(ui: Any, generator: "Generator", view: View, show: Any) -> None:
    """What one may change; `show` is called after each change."""

    def bound(element: Any, name: str) -> Any:
        element.bind_value(view, name)
        return element.on_value_change(show)

    def choose(event: Any) -> None:
        view.seed = event.value  # a field of numbers gives 5.0, or nothing while it is empty
        show()

    ui.number("seed", value=0, min=0, step=1, format="%d").classes("seed").on_value_change(choose)
    if generator.game.classes:
        bound(
            ui.select(list(range(generator.game.classes)), label="class").classes("w-40"), "label"
        )
    ui.label("truncation")
    bound(ui.slider(min=0, max=1.5, step=0.05).props("label").classes("truncation"), "truncation")
    bound(ui.toggle([kind.value for kind in Directions]).props("dense no-caps"), "directions")
    for i in range(min(SLIDERS, len(generator.drawn([0])[0]))):

        def move(event: Any, i: int = i) -> None:
            view.shifts[i] = event.value
            show()

        with ui.row(wrap=False).classes("w-full items-center gap-3"):
            ui.label(str(i + 1)).classes("w-4 text-right")
            slider = ui.slider(min=-REACH, max=REACH, step=0.1, value=0)
            slider.props("label dense").classes(f"shift{i}").on_value_change(move)
    with ui.row().classes("items-center"):
        for end in "AB":

            def save(end: str = end) -> None:
                view.saved[end] = view.seed
                show()

            ui.button(f"save as {end}").props("dense no-caps outline").on_click(
                lambda save=save: save()
            )
    ui.label("from A to B")
    bound(ui.slider(min=0, max=STOPS - 1, step=1).props("label").classes("way"), "stop")
