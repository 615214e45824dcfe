"""A label map from a tetrahedral mesh with class probabilities at its nodes (GEMS, SAMSEG).

Puonti, Iglesias and Van Leemput 2016, "Fast and sequence-adaptive whole-brain segmentation using
parametric Bayesian modeling".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Candidate points worked on at a time: bounds memory.
_CHUNK = 1 << 20
# How far outside a tetrahedron a point may be for rounding's sake, in barycentric coordinates.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Mesh:
    """Attributes:
    nodes: [N, 3] positions in voxels of the mesh's own grid.
    cells: [T, 4] nodes of each tetrahedron.
    probabilities: [N, C] of each class at each node.
    """

    nodes: npt.NDArray[np.float64]
    cells: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]

    @classmethod
    def from_text(cls, text: str) -> Mesh:
        """Parse the text form of one GEMS mesh collection.

        Raises:
            ValueError: the text is not such a mesh.
        """
        lines = text.splitlines()
        heads = {
            line.split(":")[0].strip(): (at, line)
            for at, line in enumerate(lines)
            if line[:1].isalpha()
        }
        try:
            count = int(heads["Number of points"][1].split(":")[1])
            classes = int(heads["Number of labels"][1].split(":")[1])
            position, cells, parameters = (
                heads[name][0] + 1 for name in ("Position 0", "Cells", "Point parameters")
            )
        except (KeyError, IndexError) as error:
            raise ValueError(f"the mesh lacks its {error}") from error
        nodes = _table(lines[position : position + count], 4)[:, 1:]
        corners = [
            line.split()[2:6]
            for line in lines[cells : parameters - 1]
            if line.split()[1:2] == ["TETRAHEDRON"]
        ]
        tetrahedra = np.array(corners, np.int64).reshape(-1, 4)
        rows = _table(lines[parameters : parameters + count], 1 + classes)[:, 1:]
        if len(nodes) != count or len(rows) != count or not 0 <= tetrahedra.min() < count:
            raise ValueError("the mesh is cut short")
        return cls(nodes, tetrahedra, rows.astype(np.float32))

    def label_map(self, shape: tuple[int, int, int]) -> npt.NDArray[np.int16]:
        """[X, Y, Z] the likeliest class at every voxel; class 0 outside the mesh."""
        labels = np.zeros(shape, np.int16)
        corners = self.nodes[self.cells]
        low = np.maximum(np.ceil(corners.min(axis=1)), 0).astype(np.int64)
        high = np.minimum(np.floor(corners.max(axis=1)), np.array(shape) - 1).astype(np.int64)
        spans = np.maximum(high - low + 1, 0)
        # Tetrahedra whose bounding boxes have one shape are worked on together.
        order = np.lexsort(spans.T)
        _, starts = np.unique(spans[order], axis=0, return_index=True)
        for group in np.split(order, np.sort(starts)[1:]):
            span = spans[group[0]]
            size = int(np.prod(span))
            if not size:
                continue
            step = max(1, _CHUNK // size)
            offsets = np.indices(span).reshape(3, -1).T
            for first in range(0, len(group), step):
                self._fill(labels, group[first : first + step], low, offsets)
        return labels

    def _fill(
        self,
        labels: npt.NDArray[np.int16],
        indices: npt.NDArray[np.int64],
        low: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> None:
        """Label the voxels inside the tetrahedra `indices`."""
        corners = self.nodes[self.cells[indices]]
        edges = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)
        flat = np.abs(np.linalg.det(edges)) < _TOLERANCE
        edges[flat] = np.eye(3)
        points = low[indices, None] + offsets[None]
        inner = (points - corners[:, :1]) @ np.swapaxes(np.linalg.inv(edges), 1, 2)
        weights = np.concatenate([1.0 - inner.sum(axis=2, keepdims=True), inner], axis=2)
        inside = (weights >= -_TOLERANCE).all(axis=2) & ~flat[:, None]
        cell, point = np.nonzero(inside)
        mixed = np.einsum(
            "ij,ijc->ic", weights[cell, point], self.probabilities[self.cells[indices[cell]]]
        )
        labels[tuple(points[cell, point].T)] = mixed.argmax(axis=1)


def _table(lines: list[str], columns: int) -> npt.NDArray[np.float64]:
    """[rows, columns] the first numbers of each line."""
    try:
        return np.array([line.split()[:columns] for line in lines], np.float64)
    except ValueError as error:
        raise ValueError("the mesh is cut short, or holds what is no number") from error
