"""The thousand classes and finding names among them."""

import pytest
from onetrunk.backbones import UserError, imagenet_classes, match_imagenet_classes


def test_classes_in_order():
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert classes[0] == ("n01440764", ("tench", "Tinca tinca"))
    assert classes[309][1] == ("bee",)
    assert [wnid for wnid, _ in classes] == sorted(wnid for wnid, _ in classes)


def test_ids_and_names_in_any_spelling():
    names = ["n02206856", "Ant", "great_white_shark", "great-GREY_owl", "Tinca Tinca"]
    indices = match_imagenet_classes(names)
    assert indices == [309, 310, 2, 24, 0]
    assert match_imagenet_classes(["tench, Tinca tinca"]) == [0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["crane"], r"several ImageNet classes: n02012849 \(crane\), n03126707 \(crane\).*WordNet id"),
        (["bees"], "no name of an ImageNet class. Near: .*bee"),
        (["n00000001"], "none of the thousand"),
        (["ant", "pismire"], "ant and pismire are the same ImageNet class"),
    ],
)
def test_what_is_refused(names, message):
    with pytest.raises(UserError, match=message):
        match_imagenet_classes(names)
