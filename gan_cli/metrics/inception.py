"""The scores of the literature by the network that it uses: FID, KID and inception score."""

import hashlib
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.decoded import Decoded, parts
from gan_cli.errors import UserError
from gan_cli.metrics.classifier import frechet_distance
from gan_cli.metrics.scoring import (
    FLOOR_TOO_HIGH,
    Scoring,
    describe_sizes,
    smaller_floor,
    underdetermined,
)
from gan_cli.pictures import to_uint8
from gan_cli.reading.weights import fetched
from gan_cli.registry import Count, metrics

AT_ONCE = 50  # images of 299x299 that the network sees at a time
FEATURES = 2048  # dimensions of the network's last features
SUBSETS = 100  # random subsets that KID averages over
SUBSET = 1000  # images in such a subset, at most
SPLITS = 10  # parts that the inception score averages over, at most
SPLIT = 500  # images in such a part, at least


@metrics.register("inception")
class InceptionScores(Scoring):
    """FID, KID and inception score by torch-fidelity, with the network and resizing of TensorFlow.

    References: Heusel et al., 2017, arXiv 1706.08500 (FID); Binkowski et al., 2018, arXiv
    1801.01401 (KID); Salimans et al., 2016, arXiv 1606.03498 (the score). Images are scored as
    bytes, as files store them; grey ones in three equal channels. Papers use n = 10,000 to 50,000
    and the whole training split: a score at a smaller n is larger, and means less than its distance
    from the floor.

    - fid, kid: samples against the training split; `_floor` is that of as many held-out images, or
      of all there are.
    - inception_score: from 1 up; `_real` is that of the held-out images.

    Args:
        n: samples to score.
        reference: training images to compare with; null takes all of them.
        weights_file: of the network, torch-fidelity's file; null takes it from torch's cache, or
            downloads it there.
    """

    kinds = ("image",)
    needs_package = "torch_fidelity"
    extra = "metrics"
    only_if_named = True  # it downloads, and takes minutes without a GPU
    scores = ("fid", "fid_floor", "kid", "kid_floor", "inception_score", "inception_score_real")
    objectives = ("fid", "kid", "inception_score")
    objective = "fid"
    lower_is_better = ("fid", "kid")
    n_reference: int
    n_floor: int

    def __init__(
        self,
        dataset: Dataset,
        n: Count = 2000,
        reference: Count | None = None,
        weights_file: str | None = None,
    ) -> None:
        self.samples, there = n, len(dataset.train["x"])
        if reference is not None and reference > there:
            raise UserError(
                f"inception.reference={reference}: there are {there} training images; leave it "
                "out to take all of them."
            )

        path = _weights_path(weights_file)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = _network(path, weights_file).to(self.device)
        self.weights = f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"

        self.reference, _ = self._outputs(_images(dataset, dataset.train, reference or there))
        features, logits = self._outputs(_images(dataset, dataset.heldout, n))
        self.n_reference, self.n_floor = len(self.reference), len(features)
        self.real = self._scores(features, logits)
        self._set_provenance(dataset)

    def extract(self, samples: Tensor, y: Tensor | None, start: int) -> tuple[Tensor, Tensor]:
        """Features and logits of images (n, C, H, W) in [-1, 1]."""
        return self._outputs(torch.nan_to_num(samples).split(AT_ONCE))

    def compute(self, extracts: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        features, logits = (torch.cat(column) for column in zip(*extracts, strict=True))
        scores, real = self._scores(features, logits), self.real
        return {
            "fid": scores["fid"],
            "fid_floor": real["fid"],
            "kid": scores["kid"],
            "kid_floor": real["kid"],
            "inception_score": scores["inception_score"],
            "inception_score_real": real["inception_score"],
        }

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        real = ", ".join(f"{name} {value:.4g}" for name, value in self.real.items())
        sides = describe_sizes(self.samples, self.n_reference, self.n_floor, FLOOR_TOO_HIGH)
        return f"Inception of {self.weights}, {sides}; held-out images: {real}"

    def _set_provenance(self, dataset: Dataset) -> None:
        self.split = f"{self.n_reference} training images; _floor, _real: held-out ones"
        before = "" if dataset.resizing == "none" else f"{dataset.resizing}; then "
        self.resizing = f"{before}bytes to 299x299 by TensorFlow 1's bilinear interpolation"
        self.backbone = "InceptionV3 of torch-fidelity"
        subset, splits = self._subset_size(self.samples), _split_count(self.samples)
        self.method = f"KID: {SUBSETS} subsets of {subset}; inception score: {splits} splits"
        sizes = self.samples, self.n_reference, self.n_floor
        too_few = underdetermined(*sizes, FEATURES, "fid", "it is far too high")
        self.note = too_few or smaller_floor(self.samples, self.n_floor, FLOOR_TOO_HIGH)

    def _subset_size(self, n: int) -> int:
        """Number of images in a subset of KID, for n samples."""
        return min(SUBSET, n, self.n_reference)

    def _scores(self, features: Tensor, logits: Tensor) -> dict[str, float]:
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

        size = self._subset_size(len(features))
        kid = kid_features_to_metric(
            features, self.reference, kid_subsets=SUBSETS, kid_subset_size=size, verbose=False
        )
        score = isc_features_to_metric(logits, _split_count(len(logits)))
        return {
            "fid": frechet_distance(features, self.reference),
            "kid": kid[KEY_METRIC_KID_MEAN],
            "inception_score": score[KEY_METRIC_ISC_MEAN],
        }

    @torch.no_grad()
    def _outputs(self, images: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Last features, (n, 2048), and logits without bias, (n, 1008), of images in [-1, 1]."""
        pairs = [
            self.network(to_uint8(part).expand(-1, 3, -1, -1).to(self.device)) for part in images
        ]
        features, logits = (torch.cat(column).cpu() for column in zip(*pairs, strict=True))
        return features, logits


def _split_count(n: int) -> int:
    """Number of parts that the inception score of n samples averages over."""
    return max(1, min(SPLITS, n // SPLIT))


def _images(dataset: Dataset, fields: Fields, n: int) -> Iterable[Tensor]:
    """At most n images of a split, decoded part by part."""
    return (part["x"] for part in parts(Decoded(dataset, {"x": fields["x"]}, n), AT_ONCE))


def _weights_path(named: str | None) -> Path:
    """The file of the weights: the named one, or torch-fidelity's in torch's cache.

    It is downloaded if it is not there.

    Raises:
        UserError: the named file does not exist, or the download fails.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    if named is not None:
        path = Path(named).expanduser()
        if not path.is_file():
            raise UserError(f"inception.weights_file={named}: no such file.")
        return path
    path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    remedy = (
        "name it by inception.weights_file=FILE, or leave inception out: the other metrics need no "
        "download"
    )
    return fetched(URL_INCEPTION_V3, path, "metrics=[inception]", remedy)


def _network(path: Path, named: str | None) -> Any:
    """torch-fidelity's network, frozen.

    torch-fidelity would run code in the file, so the file is first read in a way that refuses code.
    """
    from torch_fidelity import FeatureExtractorInceptionV3

    setting = f"inception.weights_file={named}" if named else f"metrics=[inception]: {path}"
    try:
        torch.load(path, map_location="cpu", weights_only=True)
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], str(path)
        )
    except (
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{setting}: not the weights of torch-fidelity's Inception ({reason}); take the file "
            "that it downloads."
        ) from None
