"""Principal components of more rows than fit into one step."""

import numpy as np
import pytest
import torch
from onetrunk.apps.features import reduction as reduction_module
from onetrunk.apps.features.reduction import fit_reduction
from onetrunk.backbones import UserError
from sklearn.decomposition import PCA

WIDTH = 48


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Rows of ten classes one after another, far from the origin: what an incremental fit does worst."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(10, WIDTH)) * np.linspace(3, 0.1, WIDTH)
    return np.concatenate([1000 + centre + generator.normal(size=(600, WIDTH)) for centre in centres]).astype(
        np.float32
    )


def blocks(rows: np.ndarray, size: int = 100):
    return iter(torch.from_numpy(rows).split(size))


def test_they_are_exact(rows: np.ndarray) -> None:
    fitted = fit_reduction(blocks(rows), 8, layer="fc", split="train")
    exact = PCA(8, svd_solver="full").fit(rows.astype(np.float64))
    cosines = np.abs((fitted.components * exact.components_).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
    np.testing.assert_allclose(fitted.mean, exact.mean_, rtol=1e-6)
    assert fitted.explained == pytest.approx(exact.explained_variance_ratio_.sum(), abs=1e-5)
    assert fitted.images == 6000
    reduced = fitted(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(reduced.var(axis=0), exact.explained_variance_, rtol=1e-2)


def test_wide_ones_are_fitted_in_steps(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction_module, "EXACT_WIDTH", 10)
    fitted = fit_reduction(blocks(rows), 8, layer="fc", split="train")
    other_blocks = fit_reduction(blocks(rows, 37), 8, layer="fc", split="train")
    np.testing.assert_allclose(fitted.components, other_blocks.components, atol=1e-4)  # steps don't follow the blocks
    exact = PCA(8, svd_solver="full").fit(rows.astype(np.float64))
    assert fitted.explained == pytest.approx(exact.explained_variance_ratio_.sum(), abs=0.03)


def test_alike_images_lose_nothing() -> None:
    fitted = fit_reduction(blocks(np.ones((20, 5), np.float32)), 2, layer="fc", split="train")
    assert fitted.explained == 1
    assert np.isfinite(fitted(torch.ones(3, 5)).numpy()).all()


def test_too_few_are_said() -> None:
    with pytest.raises(UserError, match=r"--pca 4 needs at least as many images to fit on, and the folder has 0"):
        fit_reduction(iter(()), 4, layer="fc", split="the folder")
