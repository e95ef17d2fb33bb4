"""docs/performance.md, its tables: `python -m gan_cli.benchmarks.page PAGE` runs gan-bench over a
fixed list."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START, END = "<!-- measured by make bench -->", "<!-- end -->"
MLP = "model=wgan_gp data=mnist data.image_size=28 network=mlp_tapered model.latent=100"
DCGAN = "model=wgan_gp data=mnist data.image_size=32 network=dcgan"
RESNET = "model=wgan_gp data=mnist data.image_size=32 network=resnet"
WIDE = f"{RESNET} network.width=128 batch_size=16"
SPEED = "bench.memory=false bench.start=false"
QUICK = f"{SPEED} bench.heats=5"
HELD = "bench.start=false bench.heats=5"  # speed, and memory
LISTED = (
    ("MLP, 28x28", MLP),
    ("MLP, bf16", f"{MLP} hardware.precision=bf16 {QUICK}"),
    (
        "MLP, compiled",
        f"{MLP} hardware.compile=true bench.against=[eager,naive] {SPEED} bench.heats=11",
    ),
    ("DCGAN, 32x32", f"{DCGAN} bench.processes=[1,2]"),
    ("DCGAN, bf16", f"{DCGAN} hardware.precision=bf16 {QUICK}"),
    ("ResNet, 32x32, 32 channels", f"{RESNET} {HELD}"),
    ("ResNet, 128 channels, batch 16", f"{WIDE} {HELD}"),
    ("the same, bf16", f"{WIDE} hardware.precision=bf16 {QUICK}"),
    ("points, one thread", f"model=wgan_gp data=points hardware.threads=1 {QUICK}"),
)
"""What is measured: a name, and what follows `gan-bench`."""


def main(page: Path) -> None:
    """Measure the list, and put its tables between the two marks of the page."""
    results = {}
    for name, arguments in LISTED:
        print(f"gan-bench {arguments}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "result.json"
            code = "from gan_cli.main import bench; bench()"
            command = [sys.executable, "-c", code, *arguments.split(), f"bench.output={output}"]
            subprocess.run(command, check=True)
            results[name] = json.loads(output.read_text(encoding="utf-8"))
        before, rest = page.read_text(encoding="utf-8").split(START)
        page.write_text(
            f"{before}{START}\n\n{tables(results)}\n{END}{rest.split(END)[1]}", encoding="utf-8"
        )


def tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables of the page: speed, parts of a turn, memory, scaling, and the commands."""
    first = next(iter(results.values()))
    where = first.get("gpu") or f"{first['cpu']}, {first['threads']} threads"
    lines = [
        f"{where}, torch {first['torch']}. Medians of interleaved pairs, in brackets the "
        "least and the most.",
        "",
    ]
    titles = (
        "rounds/s",
        "over bare",
        "gain over naive",
        "over fp32 or eager",
        "with hooks",
        "of the matrix rate",
    )
    lines += [f"| | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]
    for name, told in results.items():
        ratios = {**told["overhead"], **told["gain"], **told["hooks"]}
        cells = [_spread(ratios.get(kind)) for kind in ("bare", "naive")]
        cells += [_spread(ratios.get("fp32") or ratios.get("eager")), _spread(ratios.get("hooks"))]
        share = told["floor"]["arithmetic_ms"] / told["round_ms"]["gan-train"]
        lines.append(
            f"| {name} | {told['rounds_per_second']:.3g} | {' | '.join(cells)} | {share:.0%} |"
        )
    parts = list(first["turn_ms"]["discriminator"])
    lines += ["", f"| ms a turn | player | {' | '.join(parts)} |", "|---" * (2 + len(parts)) + "|"]
    for name, told in results.items():
        for player, spent in told["turn_ms"].items():
            lines.append(
                f"| {name} | {player} | {' | '.join(f'{spent[part]:.2f}' for part in parts)} |"
            )
    lines += ["", *_others(results), "", "```"]
    return "\n".join([*lines, *(f"gan-bench {arguments}" for _, arguments in LISTED), "```"])


def _others(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, told in results.items():
        if held := told.get("memory_mib"):
            ratio = f", {held['ratio']:.3f} times as much" if "ratio" in held else ""
            lines.append(
                f"- {name}: a run holds {held['run']:.0f} MiB, the bare loop "
                f"{held.get('bare', 0):.0f}{ratio}."
            )
        if "start_seconds" in told:
            lines.append(
                f"- {name}: {told['start_seconds']:.1f} s from the command to the end of a run of "
                "one round."
            )
        for kind, found in told.get("scaling", {}).items():
            shown = ", ".join(f"{ms:.0f} ms in {n}" for n, ms in found.items())
            lines.append(
                f"- {name}: {kind} scaling over processes of one thread: a round takes {shown}."
            )
    return lines


def _spread(ratio: Mapping[str, float] | None) -> str:
    return f"{ratio['median']:.3f} ({ratio['least']:.2f} to {ratio['most']:.2f})" if ratio else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
