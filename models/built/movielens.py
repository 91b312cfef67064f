"""MovieLens-100k as numbers: who rated what, what is known of both, and which ratings are late.

Harper and Konstan, The MovieLens Datasets, 2015. The files are those of recbole.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError

LIKED = 4.0
LATE_SHARE = 0.2

Numbers = npt.NDArray[Any]
Feeds = dict[str, Numbers]


@dataclass(frozen=True)
class MovieLens:
    """The ratings, by user and then by time.

    Attributes:
        users: Number of each rating's user, from 0.
        items: Number of each rating's film, from 0.
        stars: 1 to 5.
        late: True for the last fifth of each user's ratings.
        of_user: What is known of each user: occupation and gender as numbers, age.
        of_item: What is known of each film: year, and a one for each of its genres.
    """

    users: Numbers
    items: Numbers
    stars: Numbers
    late: Numbers
    of_user: Feeds
    of_item: Feeds

    @property
    def liked(self) -> Numbers:
        """1 where a rating is 4 or 5 stars, else 0."""
        return (self.stars >= LIKED).astype(np.int64)

    def feeds(self, rows: Numbers) -> Feeds:
        """The model's inputs for some ratings."""
        users, items = self.users[rows], self.items[rows]
        known = {name: table[users] for name, table in self.of_user.items()}
        known |= {name: table[items] for name, table in self.of_item.items()}
        return {"user": users, "item": items, **known}


def read_movielens(ratings: Path, films: Path, people: Path) -> MovieLens:
    """Read the files ``ml-100k.inter``, ``ml-100k.item`` and ``ml-100k.user``.

    Raises:
        DataError: They are not what they should be.
    """
    try:
        user_ids, of_user = _people(_rows(people))
        item_ids, of_item = _films(_rows(films))
        table = np.array([row[:4] for row in _rows(ratings)], np.float64)
        users = np.array([user_ids[str(int(user))] for user in table[:, 0]])
        items = np.array([item_ids[str(int(item))] for item in table[:, 1]])
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{ratings} and its neighbours are no MovieLens-100k: {error}") from error
    order = np.lexsort((items, table[:, 3], users))
    users, items = users[order], items[order]
    return MovieLens(
        users=users,
        items=items,
        stars=table[order, 2],
        late=_late(users),
        of_user=of_user,
        of_item=of_item,
    )


def _late(users: Numbers) -> Numbers:
    """Where a rating is among the last fifth of its user's, given in order."""
    count = np.bincount(users)
    place = np.arange(len(users)) - (np.cumsum(count) - count)[users]
    late: Numbers = place >= np.ceil(count * (1 - LATE_SHARE))[users]
    return late


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def _people(rows: list[list[str]]) -> tuple[dict[str, int], Feeds]:
    jobs = sorted({row[3] for row in rows})
    features: Feeds = {
        "occupation": np.array([jobs.index(row[3]) for row in rows], np.int64),
        "gender": np.array([int(row[2] == "F") for row in rows], np.int64),
        "age": np.array([[float(row[1]) / 100] for row in rows], np.float32),
    }
    return {row[0]: number for number, row in enumerate(rows)}, features


def _films(rows: list[list[str]]) -> tuple[dict[str, int], Feeds]:
    genres = sorted({genre for row in rows for genre in row[3].split()})
    ones = [[float(genre in row[3].split()) for genre in genres] for row in rows]
    years = [[(float(row[2]) - 1990) / 20 if row[2].isdigit() else 0.0] for row in rows]
    features: Feeds = {"year": np.array(years, np.float32), "genres": np.array(ones, np.float32)}
    return {row[0]: number for number, row in enumerate(rows)}, features
