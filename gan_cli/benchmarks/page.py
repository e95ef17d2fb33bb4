"""Measurement of the tables of docs/performance.md: `python -m gan_cli.benchmarks.page PAGE`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

START, END = "<!-- measured by make bench -->", "<!-- end -->"
MLP = "model=wgan_gp data=mnist data.image_size=28 network=mlp_tapered model.latent=100"
DCGAN = "model=wgan_gp data=mnist data.image_size=32 network=dcgan"
RESNET = "model=wgan_gp data=mnist data.image_size=32 network=resnet"
WIDE = f"{RESNET} network.width=128 batch_size=16"
SPEED = "bench.memory=false bench.start=false"
QUICK = f"{SPEED} bench.heats=5"
MEMORY = "bench.start=false bench.heats=5"  # speed and memory
LISTED = (
    ("MLP, 28x28", MLP),
    ("MLP, bf16", f"{MLP} hardware.precision=bf16 {QUICK}"),
    (
        "MLP, compiled",
        f"{MLP} hardware.compile=true bench.against=[eager,naive] {SPEED} bench.heats=11",
    ),
    ("DCGAN, 32x32", f"{DCGAN} bench.processes=[1,2]"),
    ("DCGAN, bf16", f"{DCGAN} hardware.precision=bf16 {QUICK}"),
    ("ResNet, 32x32, 32 channels", f"{RESNET} {MEMORY}"),
    ("ResNet, 128 channels, batch 16", f"{WIDE} {MEMORY}"),
    ("the same, bf16", f"{WIDE} hardware.precision=bf16 {QUICK}"),
    ("points, one thread", f"model=wgan_gp data=points hardware.threads=1 {QUICK}"),
)
"""Names of the measurements, and arguments of `gan-bench`."""


def main(page: Path) -> None:
    """Run all measurements, and write the tables between the two markers of the page."""
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
    """Tables of the page: speed, parts of a turn, memory, scaling, and the commands."""
    first = next(iter(results.values()))
    where = first.get("gpu") or f"{first['cpu']}, {first['threads']} threads"
    head = (
        f"{where}, torch {first['torch']}. Medians of interleaved pairs, in brackets the least and "
        "the most."
    )

    commands = [f"gan-bench {arguments}" for _, arguments in LISTED]
    lines = [head, "", *_speeds(results), "", *_parts(results), "", *_others(results), ""]
    return "\n".join([*lines, "```", *commands, "```"])


def _speeds(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Table of speeds and of ratios to other loops."""
    titles = (
        "rounds/s",
        "over bare",
        "gain over naive",
        "over fp32 or eager",
        "with hooks",
        "of the matrix rate",
    )

    yield f"| | {' | '.join(titles)} |"
    yield "|---" * (1 + len(titles)) + "|"
    for name, result in results.items():
        ratios = {**result["overhead"], **result["gain"], **result["hooks"]}
        precision = ratios.get("fp32") or ratios.get("eager")
        shown = (ratios.get("bare"), ratios.get("naive"), precision, ratios.get("hooks"))
        cells = [f"{result['rounds_per_second']:.3g}", *map(_spread, shown)]
        share = result["floor"]["arithmetic_ms"] / result["round_ms"]["gan-train"]
        yield f"| {name} | {' | '.join(cells)} | {share:.0%} |"


def _parts(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Table of the parts of a turn."""
    parts = list(next(iter(results.values()))["turn_ms"]["discriminator"])
    yield f"| ms a turn | player | {' | '.join(parts)} |"
    yield "|---" * (2 + len(parts)) + "|"
    for name, result in results.items():
        for player, spent in result["turn_ms"].items():
            yield f"| {name} | {player} | {' | '.join(f'{spent[part]:.2f}' for part in parts)} |"


def _others(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """List of memory, start and scaling, if measured."""
    for name, result in results.items():
        if memory := result.get("memory_mib"):
            ratio = f", {memory['ratio']:.3f} times as much" if "ratio" in memory else ""
            yield (
                f"- {name}: a run holds {memory['run']:.0f} MiB, the bare loop "
                f"{memory.get('bare', 0):.0f}{ratio}."
            )

        if "start_seconds" in result:
            yield (
                f"- {name}: {result['start_seconds']:.1f} s from the command to the end of a run "
                "of one round."
            )

        for kind, times_ms in result.get("scaling", {}).items():
            shown = ", ".join(f"{ms:.0f} ms in {count}" for count, ms in times_ms.items())
            yield (f"- {name}: {kind} scaling over processes of one thread: a round takes {shown}.")


def _spread(ratio: Mapping[str, float] | None) -> str:
    return f"{ratio['median']:.3f} ({ratio['least']:.2f} to {ratio['most']:.2f})" if ratio else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
