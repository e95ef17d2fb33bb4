"""A GPU without a GPU: torch's fake tensors lie on a CUDA device and compute nothing, but refuse
what a device refuses.

That is a tensor of the host among those of the device, and a number of the device that the host
would have to wait for. There is no backward on a fake device: gradients are zeros of the right kind
here.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import FAMILIES, MODELS, TINY, compose, fitting, mostly_slow
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensorMode,
    unset_fake_temporarily,
)

from gan_cli import registry
from gan_cli.data.decoded import heldout_of
from gan_cli.training import build, rendering
from gan_cli.training.trainer import Trainer

GPU = torch.device("cuda", 0)


def _gradient(outputs: Tensor, inputs: Any, *_: Any, **__: Any) -> tuple[Tensor, ...]:
    at = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    return tuple(torch.zeros_like(x) + 0 * outputs.sum() for x in at)


def _backward(_: Tensor, inputs: list[Tensor]) -> None:
    for weight in inputs:
        weight.grad = torch.zeros_like(weight)


def _moved(network: nn.Module, device: Any = None, **_: Any) -> nn.Module:
    """Like `network.to(device)`, which for fake tensors wants to be the only one that holds
    them."""
    kept: dict[int, nn.Parameter] = {}
    for module in network.modules() if isinstance(device, torch.device) else ():
        for name, weight in module._parameters.items():
            if weight is not None:
                kept.setdefault(id(weight), nn.Parameter(weight.detach().to(device)))
                module._parameters[name] = kept[id(weight)]
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    return network


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**36, 2**36))
    monkeypatch.setattr(torch.autograd, "grad", _gradient)
    monkeypatch.setattr(Tensor, "backward", _backward)
    monkeypatch.setattr(nn.Module, "to", _moved)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def fake(*options: str) -> Trainer:
    config = compose(*options, *TINY, "hardware.cuda_graph=false")
    with unset_fake_temporarily():
        dataset = registry.datasets.build(config["data"], "data")
        build.keep_few_labels(dataset, config)
    trainer = build.build_trainer(config, dataset.to(GPU), GPU)
    trainer.seen = [
        dataset.sample(part, 8, "observed") for part in (dataset.train, dataset.heldout)
    ]  # type: ignore
    return trainer


@pytest.mark.parametrize("model", mostly_slow(MODELS, *FAMILIES))
def test_all_of_a_turn_lies_on_the_device(model: str, on_a_gpu: None) -> None:
    trainer = fake(*fitting(model, "data=digits"), "model.warm_up=null")
    for _ in range(2):
        trainer.play_round()
    with rendering.at_rest(trainer.game):
        observed = trainer.game.diagnostics(*trainer.seen)  # type: ignore[attr-defined]
    told = [
        *observed.values(),
        *(term for terms in trainer.terms.values() for term in terms.values()),
    ]
    assert {x.device for x in [*told, *trainer.game.state_dict().values()]} == {GPU}
    if trainer.game.renders:
        samples = rendering.render(
            trainer.eval_game,
            rendering.fixed_latents(trainer.game, 20),
            *rendering.given_by(trainer.game, heldout_of(trainer.batches.dataset), 20),
        )
        assert samples.device.type == "cpu" and len(samples) == 20


@pytest.mark.parametrize("augmentation", ["diff_augment", "instance_noise"])
def test_augmentations_lie_on_the_device(augmentation: str, on_a_gpu: None) -> None:
    trainer = fake("model=dcgan", "data=digits", f"augmentation={augmentation}")
    trainer.play_round()
    assert trainer.terms["discriminator"]["adversarial"].device == GPU


@pytest.mark.parametrize(
    "regularizer", ["dragan", "finite_difference", "one_sided_linear", "r1", "weight_clip"]
)
def test_regularizers_lie_on_the_device(regularizer: str, on_a_gpu: None) -> None:
    fake("model=wgan_gp", "data=digits", f"regularizer={regularizer}").play_round()


def test_what_lies_elsewhere_is_found(on_a_gpu: None) -> None:
    trainer = fake("model=gan", "data=points")
    loss = trainer.game.loss.generator
    trainer.game.loss.generator = lambda *scores: (
        loss(*scores) + torch.ones(1).mean(dim=0, keepdim=True)
    )
    with pytest.raises(RuntimeError, match="same device"):
        trainer.play_round()
    trainer.game.loss.generator = lambda *scores: loss(*scores) * loss(*scores).item()
    with pytest.raises(DataDependentOutputException):
        trainer.play_round()
