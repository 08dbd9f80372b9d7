"""Options that would change nothing are refused, unless they are at their defaults."""

from pathlib import Path

import pytest
import yaml
from onetrunk.apps.classification.options import TrainOptions
from onetrunk.apps.cli import main
from onetrunk.apps.config import to_plain

TINY = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()


@pytest.mark.parametrize(
    ("idle", "needs"),
    [
        ("--loss.gamma 1", "--loss.name focal"),
        ("--loss.alpha 0.5", "--loss.name focal"),
        ("--head-options.hidden 64", "--head mlp"),
        ("--lora.rank 4", "--tune lora"),
        ("--lora.alpha 8", "--tune lora"),
        ("--optim.thaw-factor 0.1", "--freeze until:N"),
        ("--optim.warmup-fraction 0.2 --optim.schedule one_cycle", "--optim.schedule cosine or constant"),
    ],
)
def test_what_would_change_nothing_is_refused(idle: str, needs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classification", "train", "--data", "nowhere", *idle.split()]) == 2
    assert f"{idle.split(maxsplit=1)[0]}: has no effect without {needs}; leave it out" in capsys.readouterr().err


def test_a_complete_configuration_may_hold_every_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "all.yaml"
    config.write_text(yaml.safe_dump(to_plain(TrainOptions(data="nowhere"))))
    assert main(["classification", "train", "--config", str(config), *TINY]) == 2
    assert "has no effect" not in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["classification", "train", "--data", "nowhere", "--print_config"])
    config.write_text(capsys.readouterr().out)
    assert main(["classification", "train", "--config", str(config), *TINY]) == 2
    error = capsys.readouterr().err
    assert "has no effect" not in error
    assert "nowhere" in error


def test_where_there_is_nothing_to_cut_a_line_says_so(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classification", "train", "--data", str(pictures), "--output", str(tmp_path / "run"), *TINY]
    words += ["--epochs", "1", "--val-fraction", "0.5"]
    assert main([*words, "--split-seed", "3"]) == 0
    line = "without effect here: --val-fraction and --split-seed; the data have a validation split\n"
    assert line in capsys.readouterr().out
    assert main([*words, "--split-seed", "3", "--folds", "3", "--fold", "1", "--overwrite"]) == 0
    assert "without effect here: --val-fraction; --folds cuts all images\n" in capsys.readouterr().out
    words[3] = str(pictures / "train")
    assert main([*words, "--overwrite"]) == 0
    assert "without effect" not in capsys.readouterr().out
