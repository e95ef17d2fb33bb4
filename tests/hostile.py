"""Checkpoints that nobody would write by mistake, made by code: each a name and the bytes of a
file."""

import copy
import io
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

FIXTURE = Path(__file__).parent / "fixtures" / "format_1.pt"
GOOD = FIXTURE.read_bytes()
STATE: dict[str, Any] = {"format": 2, "rollbacks": 0, "scores": {"w1": 0.5}, "objective": "w1"}
STATE = torch.load(io.BytesIO(GOOD), weights_only=True) | STATE
CONFIG: dict[str, Any] = yaml.safe_load(STATE["config"])
HUGE = 10**5000


def nested(depth: int) -> list[Any]:
    """[[[...]]]"""
    content: list[Any] = []
    for _ in range(depth):
        content = [content]
    return content


def doubled(times: int) -> list[Any]:
    """A list of 2**times leaves that takes `times` lists."""
    content: list[Any] = ["x"]
    for _ in range(times):
        content = [content, content]
    return content


def itself() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["x"] = content
    return content


ODD: dict[str, Any] = {
    "none": None,
    "true": True,
    "minus": -1,
    "large": 10**30,
    "huge": HUGE,
    "nan": float("nan"),
    "inf": float("inf"),
    "word": "x",
    "escape": "\x1b]0;owned\x07",
    "list": [1],
    "mapping": {"x": 1},
    "numbered": {1: 2},
    "deep": nested(150),
    "doubled": doubled(40),
    "itself": itself(),
    "bytes": b"x",
    "tensor": torch.zeros(2),
    "set": {1},
}
"""What may stand where something else is expected."""


def saved(content: Any) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, out)
    return out.getvalue()


Make = Callable[[], bytes]  # some are made when they are asked for


def fields() -> Iterator[tuple[str, Make]]:
    """Each field replaced by each odd kind, and left out."""
    for key in STATE:
        for name, value in ODD.items():
            yield f"{key} is {name}", partial(saved, {**STATE, key: value})
        yield f"without {key}", partial(saved, {k: v for k, v in STATE.items() if k != key})
    for name, value in ODD.items():
        weights = {**STATE["game"], next(iter(STATE["game"])): value}
        yield f"a weight is {name}", partial(saved, {**STATE, "game": weights})
        yield f"all is {name}", partial(saved, value)


def specs() -> Iterator[tuple[str, Make]]:
    """What is said of the data."""
    for key in STATE["data"]:
        for name, value in ODD.items():
            yield (
                f"data.{key} is {name}",
                partial(saved, {**STATE, "data": {**STATE["data"], key: value}}),
            )
    others = {
        "shape": [[-1], [0], [10**9], [10**9, 10**9], [2] * 100, ["2"], [2.0], [[2]]],
        "units": [
            [["x", 1.0]],
            [["\x1b[31m", "1", 2.0]] * 2,
            [["x", float("nan"), 1.0]] * 2,
            [3, 4],
            [["x", 1, 2]],
        ],
        "kind": ["image", "text", "\x1b[31mpoints", "x" * 10**6],
        "vocabulary": ["\x1b[31m", "\ud800"],
    }
    for key, values in others.items():
        for i, value in enumerate(values):
            yield (
                f"data.{key} {i}",
                partial(saved, {**STATE, "data": {**STATE["data"], key: value}}),
            )
    yield "data.nonsense", partial(saved, {**STATE, "data": {**STATE["data"], "nonsense": 1}})


def configurations() -> Iterator[tuple[str, bytes]]:
    """Text where the configuration stands."""
    text = STATE["config"]
    texts = {
        "empty": "",
        "a word": "x",
        "a list": "[1]",
        "torn": text[:500] + "}",
        "tabs": "\t" + text,
        "zeros": "\0" * 99,
        "a date": text + "when: 2001-01-01\n",
        "no date": text + "when: 2001-99-99\n",
        "a date as a name": text.replace("name: points", "name: 2001-01-01"),
        "a date as a number": text.replace("width: 4", "width: 2001-01-01"),
        "a huge number": text.replace("latent: 4", f"latent: {'9' * 5000}"),
        "a large number": text.replace("latent: 4", f"latent: {'9' * 4000}"),
        "a huge seed": text.replace("seed: 0", f"seed: {'9' * 4200}"),
        "deep": text + "deep: " + "[" * 5000 + "]" * 5000 + "\n",
        "deep mappings": text + "deep: " + "{a: " * 3000 + "}" * 3000 + "\n",
        "deep lines": text + "\n".join(" " * i + "a:" for i in range(900)),
        "laughs": text
        + "a0: &a0 [x, x]\n"
        + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
        "few laughs": text
        + "a: &a ["
        + "x, " * 90_000
        + "]\n"
        + "".join(
            f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
        ),
        "itself": text + "a: &a [*a]\n",
        "merged": text + "<<: &a {x: 1}\n",
        "merges itself": text + "a: &a\n  <<: *a\n",
        "long": text + "x: [" + "1, " * 300_000 + "]\n",
        "too long": text + "#" * 1_100_000,
        "python": text + "x: !!python/object/apply:os.system ['touch ran']\n",
        "python name": text.replace("name: points", "name: !!python/name:os.system"),
        "no number": text + "x: !!int ''\n",
        "no truth": text + "x: !!bool x\n",
        "no time": text + "x: !!timestamp x\n",
        "binary": text + "x: !!binary x\n",
        "a set": text + "x: !!set {a, b}\n",
        "pairs": text + "x: !!omap [a: 1]\n",
        "a list as a key": text + "? [a]\n: 1\n",
        "a number as a key": text + "1: 1\n",
        "twice": text + text,
        "two documents": text + "---\n" + text,
        "sixty": text.replace("width: 4", "width: 1:30"),
        "plug-ins of a word": text.replace("plugins: []", "plugins: os"),
        "plug-ins of numbers": text.replace("plugins: []", "plugins: [1, {a: 1}]"),
        "a plug-in": text.replace("plugins: []", "plugins: ['\\e[31m.py', ../x.py]"),
        "many layers": text.replace("depth: 3", "depth: 100000000"),
        "broad": text.replace("width: 4", "width: 1000000000"),
        "latent": text.replace("latent: 4", "latent: 99999999"),
        "infinite": text.replace("width: 4", "width: .inf"),
        "no number at all": text.replace("width: 4", "width: .nan"),
        "other player": text.replace("  name: two_player", "  name: os.system"),
        "no network": text.replace("network:", "notwork:"),
        "no data": text.replace("data:", "date:"),
        "unpaired": text + 'x: "\\ud800"\n',
        "bell": text + 'x: "\\a\\e[31m"\n',
        "rounds": text.replace("discriminator: 5", "discriminator: 1000000000"),
    }
    for name, content in texts.items():
        yield f"configuration: {name}", saved({**STATE, "config": content})
    for group in CONFIG:
        for name in ("none", "minus", "large", "nan", "word", "list", "mapping"):
            changed = yaml.safe_dump({**CONFIG, group: ODD[name]})
            yield f"{group} is {name} in the configuration", saved({**STATE, "config": changed})


def tensors() -> Iterator[tuple[str, bytes]]:
    """Odd tensors in the place of the first weight."""
    name, weight = next(iter(STATE["game"].items()))
    strided = torch.as_strided(torch.zeros(1), (10**6, 10**6), (0, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = {
            "empty": torch.zeros(0),
            "of no dimension": torch.tensor(1.0),
            "complex": weight.to(torch.complex64),
            "whole": weight.long(),
            "true": weight.bool(),
            "half": weight.half(),
            "double": weight.double(),
            "eighth": weight.to(torch.float8_e4m3fn),
            "sparse": weight.to_sparse(),
            "rows": weight.to_sparse_csr(),
            "huge and sparse": torch.sparse_coo_tensor(
                torch.zeros(2, 1).long(), torch.ones(1), (2**31, 2**31)
            ),
            "quantised": torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
            "meta": torch.zeros(2**40, device="meta"),
            "expanded": strided,
            "expanded a little": torch.zeros(1).expand(weight.shape),
            "not a number": torch.full_like(weight, float("nan")),
            "infinite": torch.full_like(weight, float("inf")),
            "conjugate": weight.to(torch.complex64).conj(),
            "a parameter": torch.nn.Parameter(weight),
            "of another shape": torch.zeros(3, 3),
            "large": torch.zeros(2**20),
            "nested": torch.nested.nested_tensor([weight]),
        }
    for kind, value in odd.items():
        try:
            yield (
                f"a weight that is {kind}",
                saved({**STATE, "game": OrderedDict(STATE["game"], **{name: value})}),
            )
        except (RuntimeError, NotImplementedError, AttributeError):
            continue  # torch itself cannot write it
    yield (
        "averages that are no numbers",
        saved({**STATE, "ema": {"G": {k: v * float("nan") for k, v in STATE["ema"]["G"].items()}}}),
    )
    for kind, value in {
        "a word": "x",
        "of another shape": torch.zeros(7),
        "a set": {1},
        "huge": HUGE,
    }.items():
        first, *_ = optimizers = copy.deepcopy(STATE["optimizers"])
        moments = optimizers[first]["state"][0]
        moments[next(key for key in moments if key != "step")] = value
        yield f"moments that are {kind}", saved({**STATE, "optimizers": optimizers})
        optimizers[first]["state"] = value
        yield f"an optimizer's state that is {kind}", saved({**STATE, "optimizers": optimizers})
        optimizers[first] = {"state": {}, "param_groups": value}
        yield f"groups that are {kind}", saved({**STATE, "optimizers": optimizers})
    yield "averages of nobody", saved({**STATE, "ema": {"X": STATE["ema"]["G"]}})
    shadowed = OrderedDict(STATE)
    shadowed.keys = 3  # type: ignore[assignment, method-assign]
    yield "a mapping without keys", saved(shadowed)
    shadowed = OrderedDict(STATE["game"])
    shadowed.copy = "x"  # type: ignore[assignment, method-assign]
    yield "weights that cannot be copied", saved({**STATE, "game": shadowed})
    shadowed = OrderedDict(STATE["game"])
    shadowed._metadata = 3  # type: ignore[attr-defined]
    yield "weights with odd versions", saved({**STATE, "game": shadowed})


def repacked(pickled: bytes) -> bytes:
    """The good archive with another pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(STATE))) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            new.writestr(
                info.filename, pickled if info.filename.endswith("data.pkl") else old.read(info)
            )
    return out.getvalue()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def word(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """The pickle that asks for a call."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR."


def view(shape: bytes, stride: bytes, count: int, offset: int = 0) -> bytes:
    """The pickle of a tensor in a storage of so many numbers."""
    storage = (
        b"("
        + word("storage")
        + b"ctorch\nFloatStorage\n"
        + word("0")
        + word("cpu")
        + number(count)
        + b"tQ"
    )
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    ways = (b"(" + way + b"t" for way in (shape, stride))
    return call("torch._utils", "_rebuild_tensor_v2", storage, number(offset), *ways, hooks)


def pickles() -> Iterator[tuple[str, bytes]]:
    """Pickles that ask for what no run writes."""
    wanted = {
        "a large bytearray": call("builtins", "bytearray", number(2**31 - 1)),
        "an old bytearray": call("__builtin__", "bytearray", number(2**31 - 1)),
        "os.system": call("os", "system", word("touch ran")),
        "posix.system": call("posix", "system", word("touch ran")),
        "eval": call("builtins", "eval", word("open('ran', 'w')")),
        "a storage": call("torch", "FloatStorage", number(2**31 - 1)),
        "a size": call("torch", "Size", b"]"),
        "a counter": call("collections", "Counter"),
        "another module": call("gan_cli.main", "train"),
        "a device": call("torch", "device", word("cpu")),
        "an instance": b"\x80\x02(cos\nsystem\n" + word("touch ran") + b"o.",
        "protocol 0": b"cos\nsystem\n(S'touch ran'\ntR.",
        "protocol 4": pickle.dumps(STATE["scores"], 4),
        "protocol 5": pickle.dumps([bytearray(3)], 5),
        "a far place": b"\x80\x02]r\xff\xff\xff\x7f.",
        "no place": b"\x80\x02h\x07.",
        "nothing": b"",
        "no end": b"\x80\x02}",
        "only an end": b"\x80\x02.",
        "no mark": b"\x80\x02t.",
        "a list as a key": b"\x80\x02}]K\x01s.",
        "deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "a number of two gigabytes": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "a word of four gigabytes": b"\x80\x02X\xff\xff\xff\xff.",
        "a frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "junk": b"\xff" * 99,
        "a dtype": b"\x80\x02ctorch\nfloat32\n.",
        "an extension": b"\x80\x02\x82\x01.",
        "another persistent thing": b"\x80\x02K\x01Q.",
        "a persistent word": b"\x80\x02Px\n.",
        "far beyond a storage": view(number(2**30), number(1), 1),
        "before a storage": view(number(1), number(1), 1, -5),
        "backwards": view(number(2), number(-1), 1, 1),
        "of words": view(word("x"), number(1), 1),
        "a storage that is longer": view(number(9), number(1), 2**30),
        "petabytes": view(number(2**30) * 3, number(0) * 3, 1),
    }
    for name, pickled in wanted.items():
        yield f"pickle: {name}", repacked(pickled)


def archives() -> Iterator[tuple[str, bytes]]:
    """Files that are hardly archives."""
    good = saved(STATE)
    for i in range(1, 20):
        yield f"cut at {i}/20", good[: len(good) * i // 20]
        at = len(good) * i // 20
        yield f"a bit at {i}/20", good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :]
    yield "no byte", b""
    yield "a text", b"checkpoint"
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(100)
    yield "a pickle alone", pickle.dumps(STATE["scores"])
    yield "something before it", bytes(100) + good
    yield "something behind it", good + bytes(100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = (
            "twice",
            "absolute",
            "above",
            "comment",
            "two roots",
            "compressed",
            "bomb",
            "no pickle",
            "case",
        )
        for kind in kinds:
            yield f"an archive: {kind}", _archive(good, kind)
    yield (
        "an encrypted archive",
        good.replace(b"PK\x01\x02\x00\x00\x00\x00\x00\x00", b"PK\x01\x02\x00\x00\x00\x00\x01\x00"),
    )


def _archive(good: bytes, kind: str) -> bytes:
    out = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if kind in ("compressed", "bomb") else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w", method) as new:
        for info in old.infolist():
            name = {"absolute": f"/{info.filename}", "above": f"../{info.filename}"}.get(
                kind, info.filename
            )
            if not (kind == "no pickle" and name.endswith("data.pkl")):
                new.writestr(name, old.read(info))
            if kind in ("twice", "case") and name.endswith("data.pkl"):
                new.writestr(
                    name.upper() if kind == "case" else name,
                    b"\x80\x02cos\nsystem\n(X\x09\x00\x00\x00touch rantR.",
                )
        new.comment = b"x" * 999 if kind == "comment" else b""
        if kind == "two roots":
            new.writestr("other/data.pkl", b"\x80\x02}.")
        if kind == "bomb":
            new.writestr("archive/data/bomb", bytes(50_000_000))
    return out.getvalue()


FAMILIES: dict[str, Callable[[], Iterator[tuple[str, Any]]]] = {
    family.__name__: family
    for family in (fields, specs, configurations, tensors, pickles, archives)
}
