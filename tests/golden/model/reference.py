"""DenseCL in plain PyTorch, written from the paper's description: the reference of the goldens.

It is written to be read, not to be fast. Batch norm is written out as defined (split over groups of the
batch), so that it does not depend on a library's batch norm.
Shapes: N images, G groups, C channels, S x S cells, K queue entries, D embedding size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometry import near_cells, true_cells

# Architecture: (block kind, blocks per stage).
DEPTHS = {
    10: ("basic", (1, 1, 1, 1)),
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
}


class SplitBatchNorm(nn.Module):
    """Batch norm over interleaved groups of the batch: sample i belongs to group i mod `groups`.

    Each group is normalised by its own statistics. Running statistics take the mean over the groups of each group's mean and *unbiased* variance.
    """

    def __init__(self, channels: int, groups: int = 1, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.groups, self.eps, self.momentum = groups, eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if self.training:
            assert n % self.groups == 0, "the batch must divide into equal groups"
            grouped = x.reshape(n // self.groups, self.groups, c, h, w)
            mean = grouped.mean(dim=(0, 3, 4), keepdim=True)  # [1, G, C, 1, 1]
            var = ((grouped - mean) ** 2).mean(dim=(0, 3, 4), keepdim=True)
            count = n // self.groups * h * w
            with torch.no_grad():
                unbiased = var.mean(dim=1).flatten() * count / (count - 1)
                self.running_mean.lerp_(mean.mean(dim=1).flatten(), self.momentum)
                self.running_var.lerp_(unbiased, self.momentum)
            normalised = ((grouped - mean) / torch.sqrt(var + self.eps)).reshape(x.shape)
        else:
            mean = self.running_mean[:, None, None]
            normalised = (x - mean) / torch.sqrt(self.running_var[:, None, None] + self.eps)
        return normalised * self.weight[:, None, None] + self.bias[:, None, None]


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


def shortcut(inputs: int, outputs: int, stride: int, groups: int) -> nn.Sequential | None:
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(conv(inputs, outputs, 1, stride), SplitBatchNorm(outputs, groups))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions. conv1 has the stride and `first_dilation`, conv2 `dilation`."""

    expansion = 1

    def __init__(self, inputs, planes, stride=1, first_dilation=1, dilation=1, groups=1):
        super().__init__()
        self.conv1 = conv(inputs, planes, 3, stride, first_dilation)
        self.bn1 = SplitBatchNorm(planes, groups)
        self.conv2 = conv(planes, planes, 3, 1, dilation)
        self.bn2 = SplitBatchNorm(planes, groups)
        self.downsample = shortcut(inputs, planes, stride, groups)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3, 1x1. conv2, the 3x3, has the stride and `first_dilation`."""

    expansion = 4

    def __init__(self, inputs, planes, stride=1, first_dilation=1, dilation=1, groups=1):
        del dilation  # no 3x3 convolution follows conv2 in this block
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = conv(inputs, planes, 1)
        self.bn1 = SplitBatchNorm(planes, groups)
        self.conv2 = conv(planes, planes, 3, stride, first_dilation)
        self.bn2 = SplitBatchNorm(planes, groups)
        self.conv3 = conv(planes, outputs, 1)
        self.bn3 = SplitBatchNorm(outputs, groups)
        self.downsample = shortcut(inputs, outputs, stride, groups)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(nn.Module):
    """torchvision's ResNet without its classifier; dilation gives an `output_stride` of 32, 16 or 8.

    If a stage's stride is removed, the convolution that had it keeps the previous dilation, and all 3x3
    convolutions after it have twice that dilation. The same weights then give a finer grid whose values
    include those of the coarse grid.
    """

    def __init__(self, depth: int, width: int = 64, output_stride: int = 32, groups: int = 1):
        super().__init__()
        kind, counts = DEPTHS[depth]
        block = BLOCKS[kind]
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = SplitBatchNorm(width, groups)
        channels, reached, dilation = width, 4, 1
        for stage, count in enumerate(counts):
            planes, stride, before = width * 2**stage, 1 if stage == 0 else 2, dilation
            if reached * stride > output_stride:
                dilation, stride = dilation * stride, 1
            reached *= stride
            blocks = []
            for index in range(count):
                first = index == 0
                blocks.append(
                    block(
                        channels,
                        planes,
                        stride if first else 1,
                        before if first else dilation,
                        dilation,
                        groups,
                    )
                )
                channels = planes * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.channels = channels

    def stages(self, x: Tensor) -> list[Tensor]:
        """The outputs of the four stages for images [N, 3, H, W]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        outputs = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)[-1]


class GlobalHead(nn.Module):
    """Global average pooling, linear C to C, ReLU, linear C to D: [N, C, S, S] to [N, D]."""

    def __init__(self, channels: int, dim: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels)
        self.fc2 = nn.Linear(channels, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3)))))


class DenseHead(nn.Module):
    """Optional pooling to num_grid, 1x1 conv, ReLU, 1x1 conv: [N, C, S, S] to [N, D, S', S']."""

    def __init__(self, channels: int, dim: int, num_grid: int | None = None):
        super().__init__()
        self.num_grid = num_grid
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(channels, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(to_grid(x, self.num_grid))))


def to_grid(x: Tensor, num_grid: int | None) -> Tensor:
    return x if num_grid is None else F.adaptive_avg_pool2d(x, num_grid)


class Encoder(ResNet):
    """Backbone, whose keys have no prefix, `global_head.*` and `dense_head.*`."""

    def __init__(self, depth, width, output_stride, groups, dim, num_grid=None):
        super().__init__(depth, width, output_stride, groups)
        self.num_grid = num_grid
        self.global_head = GlobalHead(self.channels, dim)
        self.dense_head = DenseHead(self.channels, dim, num_grid)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Unit vectors (global [N, D], dense cells [N, D, M], pooled [N, D], backbone cells [N, C, M])."""
        features = super().forward(images)
        dense = self.dense_head(features).flatten(2)
        backbone = to_grid(features, self.num_grid).flatten(2)
        return (
            F.normalize(self.global_head(features), dim=1),
            F.normalize(dense, dim=1),
            F.normalize(dense.mean(dim=2), dim=1),
            F.normalize(backbone, dim=1),
        )


def similarity(cells_q: Tensor, cells_k: Tensor) -> Tensor:
    """Cosines [N, Mq, Mk] of unit cells [N, C, M]: row i is query cell i."""
    return cells_q.transpose(1, 2) @ cells_k


def mutual(sim: Tensor) -> Tensor:
    """Whether each query cell is the most similar one to its own most similar key cell: [N, Mq] booleans."""
    forth, back = sim.argmax(dim=2), sim.argmax(dim=1)
    return back.gather(1, forth) == torch.arange(sim.shape[1])


def info_nce_logits(q: Tensor, k: Tensor, queue: Tensor, tau: float) -> Tensor:
    """Logits [R, 1 + K] of queries q [R, D]: first the positives k [R, D], then the negatives queue [K, D]."""
    return torch.cat([(q * k).sum(dim=1, keepdim=True), q @ queue.T], dim=1) / tau


def info_nce(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def top1(logits: Tensor) -> Tensor:
    """Share of rows whose positive is the largest logit."""
    return (logits.argmax(dim=1) == 0).to(logits.dtype).mean()


def as_rows(cells: Tensor) -> Tensor:
    """Reorders cells [N, D, M] to rows [N * M, D]."""
    return cells.transpose(1, 2).flatten(0, 1)


def one_positive(cells: Tensor) -> Tensor:
    """Indices of key cells [N, Mq] as booleans [N, Mq, Mk], Mk = Mq; an index of -1 gives no positive."""
    return cells[:, :, None] == torch.arange(cells.shape[1])


def masked_dense(
    cells_q: Tensor, cells_k: Tensor, cells: Tensor, queue: Tensor, tau: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Dense loss, its accuracy and logits, over the query cells whose entry in `cells` is not -1.

    Both are means over all these query cells of all pictures, and 0 if there are none.
    """
    valid = cells.flatten() >= 0
    index = cells.clamp(min=0)[:, None, :].expand_as(cells_q)
    rows, positives = as_rows(cells_q), as_rows(cells_k.gather(2, index))
    logits = info_nce_logits(rows[valid], positives[valid], queue, tau)
    if not valid.any():
        return logits.sum(), torch.zeros(()), logits
    return info_nce(logits), top1(logits), logits


def in_view(
    cells_q: Tensor, cells_k: Tensor, positives: Tensor, tau: float
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy of each query cell against all key cells of the same picture.

    -log(sum over positives of exp(s / tau) / sum over all of exp(s / tau)), the mean over the query
    cells that have a positive; 0 without any. The accuracy is the share of them whose most similar
    key cell is a positive.
    """
    valid = positives.any(dim=2)  # [N, Mq]
    logits, positives = similarity(cells_q, cells_k)[valid] / tau, positives[valid]  # [rows, Mk]
    if not valid.any():
        return logits.sum(), torch.zeros(())
    own = logits.masked_fill(~positives, -torch.inf)
    loss = (logits.logsumexp(dim=1) - own.logsumexp(dim=1)).mean()
    hit = positives.gather(1, logits.argmax(dim=1, keepdim=True))
    return loss, hit.to(logits.dtype).mean()


class Trainer:
    """The whole method: query and key encoder, two FIFO queues that share one pointer, SGD.

    `matching` is "backbone" or "geometry". If `in_view_weight` is above 0, the in-view loss is added to the
    dense loss with this weight; `in_view_positives` is "match" (the cell that `matching` gives) or "near".
    """

    def __init__(
        self,
        query,
        key,
        queue_global,
        queue_dense,
        *,
        m,
        tau,
        lam,
        lr,
        weight_decay,
        matching="backbone",
        in_view_weight=0.0,
        in_view_tau=0.1,
        in_view_positives="match",
    ):
        self.query, self.key = query.train(), key.train()
        self.queue_global, self.queue_dense, self.pointer = queue_global, queue_dense, 0
        self.m, self.tau, self.lam = m, tau, lam
        self.matching, self.in_view_positives = matching, in_view_positives
        self.in_view_weight, self.in_view_tau = in_view_weight, in_view_tau
        self.optimizer = torch.optim.SGD(
            query.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay
        )

    def step(
        self,
        images_q: Tensor,
        images_k: Tensor,
        permutation: Tensor,
        geometry: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Takes one training step; returns its figures.

        `geometry` is that of the query views and of the key views; only some settings need it.
        """
        with torch.no_grad():  # parameters only; the key encoder keeps its own batch norm statistics
            for key, query in zip(self.key.parameters(), self.query.parameters(), strict=True):
                key.copy_(self.m * key + (1 - self.m) * query)

        q_global, q_cells, _, q_backbone = self.query(images_q)
        with torch.no_grad():
            restore = permutation.argsort()
            shuffled = self.key(images_k[permutation])
            k_global, k_cells, k_pooled, k_backbone = (part[restore] for part in shuffled)
            sim = similarity(q_backbone, k_backbone)
            match = sim.argmax(dim=2)  # [N, M]
            grid = math.isqrt(match.shape[1])
            chosen = true_cells(*geometry, grid) if self.matching == "geometry" else match

        logits_global = info_nce_logits(q_global, k_global, self.queue_global, self.tau)
        loss_global = info_nce(logits_global)
        loss_dense, accuracy_dense, logits_dense = masked_dense(
            q_cells, k_cells, chosen, self.queue_dense, self.tau
        )
        local, in_view_measured = loss_dense, {}
        if self.in_view_weight > 0:
            near = self.in_view_positives == "near"
            positives = near_cells(*geometry, grid) if near else one_positive(chosen)
            loss_in_view, accuracy = in_view(q_cells, k_cells, positives, self.in_view_tau)
            local = loss_dense + self.in_view_weight * loss_in_view
            in_view_measured = {
                "loss_in_view": loss_in_view.detach(),
                "accuracy_in_view": accuracy,
                "in_view_similarity": similarity(q_cells, k_cells).detach(),
                "in_view_positives": positives,
                "grid": grid,
            }
        loss = (1 - self.lam) * loss_global + self.lam * local

        self.optimizer.zero_grad()
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in self.query.named_parameters()}
        self.optimizer.step()
        rows = (self.pointer + torch.arange(len(k_global))) % len(self.queue_global)
        self.queue_global[rows], self.queue_dense[rows] = k_global, k_pooled
        self.pointer = (self.pointer + len(k_global)) % len(self.queue_global)
        return {
            "loss": loss.detach(),
            "loss_global": loss_global.detach(),
            "loss_dense": loss_dense.detach(),
            "accuracy_global": top1(logits_global),
            "accuracy_dense": accuracy_dense,
            **in_view_measured,
            "match": match,
            "q_global": q_global.detach(),
            "q_cells": q_cells.detach(),
            "k_global": k_global,
            "k_cells": k_cells,
            "k_pooled": k_pooled,
            "gradients": gradients,
            "similarity": sim,
            "logits": [logits_global.detach(), logits_dense.detach()],
        }
