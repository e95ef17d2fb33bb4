"""Devices leased to jobs: never more at once than there is room for, whatever ends them."""

import multiprocessing
import os
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, compose

from gan_cli.devices import lease
from gan_cli.errors import UserError

QUICK = (
    "data=points",
    "network.width=8",
    "batch_size=8",
    "evaluate_every=0",
    "steps=2",
    "hardware.threads=1",
)


@pytest.fixture(autouse=True)
def own_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of other tests, or of somebody who trains on this machine."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "slots"))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_devices", lambda wanted: ["a", "b"])
    monkeypatch.setattr(lease, "POLL", 0.01)


def asks(share: float | None) -> dict[str, Any]:
    return {"devices_per_job": share, "device": "auto"}


def test_nothing_is_leased_unless_asked_for(tmp_path: Path) -> None:
    with lease.lease(asks(None)) as taken:
        assert taken is None and not (tmp_path / "slots").exists()


def test_two_jobs_get_two_devices_and_a_third_waits(
    gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as first:
        assert first.enter_context(lease.lease(asks(1))) == [0]
        with lease.lease(asks(1)) as second:
            assert second == [1]
            # while the third waits, the first ends
            monkeypatch.setattr(time, "sleep", lambda seconds: first.close())
            with lease.lease(asks(1)) as third:
                assert third == [0]


def test_shares_of_a_device_fill_it_before_the_next(gpus: None) -> None:
    with ExitStack() as held:
        shares = [
            held.enter_context(lease.lease(asks(share))) for share in (0.5, 0.25, 0.25, 1 / 3)
        ]
        assert shares == [[0], [0], [0], [1]]


@pytest.mark.parametrize(
    ("share", "most"),
    [(1 / 12, 12), (0.1, 6), (0.2, 4), (0.25, 4), (1 / 3, 3), (0.35, 2), (0.5, 2)],
)
def test_shares_never_come_to_more_than_a_device(share: float, most: int, gpus: None) -> None:
    with ExitStack() as held:
        places = [held.enter_context(lease.lease(asks(share))) for _ in range(most + 1)]
        assert places == [[0]] * most + [[1]]


def test_a_whole_device_is_not_given_where_a_part_is_in_use(gpus: None) -> None:
    with lease.lease(asks(1 / 12)) as part, lease.lease(asks(1)) as whole:
        assert part == [0] and whole == [1]


def test_several_devices_are_taken_all_or_none(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease.lease(asks(1)):

        def sleep(seconds: float) -> None:
            with lease.lease(asks(1)) as other:  # what the waiting job had tried is free again
                assert other == [1]
            raise InterruptedError

        monkeypatch.setattr(time, "sleep", sleep)
        with pytest.raises(InterruptedError), lease.lease(asks(2)):
            pass
    with lease.lease(asks(2)) as both:
        assert both == [0, 1]


def _hold(folder: str, ready: Any) -> None:
    tempfile.gettempdir = lambda: folder
    with lease.lease({"devices_per_job": 1, "device": "cpu"}):
        ready.set()
        time.sleep(600)


def test_a_job_that_is_killed_gives_its_device_back(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path / "slots"), ready))
    process.start()
    assert ready.wait(100)
    with ExitStack() as attempt:
        assert not lease._take("cpu", 1, attempt)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert lease._take("cpu", lease.SLOTS, attempt)


def test_a_run_leases_and_gives_back(command: Command, tmp_path: Path) -> None:
    code, printed = command("gan-train", "hardware=cpu", "hardware.devices_per_job=0.5", *QUICK)
    assert code == 0, printed
    with lease.lease({"devices_per_job": 1, "device": "cpu"}) as taken:
        assert taken == [0]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("hardware.devices_per_job=0",), "devices_per_job=0: expected a share from 1/12 to 1"),
        (("hardware.devices_per_job=1.5",), "devices_per_job=1.5: expected"),
        (
            ("hardware.devices_per_job=1", "hardware.devices=2"),
            "devices_per_job=1: expected 2 (hardware.devices)",
        ),
        (("hardware.devices_per_job=-1",), "devices_per_job=-1"),
    ],
)
def test_shares_that_make_no_sense_are_refused(typed: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as told:
        compose(*typed)
    assert said in str(told.value)


def test_more_devices_than_there_are_is_refused(gpus: None) -> None:
    with (
        pytest.raises(UserError, match="devices_per_job=3: this machine has 2"),
        lease.lease(asks(3)),
    ):
        pass
