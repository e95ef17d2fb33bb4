"""Networks: sizes, initialisations and layers as their papers say; and that no turn waits."""

import pytest
import torch
from conftest import make_trainer

from gan_cli.errors import UserError
from gan_cli.networks import affine, dcgan, layers
from gan_cli.noise import generator, mix


def test_positions_are_mixed_well() -> None:
    seeds = {
        mix("turn", seed, step, turn) & 0xFFFFFFFF
        for seed in range(5)
        for step in range(200)
        for turn in range(6)
    }
    assert len(seeds) > 5990
    a, b = (torch.randn(1000, generator=generator("sample", i)) for i in (0, 1))
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.1


@pytest.mark.parametrize("size", dcgan.SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_dcgan_of_every_size(size: int, channels: int, norm: str) -> None:
    shape = (channels, size, size)
    G = dcgan.Generator(shape, latent=5, width=2)
    D = dcgan.Discriminator(shape, width=2, critic_norm=norm)  # type: ignore[arg-type]
    x = G(torch.randn(2, 5))
    assert x.shape == (2, *shape) and x.abs().max() <= 1
    assert D(x).shape == (2,)


def test_dcgan_is_built_as_the_paper_says() -> None:
    trainer = make_trainer("model=dcgan", "data=digits", "data.image_size=32", "network.width=64")
    G, D = trainer.game.get_submodule("G").layers, trainer.game.get_submodule("D").layers
    weights = [
        m.weight for m in [*G, *D] if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)
    ]
    for weight in weights:
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert isinstance(G[-1], torch.nn.Tanh) and isinstance(G[-2], torch.nn.ConvTranspose2d)
    assert isinstance(D[1], torch.nn.LeakyReLU) and isinstance(D[3], torch.nn.BatchNorm2d)
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in D) == 2


def test_he_initialisation_keeps_the_scale() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.ConvTranspose2d(64, 64, 4, 2, 1),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(64, 64, 4, 2, 1),
        torch.nn.ReLU(),
    )
    layers.initialise(network, "he")
    x = torch.randn(4, 64, 24, 24).relu()
    assert network(x).square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.25)


def test_an_affine_generator_shifts_and_scales_each_coordinate() -> None:
    G = affine.Generator((2,), latent=2, shift=[1.0, 0.0], scale=[0.0, 3.0], learns="shift")
    assert torch.equal(G(torch.tensor([[5.0, 2.0]])), torch.tensor([[1.0, 6.0]]))
    assert [name for name, _ in G.named_parameters()] == ["shift"]
    assert affine.Discriminator((2,), weight=[2.0, -1.0])(torch.tensor([[3.0, 4.0]])).tolist() == [
        2.0
    ]
    with pytest.raises(UserError, match=r"model\.latent=3: .* take model\.latent=2"):
        affine.Generator((2,), latent=3)
    with pytest.raises(
        UserError,
        match=r"network\.generator\.shift=\[1\.0\]: expected one "
        r"number, or 2",
    ):
        affine.Generator((2,), latent=2, shift=[1.0])


def test_maxout_takes_the_largest_piece() -> None:
    x = torch.tensor([[1.0, 5, 2, -1, 0, 9, 8, 7, 6, 5]])
    assert layers.Maxout(5)(x).tolist() == [[5, 9]]


def test_no_command_of_a_turn_waits_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a round no tensor is turned into a Python number: nothing would wait for a device."""
    trainer = make_trainer("data=digits", "network.width=4", "batch_size=4")
    trainer.play_round()  # optimizers make their state in the first round

    def refuse(*_: object) -> None:
        raise AssertionError("a turn waited for the host")

    for name in ("item", "__bool__", "__float__", "__int__", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    trainer.play_round()
