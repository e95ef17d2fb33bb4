"""Nearest neighbours of samples in the training split."""

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset

PART = 1000  # training samples that queries are compared with at a time


def nearest_training(
    queries: Tensor, dataset: Dataset, count: int = 1, mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """Indices and distances of the training samples nearest to each query, both (n, count).

    The distance is Euclidean over all values of a decoded sample, float64. Candidates are searched
    by matrix products, which are fast but blur small distances, and then measured exactly.

    Args:
        queries: (n, *shape).
        count: number of neighbours, in order of their distance; fewer in a smaller training split.
        mirrored: whether the mirror images of the training samples count too; they have the
            index of their original.
    """
    known = dataset.train["x"]
    flat = queries.to(known.device).flatten(1)
    indices = torch.empty(len(flat), 0, dtype=torch.long, device=known.device)
    distances = torch.empty(len(flat), 0, dtype=torch.double, device=known.device)

    for start in range(0, len(known), PART):
        real = dataset.decode({"x": known[start : start + PART]})["x"]
        for images in (real, real.flip(-1)) if mirrored else (real,):
            rows, exact = _nearest(flat, images.flatten(1), count)
            indices = torch.cat([indices, start + rows], dim=1)
            distances = torch.cat([distances, exact], dim=1)
        best = distances.topk(min(count, distances.shape[1]), dim=1, largest=False)
        indices, distances = indices.gather(1, best.indices), best.values

    return indices, distances


def _nearest(queries: Tensor, known: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of the nearest known points, (n, count), and their exact distances, float64."""
    count = min(count, len(known))
    indices = torch.cdist(queries, known).topk(count, dim=1, largest=False).indices
    # one neighbour at a time: a tensor of all differences may not fit
    exact = [(queries - known[column]).double().norm(dim=1) for column in indices.unbind(dim=1)]
    return indices, torch.stack(exact, dim=1)
