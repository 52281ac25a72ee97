"""Maps the cells of one view to another view of the same picture.

The geometry of N views is integers [N, 6]. A row is the crop box in pixels of the source picture
(left, top, width, height), 1 if the view is mirrored left to right, and the side of the view in
pixels. Lengths below are shares of the view's side, so the last column does not matter.
"""

import torch
from torch import Tensor



def cell_centers(view: Tensor, grid: int) -> Tensor:
    """Centres (x, y) of the M = grid x grid cells of views [N, 6], in source pixels: [N, M, 2]."""
    left, top, width, height, flip, _ = view.to(torch.get_default_dtype())[:, :, None].unbind(1)
    down = (torch.arange(grid) + 0.5) / grid  # as a share of the view's side
    across = torch.where(flip == 1, 1 - down, down)
    x, y = left + across * width, top + down * height  # [N, grid]
    rows, columns = torch.arange(grid * grid) // grid, torch.arange(grid * grid) % grid
    return torch.stack([x[:, columns], y[:, rows]], dim=2)


def in_cells(points: Tensor, view: Tensor, grid: int) -> Tensor:
    """Source points [N, M, 2] as (column, row) in units of the view's cells; the first cell is from 0 to 1."""
    view = view.to(torch.get_default_dtype())[:, None]
    shares = (points - view[..., 0:2]) / view[..., 2:4]
    x, y = shares.unbind(2)
    return torch.stack([torch.where(view[..., 4] == 1, 1 - x, x), y], dim=2) * grid


def true_cells(query: Tensor, key: Tensor, grid: int) -> Tensor:
    """The key cell that contains each query cell's centre, -1 outside the key view: [N, M].

    The left and top edges of the crop belong to it, the right and bottom ones do not.
    """
    points = cell_centers(query, grid)
    start, length = key[:, None, 0:2], key[:, None, 2:4]
    inside = ((points >= start) & (points < start + length)).all(dim=2)
    column, row = in_cells(points, key, grid).floor().long().unbind(2)
    return torch.where(inside, row * grid + column, -1)


def distances(query: Tensor, key: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Distances between centres of query and key cells in source pixels [N, Mq, Mk], and PixContrast's radius.

    The radius [N, 1, 1] is 0.7 of the larger of the two views' cell diagonals.
    """
    apart = cell_centers(query, grid)[:, :, None] - cell_centers(key, grid)[:, None]
    sides = torch.stack([query[:, 2:4], key[:, 2:4]]) / grid  # [2, N, 2]
    diagonals = sides.square().sum(dim=2).sqrt()
    return apart.square().sum(dim=3).sqrt(), 0.7 * diagonals.amax(dim=0)[:, None, None]


def near_cells(query: Tensor, key: Tensor, grid: int) -> Tensor:
    """PixContrast's positives: whether a key cell is near a query cell, [N, Mq, Mk] booleans."""
    distance, radius = distances(query, key, grid)
    return distance <= radius
