"""Builds recommender: trained on the early ratings of MovieLens-100k, exported to ONNX.

Embeddings of user, film, occupation and gender and a small network over the other features meet
in pairwise products (DLRM: Naumov et al., 2019); a second network takes them and the embeddings to
the log-odds that the user likes the film.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onnxopt_models.built.export import export
from onnxopt_models.built.movielens import Feeds, MovieLens, Numbers, read_movielens


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, save the data, the processor and torch's version."""

    seed: int = 0
    width: int = 32
    epochs: int = 8
    batch: int = 1024
    learning_rate: float = 5e-3
    weight_decay: float = 3.0  # of the embeddings
    dropout: float = 0.3
    share_of_stars: float = 0.5


class Recommender(nn.Module):  # type: ignore[misc, unused-ignore]
    """The network; every input has a row for each pair of user and film."""

    def __init__(self, data: MovieLens, settings: Settings) -> None:
        super().__init__()
        width = settings.width
        jobs = int(data.of_user["occupation"].max()) + 1
        counts = (len(data.of_user["age"]), len(data.of_item["year"]), jobs, 2)
        self.tables = nn.ModuleList(nn.Embedding(count, width) for count in counts)
        for table in self.tables:
            nn.init.normal_(cast(nn.Embedding, table).weight, std=0.05)
        dense = 2 + data.of_item["genres"].shape[1]
        self.bottom = nn.Sequential(nn.Linear(dense, 64), nn.ReLU(), nn.Linear(64, width))
        pairs = list(itertools.combinations(range(len(counts) + 1), 2))
        self.pairs = torch.tensor([row * (len(counts) + 1) + column for row, column in pairs])
        self.top = nn.Sequential(
            nn.Dropout(settings.dropout),
            nn.Linear((len(counts) + 1) * width + len(pairs), 256),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, 1),
        )

    def forward(
        self,
        user: Tensor,
        item: Tensor,
        occupation: Tensor,
        gender: Tensor,
        age: Tensor,
        year: Tensor,
        genres: Tensor,
    ) -> Tensor:
        """Log-odds that the user likes the film, [N, 1]."""
        numbers = (user, item, occupation, gender)
        parts = [table(values) for table, values in zip(self.tables, numbers, strict=True)]
        parts.append(self.bottom(torch.cat([age, year, genres], dim=1)))
        stacked = torch.stack(parts, dim=1)
        products = torch.bmm(stacked, stacked.transpose(1, 2)).flatten(1)[:, self.pairs]
        return cast(Tensor, self.top(torch.cat([stacked.flatten(1), products], dim=1)))


def tensors(feeds: Feeds) -> dict[str, Tensor]:
    """Feeds as tensors under the same names."""
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in feeds.items()}


def train(data: MovieLens, rows: Numbers, settings: Settings) -> Recommender:
    """Fit a fresh network to some ratings with AdamW under a cosine schedule."""
    torch.manual_seed(settings.seed)
    network = Recommender(data, settings)
    groups = [
        {"params": network.tables.parameters(), "weight_decay": settings.weight_decay},
        {"params": [*network.bottom.parameters(), *network.top.parameters()]},
    ]
    optimizer = torch.optim.AdamW(groups, settings.learning_rate, weight_decay=0.01)
    inputs, wanted = tensors(data.feeds(rows)), torch.from_numpy(_chances(data, rows, settings))
    steps = len(rows) // settings.batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs * steps)
    network.train()
    for _ in range(settings.epochs):
        for batch in torch.randperm(len(rows))[: steps * settings.batch].view(steps, -1):
            odds = network(**{name: value[batch] for name, value in inputs.items()})
            loss = F.binary_cross_entropy_with_logits(odds[:, 0], wanted[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            optimizer.step()
            schedule.step()
    network.eval()
    return network


def _chances(data: MovieLens, rows: Numbers, settings: Settings) -> Numbers:
    """What the network should say: mostly whether it was liked, but four stars are not five."""
    share = (data.stars[rows] - 1) / 4
    mixed = settings.share_of_stars * share + (1 - settings.share_of_stars) * data.liked[rows]
    return mixed.astype(np.float32)


def main(ratings: str, films: str, people: str, output: str) -> None:
    """Train on the early ratings and export to ``output``; one thread, so that bytes repeat."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = read_movielens(Path(ratings), Path(films), Path(people))
    network = train(data, np.flatnonzero(~data.late), Settings())
    inputs = tensors(data.feeds(np.flatnonzero(data.late)[:100]))
    export(network, inputs, "log_odds", Path(output), "recommender")


if __name__ == "__main__":
    main(*sys.argv[1:])
