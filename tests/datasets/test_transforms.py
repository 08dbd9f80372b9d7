import pickle

import numpy as np
import pytest
import torch
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import eval_transform, seeded, train_transform
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2._auto_augment import _AutoAugmentBase


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


def test_turning_upside_down(picture):
    whole, _ = train_transform((32, 32), min_scale=1, flip=0)(picture)
    turned, _ = train_transform((32, 32), min_scale=1, flip=0, vertical_flip=1)(picture)
    assert torch.equal(turned, whole.flip(-2))


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_without_policy_and_erasing_training_pictures_are_those_of_earlier_releases(picture, jitter):
    steps = [v2.RandomResizedCrop((32, 48), (0.35, 1.0)), v2.RandomHorizontalFlip(0.5)]
    steps += [v2.ColorJitter(jitter, jitter, jitter)] if jitter else []
    earlier = v2.Compose([*steps, v2.PILToTensor()])
    for seed in range(20):
        with seeded(seed):
            expected = earlier(picture)
        with seeded(seed):
            assert torch.equal(train_transform((32, 48), color_jitter=jitter)(picture)[0], expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("policy", ["none", "randaugment", "trivialaugment"])
def test_every_augmentation_of_colour_and_grey_is_a_function_of_the_seed(picture, monkeypatch, mode, policy):
    picture = picture.convert(mode)
    operations = set()
    apply = _AutoAugmentBase._apply_image_or_video_transform

    def note(self, image, operation, *rest, **options):
        operations.add(operation)
        return apply(self, image, operation, *rest, **options)

    monkeypatch.setattr(_AutoAugmentBase, "_apply_image_or_video_transform", note)
    make = {"vertical_flip": 0.5, "color_jitter": 0.2, "erasing": 0.5, "policy": policy}
    transform = train_transform((24, 32), **make)
    copy = pickle.loads(pickle.dumps(train_transform((24, 32), **make)))
    results = set()
    for seed in range(200):
        with seeded(seed):
            image, valid = transform(picture)
        with seeded(seed):
            assert torch.equal(image, copy(picture)[0])
        assert (image.dtype, image.shape, valid) == (torch.uint8, (len(mode) // 3 * 2 + 1, 24, 32), (24, 32))
        results.add(image.numpy().tobytes())
    assert len(results) == 200
    assert len(operations) == (0 if policy == "none" else 14), "the seeds reach every operation"


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_what_geometric_operations_uncover_is_mid_grey(policy, interpolation, mode):
    picture = Image.new(mode, (40, 40), (128,) * len(mode) if mode == "RGB" else 128)
    moved = Image.new(mode, (40, 40), (250,) * len(mode) if mode == "RGB" else 250)
    transform = train_transform((32, 32), interpolation, policy=policy)
    uncovered = 0
    for seed in range(60):
        with seeded(seed):
            image, _ = transform(picture)
        assert image.min() == image.max(), "on mid grey no border shows"
        with seeded(seed):
            uncovered += int((transform(moved)[0] == 128).any())
    assert uncovered > 10


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_erasing_puts_uniform_noise_in_a_rectangle(mode):
    picture = Image.new(mode, (64, 64))
    noise = []
    for seed in range(40):
        with seeded(seed):
            image, _ = train_transform((64, 64), min_scale=1, erasing=1)(picture)
        rows, columns = image.any(0).nonzero().unbind(1)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        rectangle = image[:, top:bottom, left:right]
        assert 0.01 < rectangle[0].numel() / 64**2 < 0.35
        assert not torch.equal(rectangle[0], rectangle[-1]) or mode == "L", "channels are drawn apart"
        noise.append(rectangle.flatten().float())
    values = torch.cat(noise)
    assert values.unique().numel() == 256
    # mean and deviation of the uniform distribution over 0 to 255, to five standard errors
    assert abs(values.mean() - 127.5) < 5 * 73.9 / values.numel() ** 0.5
    assert abs(values.std() - 73.9) < 1


def test_erasing_happens_as_often_as_asked():
    picture = Image.new("L", (32, 32))
    erased = 0
    for seed in range(300):
        with seeded(seed):
            erased += int(train_transform((32, 32), min_scale=1, erasing=0.25)(picture)[0].any())
    assert 50 < erased < 100


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: train_transform((32, 32), min_scale=0), "above 0 and at most 1, not 0"),
        (lambda: train_transform((32, 32), flip=2), "a mirror image lies between 0 and 1; 2"),
        (lambda: train_transform((32, 32), vertical_flip=-1), "turning upside down lies between 0 and 1; -1"),
        (lambda: train_transform((32, 32), erasing=1.5), "erasing lies between 0 and 1; 1.5"),
        (lambda: train_transform((32, 32), policy="randaugmnet"), "policy 'randaugmnet'.* Did you mean 'randaugment'"),
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
