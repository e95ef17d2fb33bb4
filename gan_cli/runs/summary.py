"""Summary of a run in a few lines, the end of `make demo`. Nothing here imports torch."""

import sys
from pathlib import Path

from gan_cli.errors import UserError, on_one_line
from gan_cli.runs.finished import read
from gan_cli.runs.rundir import read_card

ESTIMATE = "wasserstein/heldout"  # tag of the critic's estimate on held-out data
MIN_EVALUATIONS = 4  # below it a rank correlation says nothing


def summary(folder: Path) -> str:
    """Scores, verdicts and files of a run."""
    card = read_card(folder)
    pictures = sorted((folder / "samples").glob("*.png"))[-1:] + sorted(folder.glob("*.png"))

    lines = [f"{folder}: {card.get('step', 0)} steps in {card.get('seconds', 0.0):.0f} s"]
    lines += [f"  {name:<36}{value:.4g}" for name, value in card.get("scores", {}).items()]
    lines += [f"health: {sentence}" for sentence in card.get("health", [])]
    if correlation := agreement(folder, card.get("objective", "")):
        lines.append(correlation)
    lines += [f"picture      {path}" for path in pictures]
    lines.append(f"checkpoint   {folder / 'checkpoints' / 'last.pt'}")
    lines.append(f"TensorBoard  tensorboard --logdir {folder / 'tensorboard'}")
    return "\n".join(map(on_one_line, lines))


def agreement(folder: Path, score: str) -> str:
    """Spearman's rank correlation of the critic's held-out estimate with a score, as a sentence.

    Empty if there are fewer than MIN_EVALUATIONS evaluations.
    """
    try:
        rows = read(folder).rows
    except UserError:
        return ""

    names = (ESTIMATE, f"metrics/{score}")
    pairs = [[row[name] for name in names] for row in rows if row.keys() >= set(names)]
    if len(pairs) < MIN_EVALUATIONS:
        return ""

    from scipy.stats import spearmanr

    value = spearmanr(*zip(*pairs, strict=True)).statistic
    return (
        f"Spearman correlation of {ESTIMATE} with {score} over {len(pairs)} evaluations: "
        f"{value:.2f}"
    )


if __name__ == "__main__":
    print(summary(Path(sys.argv[1])))
