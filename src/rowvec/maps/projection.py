"""Vectors as points of a plane, near each other where the vectors are.

The steps are those that make UMAP affordable on many rows: principal components first, UMAP on a sample (McInnes,
Healy and Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction", arXiv:1802.03426),
and every other vector beside its nearest ones of the sample. Needs the `map` extra; it is imported when it is needed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rowvec.errors import MissingExtraError
from rowvec.types import Vectors

Points: TypeAlias = npt.NDArray[np.float32]
"""Shape (rows, 2)."""

COMPONENTS = 50
"""Principal components that are kept: enough of the neighbourhoods for UMAP."""
NEIGHBOURS = 15
FEWEST = 30
"""With fewer rows than that, neighbourhoods say nothing: the first two principal components are the map."""
MIN_DIST = 0.25
"""More than UMAP's own 0.1: rows of a dense cluster can be told apart, and pointed at."""
NEAREST = 5
"""Number of rows of the sample between which a further row is placed."""
SEED = 0
"""Fixed: the same vectors give the same map."""


def require_umap() -> None:
    """Raises MissingExtraError where the `map` extra is not installed. Nothing is imported."""
    from importlib.util import find_spec

    if find_spec("umap") is None:
        raise MissingExtraError("rowvec map", "map")


@dataclass(frozen=True, slots=True)
class Axes:
    """The directions in which a sample of vectors differs most.

    Attributes:
        mean: shape (dimension,). directions: shape (dimension, at most COMPONENTS).
    """

    mean: npt.NDArray[np.float32]
    directions: npt.NDArray[np.float32]

    def reduce(self, vectors: Vectors) -> npt.NDArray[np.float32]:
        """Shape (rows, components). Only directions of vectors count, not their lengths."""
        return np.asarray((_unit(vectors) - self.mean) @ self.directions, np.float32)


def principal_axes(sample: Vectors) -> Axes:
    """Args: sample: shape (rows, dimension), at least one row."""
    unit = _unit(sample)
    mean = unit.mean(axis=0)
    centred = (unit - mean).astype(np.float64)
    values, directions = np.linalg.eigh(centred.T @ centred)
    kept = np.argsort(values)[::-1][:COMPONENTS]
    return Axes(mean, directions[:, kept].astype(np.float32))


def layout(reduced: npt.NDArray[np.float32]) -> Points:
    """Where the rows of a sample stand, by UMAP from the first two principal components on.

    Args:
        reduced: shape (rows, components), as `Axes.reduce` gives them.
    """
    plane = np.zeros((len(reduced), 2), np.float32)
    plane[:, : reduced.shape[1]] = reduced[:, :2]
    if len(reduced) < FEWEST:
        return plane
    # Rows with equal vectors would start, and stay, as one point.
    apart = np.random.default_rng(SEED).normal(scale=1e-4, size=plane.shape)
    start = np.asarray(10 * plane / max(float(np.abs(plane).max()), 1e-9) + apart, np.float32)
    with warnings.catch_warnings():
        # Of missing TensorFlow, of the one thread that a fixed seed means, of transforming what we place ourselves.
        warnings.simplefilter("ignore")
        import umap

        # The sample's neighbours are found exactly: faster than to build the approximate index that UMAP would.
        near: Any = _nearest(reduced, reduced, NEIGHBOURS)
        model = umap.UMAP(
            n_neighbors=NEIGHBOURS, min_dist=MIN_DIST, init=start, random_state=SEED, n_jobs=1, precomputed_knn=near
        )
        points: Points = np.asarray(model.fit_transform(reduced), dtype=np.float32)
    return points


def place(reduced: npt.NDArray[np.float32], sample: npt.NDArray[np.float32], points: Points) -> Points:
    """Where further rows stand: between their nearest rows of the sample, most of all beside the nearest.

    Args:
        reduced: of the further rows. sample: of the sample. points: where the sample stands.
    """
    if not len(reduced):
        return np.zeros((0, 2), np.float32)
    which, distances = _nearest(reduced, sample, min(NEAREST, len(sample)))
    weights = 1 / np.square(distances + 1e-6)
    weights /= weights.sum(axis=1, keepdims=True)
    placed: Points = (points[which] * weights[:, :, None]).sum(axis=1).astype(np.float32)
    return placed


def _nearest(
    queries: npt.NDArray[np.float32], among: npt.NDArray[np.float32], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Positions and distances of the nearest rows, nearest first, each of shape (queries, count)."""
    from sklearn.neighbors import NearestNeighbors

    finder = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(among)
    distances, which = finder.kneighbors(queries)
    return which, distances


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
