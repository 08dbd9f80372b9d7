"""``onetrunk backbones support``: which heads go with which trunks."""

import json
import re

import pytest
from onetrunk.apps.backbones.support import HEADS, SupportOptions, support
from onetrunk.apps.detection.options import HEADS as DETECTORS
from onetrunk.backbones import BACKBONES, UserError


def test_the_whole_catalogue(capsys):
    support(SupportOptions(json=True))
    rows = {row["name"]: row["heads"] for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(BACKBONES)
    assert all(list(heads) == list(HEADS) for heads in rows.values())
    refused = {name for name, heads in rows.items() if any(each["how"] == "no" for each in heads.values())}
    assert refused == {"lenet"}
    assert rows["lenet"]["unet"] == {"how": "yes", "reason": None}
    assert rows["resnet18"]["pan"]["how"] == rows["vgg16"]["deeplabv3"]["how"] == "dilated"
    assert all(rows["vgg16"][head] == rows["alexnet"][head] == {"how": "yes", "reason": None} for head in DETECTORS)
    assert rows["lenet"]["ssd"]["reason"].startswith("ssd reads c3 and c4, and this trunk has c0, c1, c2. Take")
    assert rows["alexnet"]["pan"]["how"] == rows["googlenet"]["deeplabv3plus"]["how"] == "resampled"


def test_reasons_stand_below_the_table_once(capsys):
    names = ["timm/vit_tiny_patch16_224", "timm/vit_small_patch16_224", "resnet18"]
    support(SupportOptions(names=names, heads=["linear", "unet", "fpn"]))
    table, _, below = capsys.readouterr().out.partition("└")
    lines = table.splitlines()
    assert lines[1].replace("┃", " ").split() == ["trunk", "linear", "unet", "fpn"]
    cells = {row[0]: row[1:] for row in ([cell.strip() for cell in line.split("│")[1:-1]] for line in lines[3:]) if row}
    assert cells == {names[0]: ["yes", "- 1", "- 1"], names[1]: ["yes", "- 1", "- 1"], "resnet18": ["yes"] * 3}
    notes = below.splitlines()[1:3]
    assert notes[0].startswith("1: dense heads need maps of several sizes, and this trunk has one size only (c4, ")
    assert not notes[1].startswith("2:")
    assert "faster_rcnn, mask_rcnn, retinanet, fcos, ssd: detection." in below


@pytest.mark.parametrize("width", [60, 100, 200])
def test_a_terminal_gets_tables_that_fit(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda self: True))
    support(SupportOptions(names=["lenet", "efficientnet_lite0"]))
    output = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    lines = [line for line in output.splitlines() if line[:1] in "┃│┡└"]
    assert max(map(len, lines)) <= width
    assert all(sum(head in line for line in lines) >= 1 for head in HEADS)
    assert all("…" not in line for line in lines)
    assert sum(line.startswith("┡") for line in lines) == {60: 9, 100: 4, 200: 2}[width]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": ["unet", "deeplab"]}, "Unknown head 'deeplab'. Known: linear, .*Did you mean 'deeplabv3'?"),
        ({"names": ["resnet5"]}, "Unknown backbone 'resnet5'.*Did you mean 'resnet50'?"),
        ({"names": ["resnet5"], "heads": ["linear"]}, "Did you mean 'resnet50'?"),
    ],
)
def test_unknown_names(options, message):
    with pytest.raises(UserError, match=message):
        support(SupportOptions(**options))
