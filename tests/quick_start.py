"""Run docs/quick_start.md as a newcomer types it: every line, in a copy of the project, from a
clean install.

    python3 tests/quick_start.py [FOLDER]

The folder, a new one if none is given, keeps what was made.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "quick_start.md"
MADE = ("digits.png", "walk.gif", "nearest.png", "losses.html", "mine.png", "generator.pt2")


def script(page: str) -> str:
    """The page as one script: its commands, and its files where they stand."""
    lines = ["set -e"]
    for language, text in re.findall(
        r"^```(bash|python|yaml)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    ):
        named = re.match(r"# (\S+)\n", text)
        if language == "bash":
            lines += ["set -x", text, "{ set +x; } 2>/dev/null"]
        elif named:
            lines.append(f"mkdir -p {Path(named[1]).parent}\ncat > {named[1]} <<'END'\n{text}END")
    return "\n".join(lines)


def copy(folder: Path) -> None:
    """What git has of the project."""
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="quick-start-"))
    folder.mkdir(parents=True, exist_ok=True)
    copy(folder)
    began = time.monotonic()
    code = subprocess.run(
        ["bash", "-c", script(PAGE.read_text(encoding="utf-8"))], cwd=folder
    ).returncode
    missing = [name for name in MADE if not (folder / name).is_file()]
    spent = time.monotonic() - began
    print(
        f"{folder}: exit {code}, {spent / 60:.1f} minutes"
        + (f"; not made: {', '.join(missing)}" if missing else "")
    )
    sys.exit(code or bool(missing))


if __name__ == "__main__":
    main()
