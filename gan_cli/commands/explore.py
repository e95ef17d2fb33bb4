"""`gan-explore`: a local web page to explore a trained generator.

A checkpoint that makes images of label maps has a page to paint them, see
`gan_cli.commands.painter`. Needs the extra `explore`.
"""

import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gan_cli.commands import unit_controls
from gan_cli.commands.painter import Painter
from gan_cli.errors import UserError
from gan_cli.sampling.generator import Weights
from gan_cli.sampling.keys import checkpoint_key, plugins_key, weights_key
from gan_cli.sampling.options import Directions

if TYPE_CHECKING:
    from nicegui.elements.mixins.value_element import ValueElement
    from nicegui.events import ValueChangeEventArguments
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from torch import Tensor

    from gan_cli.sampling.generator import Generator
    from gan_cli.sampling.interventions import Intervention

HOST = "127.0.0.1"  # reachable from this machine only
MAX_SEED = 2**62
SLIDERS = 8  # directions, with a slider each
MAX_SHIFT = 4.0  # distance along a direction
MAX_TRUNCATION = 1.5
MAX_STRENGTH = 4.0  # of units
ALL_OF_Z = 3.0  # end of the slider where a truncation draws anew; there it stands for none
STOPS = 21  # samples on the walk from A to B, both included
IMAGE_SIDE = 384  # pixels of the shown image, on each side


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

    def typed(self) -> list[str]:
        """The keys that a `gan-sample` command needs beside the checkpoint for the same
        generator."""
        weights = [] if self.weights is Weights.auto else [f"weights={self.weights.value}"]
        return weights + ([f"plugins=[{','.join(self.plugins)}]"] if self.plugins else [])


@dataclass
class View:
    """State of the page: the sample of a seed, or a sample on the walk between two saved seeds.

    Attributes:
        label: the class; None for a model without classes.
        shifts: distance along each direction.
        saved: seeds of the walk's ends, A and B.
        stop: number of the sample on the walk; 0 shows the sample of `seed`.
        untruncated: the truncation that stands for none, of the model.
        layer: name of a layer, of which `units` are multiplied by `strength`; empty for none.
    """

    seed: int = 0
    label: int | None = None
    truncation: float = 1.0
    directions: str = Directions.principal.value
    shifts: list[float] = field(default_factory=lambda: [0.0] * SLIDERS)
    saved: dict[str, int] = field(default_factory=dict)
    stop: int = 0
    untruncated: float = 1.0
    layer: str = ""
    units: list[int] = field(default_factory=list)
    strength: float = 1.0

    def settled(self, classes: int, layers: Mapping[str, int] | None = None) -> "View":
        """A copy with valid values, even after a forged event of a visitor.

        Args:
            classes: number of classes of the model.
            layers: number of units by the name of a layer; none if there are no units.
        """
        layer = self.layer if isinstance(self.layer, str) else ""
        count = (layers or {}).get(layer, 0)
        directions = self.directions
        if directions not in [kind.value for kind in Directions]:
            directions = "principal"
        return View(
            seed=_whole_within(self.seed, 0, MAX_SEED),
            label=_whole_within(self.label, 0, classes - 1) if classes else None,
            truncation=_within(
                self.truncation, 0.0, max(MAX_TRUNCATION, self.untruncated), self.untruncated
            ),
            directions=directions,
            shifts=[_within(shift, -MAX_SHIFT, MAX_SHIFT, 0.0) for shift in self.shifts],
            saved={end: _whole_within(seed, 0, MAX_SEED) for end, seed in self.saved.items()},
            stop=_whole_within(self.stop, 0, STOPS - 1),
            untruncated=self.untruncated,
            layer=layer if count else "",
            units=_numbers_below(self.units, count),
            strength=_within(self.strength, 0.0, MAX_STRENGTH, 1.0),
        )

    @property
    def change(self) -> "Intervention | None":
        """What is done to units; None if they are as they are."""
        from gan_cli.sampling.interventions import Intervention

        if not self.layer or not self.units or self.strength == 1:
            return None
        return Intervention(self.layer, tuple(self.units), self.strength)

    @property
    def walks(self) -> bool:
        """Whether a stop of the walk is shown: both ends are saved, and the stop is not 0."""
        return len(self.saved) == 2 and self.stop > 0

    def latents(self, generator: "Generator") -> "Tensor":
        """Latent to render, (1, latent), computed as `gan-sample` does for `command`."""
        from gan_cli.sampling import walks

        seeds = [self.saved["A"], self.saved["B"]] if self.walks else [self.seed]
        labels = [] if self.label is None else [self.label] * len(seeds)
        truncation = None if self.truncation == self.untruncated else self.truncation
        latents = generator.drawn(seeds, labels, truncation)
        if any(self.shifts):
            latents = walks.shifted(generator, latents, self.directions, self.shifts)
        if self.walks:
            latents = walks.between(generator.game, latents, STOPS, "slerp")[self.stop, None]
        return latents

    def command(self, checkpoint: str, typed: Sequence[str] = ()) -> str:
        """The `gan-sample` command of the same picture; on a walk, of the row that contains it.

        Args:
            typed: other keys of the generator, such as `weights=raw`.
        """
        parts = ["gan-sample", f"checkpoint={checkpoint}", *typed]
        if self.walks:
            parts += [
                "mode=interpolate",
                f"seeds=[{self.saved['A']},{self.saved['B']}]",
                f"steps={STOPS}",
            ]
        else:
            parts.append(f"seeds={self.seed}")

        if self.label is not None:
            parts.append(f"classes={self.label}")
        if self.truncation != self.untruncated:
            parts.append(f"truncation={self.truncation:g}")
        if any(self.shifts):
            parts += [
                f"directions={self.directions}",
                f"shifts=[{','.join(f'{shift:g}' for shift in self.shifts)}]",
            ]
        if self.change:
            parts += [
                f"layer={self.layer}",
                f"units=[{','.join(map(str, self.units))}]",
                f"strength={self.strength:g}",
            ]
        return shlex.join([*parts, "output=sample.png"])


def _within(value: Any, least: float, most: float, default: float) -> float:
    """The nearest value in a range, with two decimals; the default for anything but a number."""
    return round(float(_clamped(value, least, most, default)), 2)


def _whole_within(value: Any, least: int, most: int) -> int:
    """The nearest integer in a range; 0 for anything but a number."""
    return int(_clamped(value, least, most, 0))


def _numbers_below(values: Any, count: int) -> list[int]:
    """The whole numbers of 0 to count - 1 among values, each once; none of what is no list."""
    items = values if isinstance(values, list) else []
    kept = [item for item in items if type(item) is int and 0 <= item < count]
    return list(dict.fromkeys(kept))


def _clamped(value: Any, least: float, most: float, default: float) -> float:
    """The nearest value in a range; the default for anything but a number."""
    is_number = isinstance(value, int | float) and value == value  # NaN differs from itself
    return min(max(value if is_number else default, least), most)


class Guard:
    """Middleware that refuses all requests without the token of the printed address.

    It refuses other users of this machine, and pages of other sites under any host name for this
    port (DNS rebinding). The first request has the token in its address and receives a cookie;
    later requests have the cookie.
    """

    def __init__(self, app: "ASGIApp", token: str, port: int) -> None:
        self.app = app
        self.token = token
        self.cookie = f"gan_explore_{port}"
        self.hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        if port == 80:  # browsers leave the default port out
            self.hosts |= {HOST, "localhost"}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass an allowed request on, and refuse any other one."""
        from starlette.responses import PlainTextResponse
        from starlette.websockets import WebSocketClose

        if scope["type"] == "lifespan" or self._is_allowed(scope):
            is_http = scope["type"] == "http"
            await self.app(scope, receive, self._with_cookie(send) if is_http else send)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)  # policy violation
        else:
            response = PlainTextResponse("Open the address that gan-explore has printed.\n", 403)
            await response(scope, receive, send)

    def _is_allowed(self, scope: "Scope") -> bool:
        """Whether a request has the token, in its cookie or address, and is from this page."""
        from starlette.requests import HTTPConnection

        request = HTTPConnection(scope)
        tokens = (request.cookies.get(self.cookie, ""), request.query_params.get("token", ""))
        has_token = any(
            secrets.compare_digest(token.encode(), self.token.encode()) for token in tokens
        )

        origin = request.headers.get("origin")
        own_origins = {f"http://{host}" for host in self.hosts}
        is_same_site = request.headers.get("host") in self.hosts and (
            origin is None or origin in own_origins
        )
        return has_token and is_same_site

    def _with_cookie(self, send: "Send") -> "Send":
        """A `send` that adds the cookie to the start of a response."""
        cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"

        async def send_with_cookie(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"set-cookie", cookie.encode())]
                message = {**message, "headers": headers}
            await send(message)

        return send_with_cookie


def run(config: ExploreConfig) -> None:
    """Serve the page until Ctrl-C."""
    if find_spec("nicegui") is None:
        raise UserError(
            "gan-explore: needs the extra `explore`; install it with: pip install "
            "'gan-cli[explore]'."
        )

    from gan_cli.sampling.generator import Generator
    from gan_cli.sampling.painting import canvas_of

    generator = Generator(config.checkpoint, config.weights.value, config.plugins)
    canvas = canvas_of(generator)
    if canvas is None:
        _refuse_unshown(generator, config)
    _refuse_port_in_use(config.port)

    from nicegui import app, ui

    token = secrets.token_urlsafe(16)
    app.add_middleware(Guard, token=token, port=config.port)
    if canvas is None:
        ui.page("/")(lambda: _page(ui, generator, config.typed()))
    else:
        app.mount("/", Painter(canvas, config.typed()).site())

    address = f"/?token={token}"
    print(f"gan-explore: http://{HOST}:{config.port}{address} (Ctrl-C ends it)", flush=True)
    ui.run(
        host=HOST,
        port=config.port,
        title="gan-explore",
        show=address if config.show else False,
        reload=False,
        show_welcome_message=False,
    )


def _refuse_unshown(generator: "Generator", config: ExploreConfig) -> None:
    """Raise UserError for a checkpoint that has neither sliders nor label maps."""
    from gan_cli.data.kinds import kind_of

    if generator.game.sampling.given:
        raise UserError(
            f"checkpoint={config.checkpoint}: makes samples from inputs, and gan-explore walks "
            "through noise or paints label maps; take gan-sample input=FOLDER."
        )
    if not kind_of(generator.spec).tiles:
        raise UserError(
            f"checkpoint={config.checkpoint}: makes {generator.spec.kind}; gan-explore shows "
            "images."
        )


def _refuse_port_in_use(port: int) -> None:
    """Raise UserError for a port that cannot be opened."""
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
    """The sample of a view, as a data URL of a PNG."""
    from gan_cli import pictures

    samples = generator.changed(view.change).render(view.latents(generator))
    image = pictures.to_uint8(samples)[0]
    return pictures.data_url(pictures.pixels_of(image))


def _page(ui: ModuleType, generator: "Generator", typed: Sequence[str]) -> None:
    """One visitor's page: image and command on the left, controls on the right.

    Args:
        ui: the module `nicegui.ui`, which is imported late.
        typed: as those of `View.command`.
    """
    checkpoint = str(generator.path)
    layers = unit_controls.layers_if_any(generator)
    counts = {layer.name: layer.units for layer in layers}
    untruncated = ALL_OF_Z if generator.game.redraws else 1.0
    view = View(
        label=0 if generator.game.classes else None,
        truncation=untruncated,
        untruncated=untruncated,
    )
    ui.label(f"{checkpoint}, step {generator.step}").classes("text-lg")
    with ui.row(wrap=False).classes("gap-8"):
        with ui.column():
            image = ui.image().props("no-spinner no-transition").classes("sample")
            image.style(
                f"width: {IMAGE_SIDE}px; height: {IMAGE_SIDE}px; image-rendering: pixelated"
            )
            command = (
                ui.label()
                .classes("command font-mono text-xs")
                .style(f"width: {IMAGE_SIDE}px; word-break: break-all")
            )
        with ui.column().classes("w-96 gap-1"):

            def show() -> None:
                """Show the image and the command of the view."""
                valid = view.settled(generator.game.classes, counts)
                image.set_source(picture(generator, valid))
                command.set_text(valid.command(checkpoint, typed))

            _controls(ui, generator, view, show)
            if layers:
                rankings = unit_controls.saved_rankings(generator, layers)
                unit_controls.add(ui, layers, rankings, view, show)
    show()


def _controls(ui: ModuleType, generator: "Generator", view: View, show: Callable[[], None]) -> None:
    """Controls of the view; each change calls `show`."""

    def bind(element: "ValueElement[Any]", name: str) -> None:
        """Bind the value of a control to an attribute of the view."""
        element.bind_value(view, name)
        element.on_value_change(show)

    def set_seed(event: "ValueChangeEventArguments[Any]") -> None:
        """Show the sample of the typed seed."""
        view.seed = event.value  # a float, or None while the field is empty
        show()

    seed = ui.number("seed", value=0, min=0, step=1, format="%d")
    seed.classes("seed").on_value_change(set_seed)
    if classes := list(range(generator.game.classes)):
        bind(ui.select(classes, label="class").classes("w-40"), "label")

    ui.label("truncation")
    most = max(MAX_TRUNCATION, view.untruncated)
    truncation = ui.slider(min=0, max=most, step=0.05)
    bind(truncation.props("label").classes("truncation"), "truncation")

    bind(ui.toggle([kind.value for kind in Directions]).props("dense no-caps"), "directions")
    for i in range(min(SLIDERS, generator.drawn([0]).shape[1])):
        _shift_slider(ui, view, i, show)

    with ui.row().classes("items-center"):
        for end in "AB":
            _save_button(ui, view, end, show)
    ui.label("from A to B")
    bind(ui.slider(min=0, max=STOPS - 1, step=1).props("label").classes("walk"), "stop")


def _shift_slider(ui: ModuleType, view: View, direction: int, show: Callable[[], None]) -> None:
    """A numbered slider that moves the sample along one direction."""

    def move(event: "ValueChangeEventArguments[Any]") -> None:
        """Show the moved sample."""
        view.shifts[direction] = event.value
        show()

    with ui.row(wrap=False).classes("w-full items-center gap-3"):
        ui.label(str(direction + 1)).classes("w-4 text-right")
        slider = ui.slider(min=-MAX_SHIFT, max=MAX_SHIFT, step=0.1, value=0)
        slider.props("label dense").classes(f"shift{direction}").on_value_change(move)


def _save_button(ui: ModuleType, view: View, end: str, show: Callable[[], None]) -> None:
    """A button that saves the seed as one end of the walk, A or B."""

    def save() -> None:
        """Save the seed."""
        view.saved[end] = view.seed
        show()

    ui.button(f"save as {end}").props("dense no-caps outline").on_click(save)
