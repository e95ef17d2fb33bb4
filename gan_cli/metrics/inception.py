"""The figures of the literature, by the network that it uses: FID, KID and the inception score."""

import hashlib
import pickle
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.decoded import Decoded, parts
from gan_cli.errors import UserError
from gan_cli.metrics.classifier import frechet_distance
from gan_cli.metrics.provenance import Provenance
from gan_cli.metrics.scoring import HIGH, Scoring, apart, fewer_than, underdetermined
from gan_cli.pictures import to_uint8
from gan_cli.registry import Count, metrics

AT_ONCE = 50  # images of 299x299
FEATURES = 2048
# of KID: their number, and how many images each has where there are so many
SUBSETS, SUBSET = 100, 1000
# of the inception score: their number, and the images that each has at least
SPLITS, SPLIT = 10, 500


@metrics.register("inception")
class InceptionScores(Scoring):
    """FID, KID and inception score by torch-fidelity: its Inception of 2015 and its resizing, as
    TensorFlow's were.

    References: Heusel et al., 2017, arXiv 1706.08500 (FID); Binkowski et al., 2018, arXiv
    1801.01401 (KID); Salimans et al., 2016, arXiv 1606.03498 (the score). Images are scored as
    bytes, the way files hold them; grey ones in three equal channels. Papers take n = 10,000 to
    50,000 and the whole training split: a figure at a smaller n is larger, and says less than its
    distance from the floor.

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

    def __init__(
        self,
        dataset: Dataset,
        n: Count = 2000,
        reference: Count | None = None,
        weights_file: str | None = None,
    ) -> None:
        self.samples, self.resizing, there = n, dataset.resizing, len(dataset.train["x"])
        if reference is not None and reference > there:
            raise UserError(
                f"inception.reference={reference}: there are {there} training images; leave it "
                "out to take all of them."
            )
        path = _weights(weights_file)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = _network(path, weights_file).to(self.device)
        self.weights = f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
        self.reference, _ = self._looked_at(_images(dataset, dataset.train, reference or there))
        features, logits = self._looked_at(_images(dataset, dataset.heldout, n))
        self.heldout, self.real = len(features), self._figures(features, logits)

    def seen(self, samples: Tensor, y: Tensor | None, start: int) -> tuple[Tensor, Tensor]:
        return self._looked_at(torch.nan_to_num(samples).split(AT_ONCE))

    def judged(self, kept: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Scores of samples, (n, C, H, W) in [-1, 1]."""
        features, logits = (torch.cat(column) for column in zip(*kept, strict=True))
        found, real = self._figures(features, logits), self.real
        return {
            "fid": found["fid"], "fid_floor": real["fid"], "kid": found["kid"],
            "kid_floor": real["kid"],
            "inception_score": found["inception_score"],
            "inception_score_real": real["inception_score"],
        }  # fmt: skip

    def describe(self) -> str:
        """One line on how the figures are made."""
        real = ", ".join(f"{name} {value:.4g}" for name, value in self.real.items())
        sides = apart(self.samples, len(self.reference), self.heldout, HIGH)
        return f"Inception of {self.weights}, {sides}; held-out images: {real}"

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split = f"{len(self.reference)} training images; _floor, _real: held-out ones"
        before = "" if self.resizing == "none" else f"{self.resizing}; then "
        resizing = f"{before}bytes to 299x299 by TensorFlow 1's bilinear interpolation"
        subset, splits = self._subset(self.samples), _splits(self.samples)
        method = f"KID: {SUBSETS} subsets of {subset}; inception score: {splits} splits"
        sides = len(self.reference), self.heldout
        few = underdetermined(self.samples, *sides, FEATURES, "fid", "it is far too high")
        note = few or fewer_than(self.samples, self.heldout, HIGH)
        backbone = "InceptionV3 of torch-fidelity", self.weights
        return Provenance(self.samples, split, resizing, *backbone, method, *sides, note)

    def _subset(self, n: int) -> int:
        return min(SUBSET, n, len(self.reference))

    def _figures(self, features: Tensor, logits: Tensor) -> dict[str, float]:
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

        subsets = {
            "kid_subsets": SUBSETS,
            "kid_subset_size": self._subset(len(features)),
            "verbose": False,
        }
        return {
            "fid": frechet_distance(features, self.reference),
            "kid": kid_features_to_metric(features, self.reference, **subsets)[KEY_METRIC_KID_MEAN],
            "inception_score": isc_features_to_metric(logits, _splits(len(logits)))[
                KEY_METRIC_ISC_MEAN
            ],
        }

    @torch.no_grad()
    def _looked_at(self, images: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """The last features, (n, 2048), and the logits without bias, (n, 1008), of images in [-1,
        1]."""
        pairs = [
            self.network(to_uint8(part).expand(-1, 3, -1, -1).to(self.device)) for part in images
        ]
        features, logits = (torch.cat(column).cpu() for column in zip(*pairs, strict=True))
        return features, logits


def _splits(n: int) -> int:
    return max(1, min(SPLITS, n // SPLIT))


def _images(dataset: Dataset, fields: Fields, n: int) -> Iterable[Tensor]:
    """At most n images of a split, decoded a few at a time."""
    return (part["x"] for part in parts(Decoded(dataset, {"x": fields["x"]}, n), AT_ONCE))


def _weights(named: str | None) -> Path:
    """The file of the weights: the named one, or torch-fidelity's in torch's cache, downloaded if
    it is not there."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    if named is not None:
        path = Path(named).expanduser()
        if not path.is_file():
            raise UserError(f"inception.weights_file={named}: no such file.")
        return path
    path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"metrics=[inception]: no {path.name} in {path.parent} and no download ({error}); put "
            "the file there, name it by inception.weights_file=FILE, or leave inception out: the "
            "other metrics need no download."
        ) from None
    return path


def _network(path: Path, named: str | None) -> Any:
    """torch-fidelity's network, frozen. It would run what code a file holds, so the file is read
    without code first."""
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
