"""A GAN of one's own, in a folder outside the project: the page that the README shows, run as it is shown."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from gan_cli import registry
from gan_cli.errors import UserError

Command = Callable[..., tuple[int, str]]
QUICK = ("data=points", "steps=2", "batch_size=4", "network.width=4", "evaluate_every=0", "sample_every=0")
TYPED = ("plugins=[my_gan/my_gan.py]", "--config-dir", "my_gan", "model=relativistic", *QUICK, "hydra.run.dir=run")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Path]:
    """The README's page, written to its two files; forgotten afterwards."""
    blocks = re.findall(r"```(?:python|yaml)\n# (my_gan/\S+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["my_gan/my_gan.py", "my_gan/model/relativistic.yaml"]
    for name, text in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path / "my_gan"
    registry.PLUGINS.clear()
    for name in [name for name in sys.modules if name.startswith("gan_plugin")]:
        del sys.modules[name]
    registry.games._built.pop("relativistic", None)


def test_a_page_of_ones_own_trains_resumes_and_samples(command: Command, page: Path, tmp_path: Path) -> None:
    code, printed = command("gan-train", *TYPED)
    assert code == 0, printed
    code, printed = command("gan-train", *TYPED, "steps=4")
    assert code == 0 and "going on at step 2" in printed
    file = "checkpoint=run/checkpoints/last.pt"
    assert command("gan-sample", file, "plugins=[my_gan/my_gan.py]", "n=3")[0] == 0


def test_a_checkpoint_never_imports_a_plugin_by_itself(command: Command, page: Path, tmp_path: Path) -> None:
    assert command("gan-train", *TYPED)[0] == 0
    (page / "my_gan.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    code = "from gan_cli.main import sample; sample()"
    typed = [sys.executable, "-c", code, "checkpoint=run/checkpoints/last.pt"]
    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "if you trust them, add plugins=[my_gan/my_gan.py]" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_mistake_in_a_plugin_answers_before_it_is_imported(command: Command, page: Path) -> None:
    code, printed = command("gan-train", *TYPED, "model.latnt=3")
    assert code == 2 and "(did you mean latent?)" in printed
    assert not [name for name in sys.modules if name.startswith("gan_plugin")]


def test_two_plugins_of_one_name_and_a_computed_default(tmp_path: Path) -> None:
    source = (
        "from gan_cli.registry import losses\nX = 1.0\n"
        "@losses.register('{0}')\nclass A:\n    def __init__(self, a: float = X): ...\n"
    )
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(source.format(f"mine_{folder}"))
        registry.add_plugin(str(tmp_path / folder / "same.py"))
    try:
        assert {"mine_a", "mine_b"} <= registry.losses.components.keys()
        assert registry.losses.settle({"name": "mine_b"}, "loss") == {"name": "mine_b"}
    finally:
        registry.PLUGINS.clear()


@pytest.mark.parametrize("named", ["nowhere", "nowhere.py", "README.md", "broken.py"])
def test_what_is_no_plugin_is_said(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("def (")
    with pytest.raises(UserError, match=re.escape(f"plugins={named}: ")):
        registry.add_plugin(named)
    assert not registry.PLUGINS
