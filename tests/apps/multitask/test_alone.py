"""Heads that were trained together against models that were trained alone, on the same images."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onetrunk.apps.multitask.alone import check_judged
from onetrunk.apps.multitask.model import load_multitask
from onetrunk.apps.runs.judged import read_judged
from onetrunk.backbones.errors import UserError

from .conftest import HEADS, card_of, train_together, with_data


def test_the_card_compares_with_runs_of_single_tasks(
    pair: tuple[Path, dict[str, Path]], data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a frozen trunk nothing is lost or gained by training together."""
    _, alone = pair
    words = f"--freeze all --epochs 2 --cache off --alone {' '.join(map(str, alone.values()))}"
    card = card_of(train_together(tmp_path / "run", with_data(HEADS, **data), words))
    assert list(card["alone"]) == list(HEADS)
    for task, row in card["alone"].items():
        assert row["difference"] == 0
        assert row["low"] <= 0 <= row["high"]
        assert row["folder"] == str(alone[task])
    assert "together - alone" in capsys.readouterr().out


def test_a_comparison_that_fails_loses_no_training(
    pair: tuple[Path, dict[str, Path]],
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And a finished run is compared later."""
    _, alone = pair
    own, words = with_data(HEADS, **data), "--freeze all --epochs 2 --cache on"

    def refuse(*given: Any) -> None:
        raise UserError("They were judged in different ways.")

    with monkeypatch.context() as patched:
        patched.setattr("onetrunk.apps.multitask.together.compare_alone", refuse)
        run = train_together(tmp_path / "run", own, f"{words} --alone {alone['classification']}", code=2)
    said = capsys.readouterr().err
    assert f"judged in different ways. The run in '{run}' is finished all the same; it is compared anew by" in said
    assert card_of(run)["alone"] == {}
    assert not (run / "features").exists()
    assert load_multitask(run).tasks
    train_together(run, own, f"{words} --resume --alone {' '.join(map(str, alone.values()))}")
    said = capsys.readouterr().out
    assert "nothing was left to do" in said
    assert "together - alone" in said
    assert list(card_of(run)["alone"]) == list(HEADS)
    train_together(run, own, f"{words} --resume")
    assert list(card_of(run)["alone"]) == list(HEADS)


def test_a_run_that_was_judged_on_other_images_is_refused_before_training(
    pair: tuple[Path, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, alone = pair
    run = alone["classification"]
    judged = read_judged(run)
    assert judged.contents is not None
    own = dict(zip(judged.names, judged.contents.tolist(), strict=True))
    check_judged({"classification": run}, {"classification": own})
    changed = {**own, judged.names[1]: 1}
    with pytest.raises(UserError, match=r"judged on 1 of 15 images under the same name but with other contents, such"):
        check_judged({"classification": run}, {"classification": changed})
    with pytest.raises(UserError, match=r"of classification will be on 'x\.png' and the like: they share no image\."):
        check_judged({"classification": run}, {"classification": {"x.png": 1}})
    monkeypatch.setattr("onetrunk.apps.multitask.alone.read_judged", lambda folder: SimpleNamespace(unit="subject"))
    with pytest.raises(UserError, match=r"was judged by subject, .* evaluate it without --by-subject"):
        check_judged({"classification": run}, {"classification": own})


def test_that_it_was_judged_on_other_images_is_said_before_anything_is_written(
    pair: tuple[Path, dict[str, Path]], shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"classification": {"data": str(shapes)}}
    words = f"--freeze all --epochs 1 --alone {pair[1]['classification']}"
    train_together(tmp_path / "run", own, words, code=2)
    assert "they share no image. Evaluate it on the same data, or leave it out." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
