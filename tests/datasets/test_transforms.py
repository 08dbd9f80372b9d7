import numpy as np
import pytest
import torch
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import eval_transform, seeded, train_transform
from PIL import Image
from torchvision.transforms import InterpolationMode, v2


@pytest.fixture
def picture(tmp_path, draw) -> Image.Image:
    return Image.open(draw(tmp_path / "a.png", height=61, width=97)).convert("RGB")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("turned", [False, True])
def test_crop_equals_the_published_imagenet_evaluation(picture, interpolation, turned):
    picture = picture.transpose(Image.Transpose.ROTATE_90) if turned else picture
    mode = InterpolationMode(interpolation)
    published = v2.Compose([v2.Resize(256, interpolation=mode), v2.CenterCrop(224), v2.PILToTensor()])
    image, valid = eval_transform((224, 224), interpolation, 0.875)(picture)
    assert torch.equal(image, published(picture))
    assert image.dtype == torch.uint8
    assert valid == (224, 224)


@pytest.mark.parametrize("canvas", [(32, 64), (64, 32), (32, 32), (1, 1)])
@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(61, 97), (97, 61), (1, 300), (7, 5), (32, 64)])
def test_every_shape_comes_out_as_the_canvas(canvas, mode, size):
    picture = Image.fromarray(np.full((*size, 3), 200, dtype=np.uint8))
    image, valid = eval_transform(canvas, mode=mode, fill=(0.5, 0.25, 0.0))(picture)
    assert image.shape == (3, *canvas)
    part = image[:, : valid[0], : valid[1]]
    assert (part == 200).all(), "the valid part is picture"
    outside = image.clone()
    outside[:, : valid[0], : valid[1]] = torch.tensor([128, 64, 0], dtype=torch.uint8)[:, None, None]
    assert (outside == torch.tensor([128, 64, 0])[:, None, None]).all(), "the rest is the fill colour"
    assert mode == "pad" or valid == canvas


def test_pad_keeps_the_proportions():
    picture = Image.new("RGB", (100, 50))
    assert eval_transform((64, 64), mode="pad")(picture)[1] == (32, 64)


def test_grey_pictures_have_one_channel():
    picture = Image.new("L", (40, 30), 9)
    assert eval_transform((32, 32), mode="pad", fill=(0.2,))(picture)[0][0, -1, 0] == 51
    assert train_transform((32, 32), color_jitter=0.4)(picture)[0].shape == (1, 32, 32)


def test_training_crops_differ_by_seed_and_are_repeatable(picture):
    transform = train_transform((32, 64), color_jitter=0.4)

    def crop(*seed: int) -> torch.Tensor:
        with seeded(*seed):
            image, valid = transform(picture)
        assert valid == (32, 64)
        return image

    assert crop(0, 0, 1).shape == (3, 32, 64)
    assert torch.equal(crop(0, 0, 1), crop(0, 0, 1))
    different = [crop(0, 0, 1), crop(0, 0, 2), crop(0, 1, 1), crop(1, 0, 1)]
    assert not any(torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])


def test_without_flip_and_cropping_training_sees_the_picture_itself():
    picture = Image.fromarray(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32))
    image, _ = train_transform((32, 32), min_scale=1.0, flip=0.0)(picture)
    assert torch.equal(image[0], torch.from_numpy(np.array(picture)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(16, 64), (64, 16), (100, 30)])
def test_without_cropping_training_sees_all_of_a_long_picture(size, interpolation):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    whole, _ = eval_transform((32, 32), interpolation, mode="stretch")(picture)
    for seed in range(3):
        with seeded(seed):
            image, valid = train_transform((32, 32), interpolation, min_scale=1, flip=0)(picture)
        assert torch.equal(image, whole)
        assert valid == (32, 32)


def test_without_cropping_mirroring_and_recolouring_stay(picture):
    whole, _ = train_transform((32, 32), min_scale=1, flip=0)(picture)
    mirrored, _ = train_transform((32, 32), min_scale=1, flip=1)(picture)
    assert torch.equal(mirrored, whole.flip(-1))
    assert not torch.equal(train_transform((32, 32), min_scale=1, flip=0, color_jitter=0.4)(picture)[0], whole)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: train_transform((32, 32), min_scale=0), "above 0 and at most 1, not 0"),
        (lambda: train_transform((32, 32), flip=2), "between 0 and 1; 2"),
        (lambda: train_transform((32, 32), color_jitter=-1), "0 or more, not -1"),
        (lambda: train_transform((0, 32)), "not 0 x 32"),
        (lambda: eval_transform((32, 32), crop_fraction=1.5), "at most 1, not 1.5"),
        (lambda: eval_transform((32, 32), "bilinaer"), "Did you mean 'bilinear'"),
        (lambda: eval_transform((32, 32), mode="strech"), "Did you mean 'stretch'"),
    ],
)
def test_impossible_options_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
