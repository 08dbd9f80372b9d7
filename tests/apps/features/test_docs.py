"""The examples of the documentation run as they stand."""

import re
import shutil
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"


def test_the_examples_of_features_run(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in pictures.rglob("0[0-4].png"):
        (tmp_path / "pets" / picture.relative_to(pictures)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, tmp_path / "pets" / picture.relative_to(pictures))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "features.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out
    for name in ("logistic regression", "support vectors", "gradient boosting", "nearest neighbours"):
        assert re.search(rf"{name} +\d\.\d", said)
    assert "imagenet [224, 224]" in said
