"""``FeatureExtractor`` as scikit-learn uses it."""

import io
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from onetrunk.apps import features
from onetrunk.apps.features import FeatureExtractor
from onetrunk.apps.features import extractor as extractor_module
from onetrunk.backbones import UserError
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags
from sklearn.utils.estimator_checks import check_estimator


def tiny(**more: Any) -> FeatureExtractor:
    settings = {"backbone": "timm/test_resnet", "weights": "none", "image_size": 32, "batch_size": 8, "device": "cpu"}
    return FeatureExtractor(**{**settings, **more})


@pytest.fixture(scope="module")
def loaded(feature_file: Path) -> features.Loaded:
    """What ``extract`` made of the shared pictures."""
    return features.load(feature_file)


@pytest.fixture(scope="module")
def paths(feature_file: Path) -> list[str]:
    """The pictures' files, in the order of the rows."""
    return features.read_features(feature_file).columns["path"]


def test_it_gives_the_numbers_of_the_export(paths: list[str], loaded: features.Loaded) -> None:
    found = tiny().fit_transform(paths)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, loaded.X, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda paths: [Path(path) for path in paths], id="Path"),
        pytest.param(np.array, id="array of text"),
        pytest.param(lambda paths: np.array(paths, dtype=object)[:, None], id="column"),
        pytest.param(pd.Series, id="pandas"),
        pytest.param(lambda paths: [Image.open(path) for path in paths], id="PIL"),
        pytest.param(lambda paths: [np.asarray(Image.open(path)) for path in paths], id="arrays"),
        pytest.param(lambda paths: np.stack([np.asarray(Image.open(path)) for path in paths]), id="one array"),
        pytest.param(lambda paths: np.stack([np.asarray(Image.open(path)) for path in paths]) / 255, id="floats"),
    ],
)
def test_it_takes_pictures_however_they_come(convert: Any, paths: list[str], loaded: features.Loaded) -> None:
    found = tiny().fit_transform(convert(paths))
    np.testing.assert_allclose(found, loaded.X, rtol=1e-5, atol=1e-6)


def test_grey_alpha_and_turned_pictures_are_read_as_files_are(tmp_path: Path) -> None:
    pictures = [
        Image.effect_noise((30, 40), 60),
        Image.new("RGBA", (30, 40), (200, 0, 0, 100)),
        Image.new("I;16", (9, 9)),
    ]
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    turned = Image.open(tmp_path / "0.png").convert("RGB")
    exif = turned.getexif()
    exif[274] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    files.append(tmp_path / "turned.jpg")
    network = tiny().fit()
    in_memory = [*pictures, Image.open(tmp_path / "turned.jpg")]
    np.testing.assert_allclose(network.transform(in_memory), network.transform(files), rtol=1e-5, atol=1e-6)
    grey = np.asarray(pictures[0])
    alike = network.transform([grey, grey[..., None], Image.fromarray(grey)])
    np.testing.assert_allclose(alike, np.repeat(network.transform(files[:1]), 3, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a.jpg", r"X is a list of pictures, not one of them"),
        (np.zeros((4, 10)), r"an array of shape \(4, 10\): pictures are \[N, H, W\]"),
        ([np.zeros((5, 5, 7), np.uint8)], r"picture 0 of X is an array of shape \(5, 5, 7\)"),
        ([np.full((5, 5), 7.0)], r"picture 0 of X holds floats from 7.0 to 7.0; they lie between 0 and 1"),
        ([np.full((5, 5), np.nan)], r"holds floats from nan"),
        ([np.zeros((5, 5), np.int64)], r"is an array of int64: pictures are uint8"),
        ([3], r"picture 0 of X is a int: pictures are paths, PIL images or arrays"),
        (["missing.jpg"], r"missing.jpg: there is no such file"),
    ],
)
def test_what_is_no_picture_is_said(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny().fit_transform(given)


def test_a_broken_file_is_named(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes((pictures / "val/red/00.png").read_bytes()[:500])
    with pytest.raises(UserError, match=r"broken.png: .*truncated"):
        tiny().fit_transform([str(pictures / "val/red/01.png"), str(tmp_path / "broken.png")])


def test_a_truncated_picture_in_memory_is_named(pictures: Path) -> None:
    content = (pictures / "val/red/00.png").read_bytes()[:500]
    with pytest.raises(UserError, match=r"picture 1 of X: the picture can't be decoded, it is damaged or truncated"):
        tiny().fit_transform([Image.new("RGB", (9, 9)), Image.open(io.BytesIO(content))])


def test_weights_that_change_on_the_disk_are_read_again(trained_run: Path, paths: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    before = tiny(weights=str(run)).fit_transform(paths[:2])
    tensors = load_file(run / "model" / "model.safetensors")
    for name in [name for name, tensor in tensors.items() if name.startswith("backbone.") and tensor.dim() == 4]:
        tensors[name] *= 1.5
    save_file(tensors, run / "model" / "model.safetensors")
    assert not np.allclose(tiny(weights=str(run)).fit_transform(paths[:2]), before)


def test_its_parameters_may_come_from_a_grid_of_numpy(paths: list[str]) -> None:
    fitted = tiny(image_size=np.int64(32)).fit()
    np.testing.assert_array_equal(fitted.transform(paths[:2]), tiny().fit_transform(paths[:2]))
    assert fitted.set_params(layer="c3").fit_transform(paths[:2]).shape == (2, 48)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "none"}, r"Unknown pooling 'none'. Known: avg, max, flat"),
        (
            {"layer": ["c3", "c4"]},
            r"layer is the name of one layer, not \['c3', 'c4'\]. For several, take a FeatureUnion",
        ),
        ({"batch_size": 0}, r"batch_size is 1 or more, not 0"),
        ({"layer": "c9"}, r"Unknown level 'c9'"),
    ],
)
def test_settings_that_cannot_be_are_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(**settings).fit()


def test_what_the_package_offers_can_be_found() -> None:
    assert {"FeatureExtractor", "load", "read_features", "extract"} <= set(dir(features))


def test_it_clones_and_pickles_small(paths: list[str]) -> None:
    fitted = tiny(layer="c3", pooling="max").fit()
    assert clone(fitted).get_params() == fitted.get_params()
    content = pickle.dumps(fitted)
    assert len(content) < 2000  # the recipe, not the weights
    np.testing.assert_array_equal(pickle.loads(content).transform(paths[:3]), fitted.transform(paths[:3]))
    assert fitted.get_feature_names_out()[:2].tolist() == ["c30", "c31"]
    assert fitted.transform([]).shape == (0, 48)


def test_its_output_can_be_a_data_frame(paths: list[str]) -> None:
    frame = tiny().set_output(transform="pandas").fit_transform(paths[:2])
    assert frame.shape == (2, 96)
    assert frame.columns[0] == "embedding0"


def test_the_generator_is_left_alone() -> None:
    extractor_module._build.cache_clear()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    tiny().fit()
    assert torch.rand(1) == expected


def test_it_goes_into_a_pipeline_and_a_grid_search(paths: list[str], loaded: features.Loaded, tmp_path: Path) -> None:
    """The same numbers as by hand from an exported file."""
    assert loaded.y is not None
    train = loaded.splits == "train"
    grid = {"logisticregression__C": [0.01, 1.0]}
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    by_hand = GridSearchCV(classifier, grid, cv=3).fit(loaded.X[train], loaded.y[train])
    steps = [("features", tiny()), *classifier.steps]
    pipeline = GridSearchCV(Pipeline(steps, memory=str(tmp_path / "memory")), grid, cv=3)
    chosen = np.array(paths)[train]
    pipeline.fit(chosen, loaded.y[train])
    assert pipeline.best_params_ == by_hand.best_params_
    assert pipeline.best_score_ == pytest.approx(by_hand.best_score_)
    held_out = np.array(paths)[~train]
    np.testing.assert_array_equal(pipeline.predict(held_out), by_hand.predict(loaded.X[~train]))


def test_a_grid_over_layers_of_the_trunk(paths: list[str], loaded: features.Loaded) -> None:
    pipeline = make_pipeline(tiny(), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipeline, {"featureextractor__layer": ["c2", "embedding"]}, cv=2, n_jobs=2)
    with joblib.parallel_config("threading"):  # clones share a network, one pass at a time
        search.fit(np.array(paths), loaded.y)
    assert len(search.cv_results_["params"]) == 2


class Unrestricted(FeatureExtractor):
    """Asks for every check of scikit-learn, also for those that give tables of random numbers."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


#: They give tables of numbers, and want them taken; pictures are none.
OF_TABLES = {
    "check_fit_score_takes_y",
    "check_dont_overwrite_parameters",
    "check_estimators_dtypes",
    "check_pipeline_consistency",
    "check_estimator_sparse_tag",
    "check_estimator_sparse_array",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_fit2d_1sample",
    "check_fit2d_1feature",
    "check_dict_unchanged",
    "check_fit_idempotent",
}


def test_scikit_learns_own_checks() -> None:
    settings = tiny().get_params()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the checks that its tags leave out
        own = check_estimator(FeatureExtractor(**settings), on_fail=None)
        every = check_estimator(Unrestricted(**settings), on_fail=None)
    assert not [each["check_name"] for each in own if each["status"] == "failed"]
    assert {each["check_name"] for each in every if each["status"] == "failed"} <= OF_TABLES
    passed = {each["check_name"] for each in every if each["status"] == "passed"}
    assert {
        "check_estimator_cloneable",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimators_unfitted",
        "check_fit_check_is_fitted",
        "check_estimators_fit_returns_self",
        "check_estimators_overwrite_params",
    } <= passed
