"""How evenly samples change on the way from one latent to another."""

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.features import feature_map
from gan_cli.metrics.lpips import Perceptual
from gan_cli.metrics.scoring import Walks, WalkScoring
from gan_cli.registry import Count, Positive, metrics

TRIMMED = 0.01  # share of the smallest and of the largest lengths that are left out, each
SPACES = ("z", "w")  # those that the paper measures


@metrics.register("path_length")
class PathLength(WalkScoring):
    """The perceptual path length: the mean of d(G(c(t)), G(c(t + epsilon))) / epsilon^2 over ways
    c(t) between two latents, at a random place t of each.

    Reference: Karras et al., 2019, "A Style-Based Generator Architecture for Generative Adversarial
    Networks", arXiv 1812.04948, section 4.1. d is LPIPS where its weights are at hand (there that
    of VGG16, here of AlexNet), else the squared distance of the features of the data's classifier,
    and of data without classes that of pixels; `provenance` says which. Lengths of different d are
    not comparable. As there, the hundredth of the ways with the least lengths and that with the
    largest are left out, and noise within the network stays the same.

    - path_length_z: in z; normal numbers follow a great circle, and lengths go evenly (there all
      are at length 1, since the network norms z).
    - path_length_w: in w, along straight lines, of games with styles.

    Args:
        n: ways.
        epsilon: length of a step, as a share of the way.
    """

    kinds = ("image",)
    only_if_named = True  # it renders twice as many samples as ways, in each space
    scores = ("path_length_z",)
    conditional = ("path_length_w",)
    objectives = ()  # a generator of one picture has 0
    lower_is_better = ("path_length_z", "path_length_w")
    split = "ways between two latents"

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        n: Count = 2000,
        epsilon: Positive = 1e-4,
    ) -> None:
        self.samples, self.resizing, self.epsilon = n, dataset.resizing, epsilon
        self.perceptual = Perceptual(device) if Perceptual.at_hand() else None
        if self.perceptual is not None:
            self.backbone, self.weights = Perceptual.name, "AlexNet's of torchvision"
            measure = "LPIPS"
        else:
            self.map = feature_map(dataset, device)
            self.backbone, self.weights = self.map.backbone, self.map.weights
            measure = "squared Euclidean distance"
        self.method = f"{measure}, epsilon {epsilon:g}, 1 % of the ways left out at both ends"

    def compute_walks(self, walks: Walks) -> dict[str, float]:
        return {
            f"path_length_{space}": self._length(walks, space)
            for space in SPACES
            if space in walks.spaces
        }

    def _length(self, walks: Walks, space: str) -> float:
        steps = walks.steps(space, self.samples, self.epsilon)
        lengths = torch.cat([self.distance(*pair).double() for pair in steps]) / self.epsilon**2
        return trimmed_mean(lengths)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances of samples, (n,) on the CPU; quadratic in small differences."""
        if self.perceptual is not None:
            return self.perceptual(a, b)
        return (self.map.features(a) - self.map.features(b)).square().sum(dim=1)

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return f"path length over {self.samples} ways, by {self.backbone}"


def trimmed_mean(values: Tensor) -> float:
    """The mean without the hundredth of the least and that of the largest values, (n,)."""
    least, largest = values.quantile(TRIMMED), values.quantile(1 - TRIMMED)
    return float(values[(values >= least) & (values <= largest)].mean())
