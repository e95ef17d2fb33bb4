"""Batches of a data set, in an order that is a function of the seed and the epoch."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Fields


@dataclass(frozen=True)
class _Prefetched:
    """A batch that is cut ahead: (seed, position), its rows, and its fields, if they are on their
    way."""

    place: tuple[int, int] = (-1, -1)
    rows: Tensor = torch.empty(0, dtype=torch.long)
    fields: Future[Fields] | None = None


class Batches:
    """An endless stream of batches: epoch after epoch, each a permutation that depends on (seed,
    epoch) alone.

    Batch k holds the entries k * batch_size ... (k + 1) * batch_size of the joined permutations, so
    that no sample is left out and none is seen twice in an epoch, whatever the sizes. `position`,
    one integer, is its whole state.

    Data that stays on the host for want of room is cut there a batch ahead, by a thread, and sent
    while the device computes.

    Args:
        mirrored: rows from the number of samples on are the mirror images of the samples: an epoch
            holds both.
        device: where batches are wanted; where the data lies if not given.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        mirrored: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.mirrored = mirrored
        self.samples = len(dataset.train["x"])
        self.size = 2 * self.samples if mirrored else self.samples
        self.storage_device = dataset.train["x"].device
        self.device = device or self.storage_device
        self._now, self._next = (
            _Prefetched(),
            _Prefetched(),
        )  # what is cut ahead, where that is done
        self._thread = ThreadPoolExecutor(1) if self.device != self.storage_device else None
        self.position = 0
        self._drawn_for, self._order = (-1, -1), torch.empty(0)

    def next(self) -> Fields:
        """The next batch, decoded."""
        return self.gather(self.next_rows())

    def gather(self, rows: Tensor) -> Fields:
        """These rows of the training data, decoded."""
        return {**self._drawn(rows), **self._labelled(rows)}

    def _labelled(self, rows: Tensor) -> Fields:
        """As many labelled samples, if the data keeps some: which ones follows from the rows,
        random as they are."""
        kept = self.dataset.labelled
        if not kept:
            return {}
        again = rows % len(kept["x"])
        batch = self.dataset.decode(
            {name: values[again].to(self.device) for name, values in kept.items()}
        )
        return {f"{name}_labelled": values for name, values in batch.items()}

    def _drawn(self, rows: Tensor) -> Fields:
        stored = self._cut(rows) if self.device == self.storage_device else self._sent(rows)
        if self.mirrored:
            turned = (rows >= self.samples).view(-1, 1, 1, 1).to(self.device)
            # of a sample all, or none
            images = {name: values for name, values in stored.items() if values.dim() == 4}
            stored |= {
                name: torch.where(turned, values.flip(-1), values)
                for name, values in images.items()
            }
        return self.dataset.decode(stored)

    def _cut(self, rows: Tensor) -> Fields:
        """These rows, as they are stored."""
        places = rows % self.samples if self.mirrored else rows
        return {name: values.index_select(0, places) for name, values in self.dataset.train.items()}

    def _sent(self, rows: Tensor) -> Fields:
        """The same on the device, to which they may be on their way."""
        first = rows.storage_offset() - self._now.rows.storage_offset()
        known = rows.untyped_storage().data_ptr() == self._now.rows.untyped_storage().data_ptr()
        if known and self._now.fields and 0 <= first <= len(self._now.rows) - len(rows):
            return {
                name: values[first : first + len(rows)]
                for name, values in self._now.fields.result().items()
            }
        return self._send(rows)

    def _send(self, rows: Tensor) -> Fields:
        cut = self._cut(rows)
        if self.device.type == "cuda":  # from pinned memory the copy waits for nobody
            cut = {name: values.pin_memory() for name, values in cut.items()}
        return {name: values.to(self.device, non_blocking=True) for name, values in cut.items()}

    def next_rows(self) -> Tensor:
        """Where in the training data the next batch lies."""
        if self._thread:
            place = (self.seed, self.position)
            self._now = (
                self._next
                if self._next.place == place
                else _Prefetched(place, self._rows(self.position))
            )
            rows = self._rows(self.position + 1)
            self._next = _Prefetched(
                (self.seed, self.position + 1), rows, self._thread.submit(self._send, rows)
            )
        rows = self._now.rows if self._thread else self._rows(self.position)
        self.position += 1
        return rows

    def _rows(self, position: int) -> Tensor:
        first, last = position * self.batch_size, (position + 1) * self.batch_size
        parts = []
        while first < last:
            epoch, start = divmod(first, self.size)
            stop = min(self.size, start + last - first)
            parts.append(self._permutation(epoch)[start:stop])
            first += stop - start
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if (self.seed, epoch) != self._drawn_for:
            order = torch.randperm(self.size, generator=noise.generator("order", self.seed, epoch))
            self._drawn_for, self._order = (self.seed, epoch), order.to(self.storage_device)
        return self._order
