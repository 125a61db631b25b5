"""A function by its values at the nodes of a regular grid, multilinear between them."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import sparse
from scipy.interpolate import RegularGridInterpolator
from torch import Tensor


class Table:
    """V on ``nodes`` per dimension over the box |x_i| <= size_i (d,); constant beyond it."""

    def __init__(self, size: Tensor, nodes: int) -> None:
        self.axes = [np.linspace(-s, s, nodes) for s in size.tolist()]
        self.shape = (nodes,) * len(size)
        self.spacing = 2 * size / (nodes - 1)
        self.nodal = np.zeros(nodes ** len(size))
        """V at the nodes, the last coordinate fastest."""

    def points(self) -> Tensor:
        """The nodes, (nodes^d, d)."""
        mesh = np.meshgrid(*self.axes, indexing="ij")
        return torch.as_tensor(np.stack(mesh, -1).reshape(-1, len(self.axes)))

    def value(self, state: Tensor) -> Tensor:
        """V (n,)."""
        return self._interpolate(self.nodal, state)

    def gradient(self, state: Tensor) -> Tensor:
        """V_x (n, d), interpolated between the differences at the nodes."""
        return self._interpolate(self.differences(), state)

    def differences(self) -> np.ndarray:
        """Central differences at the nodes, (nodes^d, d); one-sided at the edge."""
        values = self.nodal.reshape(self.shape)
        parts = [np.gradient(values, axis, axis=i) for i, axis in enumerate(self.axes)]
        return np.stack(parts, -1).reshape(-1, len(self.axes))

    def _interpolate(self, nodal: np.ndarray, state: Tensor) -> Tensor:
        table = RegularGridInterpolator(self.axes, nodal.reshape(*self.shape, *nodal.shape[1:]))
        return torch.as_tensor(table(self._clip(state))).to(state)

    def _clip(self, state: Tensor) -> np.ndarray:
        return np.clip(state.double().numpy(), *(np.array([axis[end] for axis in self.axes]) for end in (0, -1)))

    def weights(self, state: Tensor, factor: np.ndarray) -> sparse.csr_matrix:
        """The matrix (n, nodes^d) that interpolates at the states, its rows times ``factor`` (n,)."""
        place = (self._clip(state) - [axis[0] for axis in self.axes]) / self.spacing.numpy()
        cell = np.minimum(place.astype(int), np.array(self.shape) - 2)
        share = place - cell
        columns, weights = [], []
        for corner in itertools.product((0, 1), repeat=len(self.shape)):
            columns.append(np.ravel_multi_index(tuple((cell + corner).T), self.shape))
            weights.append(factor * np.prod(np.where(corner, share, 1 - share), -1))
        rows = np.tile(np.arange(len(state)), len(columns))
        entries = np.concatenate(weights), (rows, np.concatenate(columns))
        return sparse.csr_matrix(entries, shape=(len(state), len(self.nodal)))
