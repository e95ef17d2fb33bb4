"""Batches of a data set, in an order that is a function of the seed and the epoch."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Fields, count, device_of
from gan_cli.data.kinds import kind_of_field


@dataclass(frozen=True)
class _Prefetched:
    """A batch that is gathered before it is requested.

    Args:
        key: the batch's (seed, position).
        rows: its rows of the training data.
        fields: its fields on the device, or None if they have not been requested ahead.
    """

    key: tuple[int, int] = (-1, -1)
    rows: Tensor = torch.empty(0, dtype=torch.long)
    fields: Future[Fields] | None = None


class Batches:
    """An endless stream of batches; each epoch is a permutation of the samples.

    The permutation depends on the seed and the number of the epoch alone.

    Batch k has the entries k * batch_size ... (k + 1) * batch_size of the concatenated
    permutations: no sample is missing and none occurs twice in an epoch, whatever the sizes.
    `position`, the index of the next batch, is its whole state.

    Data too large for the device stays on the host. There a thread gathers the next batch and sends
    it while the device computes.

    Args:
        dataset: its training split, and its labelled samples if it has some, are the source.
        batch_size: number of samples in a batch.
        seed: decides the order.
        mirrored: an epoch has the mirror images of all samples too; their rows follow those of the
            samples.
        device: the device of the batches; that of the training data if None.
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
        self.samples = count(dataset.train)
        self.size = 2 * self.samples if mirrored else self.samples
        self.storage_device = device_of(dataset.train)
        self.device = device or self.storage_device
        self.position = 0
        self._current, self._next = _Prefetched(), _Prefetched()
        self._thread = ThreadPoolExecutor(1) if self.device != self.storage_device else None
        # the permutation of one epoch, and the (seed, epoch) it is of
        self._order_key, self._order = (-1, -1), torch.empty(0)

    def next(self) -> Fields:
        """The next batch, decoded."""
        rows = self.next_rows()
        return self.gather(rows, rows)

    def next_rows(self) -> Tensor:
        """Rows of the training data that the next batch consists of."""
        rows = self._prefetch(self._thread) if self._thread else self._rows(self.position)
        self.position += 1
        return rows

    def gather(self, rows: Tensor, batch: Tensor | None = None, start: int = 0) -> Fields:
        """These rows of the training data, decoded; with labelled samples if the data has some.

        Args:
            batch: the rows of the whole batch, as `next_rows` returned them; a batch that has been
                sent to the device ahead of time is recognised by it.
            start: the place of `rows` in that batch.
        """
        if self.device == self.storage_device:
            stored = self._stored(rows)
        else:
            stored = self._sent(rows, batch, start)
        if self.mirrored:
            stored |= self._mirrored(stored, rows)
        fields = self.dataset.decode(stored)
        if self.dataset.jitter:
            fields |= self._jittered(fields, start)
        return {**fields, **self._labelled(rows)}

    def _labelled(self, rows: Tensor) -> Fields:
        """As many labelled samples as rows, and the labels of the rows as far as they are kept.

        The rows, random as they are, decide which labelled samples.
        """
        labelled, known = self.dataset.labelled, self.dataset.y_known
        if not labelled or known is None:
            return {}
        chosen = rows % count(labelled)
        batch = self.dataset.decode(
            {name: values[chosen].to(self.device) for name, values in labelled.items()}
        )
        own = known[rows % self.samples].to(self.device)
        return {"y_known": own} | {f"{name}_labelled": values for name, values in batch.items()}

    def _mirrored(self, stored: Fields, rows: Tensor) -> Fields:
        """The images of a batch, mirrored where a row is that of a mirror image.

        All images of one sample are mirrored together.
        """
        mirror = (rows >= self.samples).to(self.device)
        return {
            name: torch.where(mirror.view(-1, *[1] * (values.dim() - 1)), values.flip(-1), values)
            for name, values in stored.items()
            if (kind := kind_of_field(self.dataset.spec, name)) and kind.mirrors
        }

    def _jittered(self, fields: Fields, start: int) -> Fields:
        """The images of a batch, enlarged and cut to their sides at a random place, the same for
        all images of one sample: a function of the seed, the number of the batch, and the row.

        Args:
            start: the place of the rows in the batch.
        """
        n, spec = count(fields), self.dataset.spec
        random = noise.generator("jitter", self.seed, self.position)
        drawn = torch.rand(max(self.batch_size, start + n), 2, generator=random)[start : start + n]
        size = 1 / (1 + self.dataset.jitter)
        moved = torch.zeros(n, 2, 3)
        moved[:, 0, 0] = moved[:, 1, 1] = size
        moved[:, :, 2] = (1 - size) * (2 * drawn - 1)
        moved = moved.to(device_of(fields), non_blocking=True)

        jittered = {}
        for name, values in fields.items():
            kind = kind_of_field(spec, name)
            if kind and kind.mirrors:
                grid = affine_grid(moved, list(values.shape), align_corners=False)
                mode = "nearest" if name == "x" and spec.palette else kind.resampled
                jittered[name] = grid_sample(
                    values, grid, mode, padding_mode="border", align_corners=False
                )
        return jittered

    def _stored(self, rows: Tensor) -> Fields:
        """These rows as they are stored, not decoded."""
        indices = rows % self.samples if self.mirrored else rows
        train = self.dataset.train
        return {name: values.index_select(0, indices) for name, values in train.items()}

    # --- data that stays on the host --------------------------------------------------------------

    def _prefetch(self, thread: ThreadPoolExecutor) -> Tensor:
        """Rows of the next batch; the thread begins to send the batch after it."""
        key, following = (self.seed, self.position), (self.seed, self.position + 1)
        if self._next.key == key:
            self._current = self._next
        else:
            self._current = _Prefetched(key, self._rows(self.position))

        rows = self._rows(self.position + 1)
        self._next = _Prefetched(following, rows, thread.submit(self._send, rows))
        return self._current.rows

    def _sent(self, rows: Tensor, batch: Tensor | None, start: int) -> Fields:
        """These rows on the device: a part of the prefetched batch, or sent now."""
        current = self._current
        if batch is not current.rows or not current.fields:
            return self._send(rows)
        end = start + len(rows)
        return {name: values[start:end] for name, values in current.fields.result().items()}

    def _send(self, rows: Tensor) -> Fields:
        stored = self._stored(rows)
        if self.device.type == "cuda":  # a copy from pinned memory does not block the host
            stored = {name: values.pin_memory() for name, values in stored.items()}
        return {name: values.to(self.device, non_blocking=True) for name, values in stored.items()}

    # --- the order of the samples -----------------------------------------------------------------

    def _rows(self, position: int) -> Tensor:
        """Rows of the batch at a position; a batch may reach over the end of an epoch."""
        first, last = position * self.batch_size, (position + 1) * self.batch_size
        parts = []
        while first < last:
            epoch, start = divmod(first, self.size)
            stop = min(self.size, start + last - first)
            parts.append(self._permutation(epoch)[start:stop])
            first += stop - start
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if (self.seed, epoch) != self._order_key:
            order = torch.randperm(self.size, generator=noise.generator("order", self.seed, epoch))
            self._order_key, self._order = (self.seed, epoch), order.to(self.storage_device)
        return self._order
