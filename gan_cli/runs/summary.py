"""What a run came to, in a few lines for people; `make demo` ends with it. Nothing here imports
torch."""

import sys
from pathlib import Path

from gan_cli.errors import UserError, on_one_line
from gan_cli.runs.finished import read
from gan_cli.runs.rundir import read_card

ESTIMATE = "wasserstein/heldout"


def summary(folder: Path) -> str:
    """A run's scores, and where its files are."""
    card = read_card(folder)
    scores = [f"  {name:<36}{value:.4g}" for name, value in card.get("scores", {}).items()]
    drawn = sorted((folder / "samples").glob("*.png"))[-1:] + sorted(folder.glob("*.png"))
    lines = [
        f"{folder}: {card.get('step', 0)} steps in {card.get('seconds', 0.0):.0f} s",
        *scores,
        *(f"health: {sentence}" for sentence in card.get("health", [])),
        *filter(None, [agreement(folder, card.get("objective", ""))]),
        *(f"picture      {path}" for path in drawn),
        f"checkpoint   {folder / 'checkpoints' / 'last.pt'}",
        f"TensorBoard  tensorboard --logdir {folder / 'tensorboard'}",
    ]
    return "\n".join(map(on_one_line, lines))


def agreement(folder: Path, score: str) -> str:
    """How well the critic's held-out estimate followed a score over the evaluations: Spearman's
    rank correlation."""
    try:
        rows = read(folder).rows
    except UserError:
        return ""
    names = (ESTIMATE, f"metrics/{score}")
    pairs = [[row[name] for name in names] for row in rows if row.keys() >= set(names)]
    if len(pairs) < 4:
        return ""
    from scipy.stats import spearmanr

    value = spearmanr(*zip(*pairs, strict=True)).statistic
    return (
        f"Spearman correlation of {ESTIMATE} with {score} over {len(pairs)} evaluations: "
        f"{value:.2f}"
    )


if __name__ == "__main__":
    print(summary(Path(sys.argv[1])))
