"""Datasets out of the CSV files of Meta Kaggle, which Kaggle publishes every day."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KAGGLE = "kaggle/"
"""In front of the ids, so that those of two catalogues cannot meet."""
FORMATS = ("%m/%d/%Y %H:%M:%S", "%m/%d/%Y")


def seeds(folder: Path) -> Iterator[dict[str, Any]]:
    """One row for each dataset whose owner and latest version are known.

    Datasets.csv says who owns it and how often it was downloaded, DatasetVersions.csv what its latest version is
    called, Users.csv and Organizations.csv what its owner is called in addresses.
    """
    owners = {("user", each["Id"]): each["UserName"] for each in _read(folder / "Users.csv")}
    owners |= {("organization", each["Id"]): each["Slug"] for each in _read(folder / "Organizations.csv")}
    datasets = {each["CurrentDatasetVersionId"]: each for each in _read(folder / "Datasets.csv")}
    for version in _read(folder / "DatasetVersions.csv"):
        dataset = datasets.get(version["Id"])
        if dataset is None:
            continue
        owner = owners.get(("organization", dataset["OwnerOrganizationId"]))
        owner = owner or owners.get(("user", dataset["OwnerUserId"]))
        if owner and version["Slug"]:
            yield {
                "id": f"{KAGGLE}{owner}/{version['Slug']}",
                "title": version["Title"] or version["Slug"].replace("-", " "),
                "description": version["Subtitle"] or None,
                "author": owner,
                "downloads": int(dataset["TotalDownloads"] or 0),
                "created_at": moment(dataset["CreationDate"]),
                "updated_at": moment(version["CreationDate"]),
            }


def moment(text: str | None) -> dt.datetime | None:
    """A time in one of the forms that Kaggle writes, UTC where it does not say."""
    if not text:
        return None
    for form in FORMATS:
        try:
            return dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
    found = dt.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _read(file: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(10_000_000)  # Descriptions are long.
    with file.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)
