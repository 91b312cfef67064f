"""The catalog: which trained models there are, in which pinned wheel, under which licence."""

from __future__ import annotations

import functools
import tomllib
from collections import Counter
from importlib import resources
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from onnxopt.errors import DataError, UsageError


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or "\\" in path or ":" in path or {"..", "."} & set(parts):
        raise ValueError("a path stays inside its wheel")
    return path


Id = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MemberPath = Annotated[str, Field(min_length=1), AfterValidator(_inside)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Wheel(_Row):
    """One pinned wheel.

    Attributes:
        package: The name at the package index.
        version: The exact version.
        platform: The platform tag to ask pip for; empty where the wheel runs anywhere.
        sha256: Of the wheel file.
        size_bytes: Of the wheel file.
        licence: What the wheel's METADATA says of the package.
    """

    package: Id
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+!]+$")]
    platform: Annotated[str, Field(pattern=r"^[a-z0-9_]*$")] = ""
    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0)]
    licence: str


class WheelFile(_Row):
    """One file inside a wheel."""

    path: MemberPath
    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0)]

    @property
    def name(self) -> str:
        """The file's own name, under which it is cached."""
        return PurePosixPath(self.path).name


class _InWheel(_Row):
    id: Id
    summary: str
    wheel: Id
    licence: str


class Archive(_InWheel):
    """A whole wheel as a source of files; it is read, never run or installed."""


class _FromWheel(_InWheel):
    files: Annotated[tuple[WheelFile, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({file.name.casefold() for file in self.files}) < len(self.files):
            raise ValueError(f"{self.id} has two files of one name")
        return self


class ZooModel(_FromWheel):
    """A trained model that ships inside a wheel.

    Attributes:
        id: Its name here.
        summary: What it is, in a line.
        wheel: The package it ships in.
        licence: The weights' licence; ``unstated`` where the package does not say that its own
            covers them.
        files: The model first, then what belongs beside it.
        opset: The opset of the default domain.
        task: The task that judges it, or empty.
        dims: Sizes for its symbolic dimensions that make sense for a first run.
        notes: What a user must know to feed it.
    """

    opset: int
    task: str = ""
    dims: dict[str, int] = Field(default_factory=dict)
    notes: str = ""


class Asset(_FromWheel):
    """What tasks and built models are made of: word lists, fonts and weights."""


class BuiltModel(_Row):
    """A model that is made here, of pinned sources, by a module of ``onnxopt_models.built``.

    Attributes:
        id: Its name here, with underscores the module's.
        summary: What it is, in a line.
        sources: The assets and archives it is made of, in the order the module takes them.
        package: What the module imports beyond onnxopt's own; also the extra to install.
        size_bytes: Of the file, about.
        licence: The weights' licence.
        opset: The opset of the default domain.
        task: The task that judges it, or empty.
        dims: Sizes for its symbolic dimensions that make sense for a first run.
        notes: What a user must know to feed it.
    """

    id: Id
    summary: str
    sources: Annotated[tuple[Id, ...], Field(min_length=1)]
    package: Id
    size_bytes: Annotated[int, Field(gt=0)]
    licence: str
    opset: int
    task: str = ""
    dims: dict[str, int] = Field(default_factory=dict)
    notes: str = ""

    @property
    def module(self) -> str:
        """The module's name in ``onnxopt_models.built``."""
        return self.id.replace("-", "_")

    @property
    def file_name(self) -> str:
        """What the model's file is called."""
        return f"{self.id}.onnx"


class EmbeddedModel(_Row):
    """A model that ships with this package; ``path`` is relative to it."""

    id: Id
    summary: str
    path: MemberPath
    opset: int
    licence: str
    task: str = ""
    notes: str = ""


Model = ZooModel | BuiltModel | EmbeddedModel
Entry = Model | Asset | Archive


class Catalog(_Row):
    """The whole catalog."""

    wheel: tuple[Wheel, ...]
    model: tuple[ZooModel, ...] = ()
    built: tuple[BuiltModel, ...] = ()
    embedded: tuple[EmbeddedModel, ...] = ()
    asset: tuple[Asset, ...] = ()
    archive: tuple[Archive, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, count in Counter(entry.id for entry in self.entries).items():
            if count > 1:
                raise ValueError(f"two entries are called {name}")
        packages = [wheel.package for wheel in self.wheel]
        if len(set(packages)) < len(packages):
            raise ValueError("two wheels are of one package")
        pinned: tuple[_InWheel, ...] = (*self.model, *self.asset, *self.archive)
        for entry in pinned:
            if entry.wheel not in packages:
                raise ValueError(f"{entry.id} names the unlisted wheel {entry.wheel}")
        sources = {entry.id for entry in (*self.asset, *self.archive)}
        for model in self.built:
            if unknown := set(model.sources) - sources:
                raise ValueError(f"{model.id} names the unlisted source {min(unknown)}")
        return self

    @property
    def models(self) -> tuple[Model, ...]:
        """Every model: the embedded ones, those of wheels, those made here."""
        return (*self.embedded, *self.model, *self.built)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Models, assets and archives, in this order."""
        return (*self.models, *self.asset, *self.archive)

    def find(self, name: str) -> Entry:
        """The entry called ``name``.

        Raises:
            UsageError: There is none; the message lists the models there are.
        """
        for entry in self.entries:
            if entry.id == name:
                return entry
        known = ", ".join(model.id for model in self.models)
        raise UsageError(f"there is no model called {name!r}", wanted=f"one of {known}")

    def wheel_of(self, entry: ZooModel | Asset | Archive) -> Wheel:
        """The wheel that ``entry`` ships in."""
        return next(wheel for wheel in self.wheel if wheel.package == entry.wheel)

    def pins(self, name: str) -> tuple[str, ...]:
        """The hashes that decide what an entry holds; of a built model those of its sources."""
        entry = self.find(name)
        if isinstance(entry, EmbeddedModel):
            return ()
        if isinstance(entry, BuiltModel):
            return tuple(pin for source in entry.sources for pin in self.pins(source))
        if isinstance(entry, Archive):
            return (self.wheel_of(entry).sha256,)
        return tuple(f"{file.name} {file.sha256}" for file in entry.files)


def parse_catalog(text: str, origin: str = "catalog") -> Catalog:
    """Read a catalog from TOML; keys nobody knows are errors.

    Raises:
        DataError: It is no TOML or no catalog; the message names the first bad entry.
    """
    try:
        return Catalog.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{origin} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{origin}: {where or 'catalog'}: {first['msg']}") from error


@functools.cache
def load_catalog() -> Catalog:
    """The catalog that ships with this package."""
    file = resources.files(__package__).joinpath("catalog.toml")
    return parse_catalog(file.read_text(encoding="utf-8"), origin="catalog.toml")
