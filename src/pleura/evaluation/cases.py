"""Cases of a data set: their patients and groups, read from a table."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pleura.errors import DataError, DataWarning
from pleura.files.listing import describe_wrong_path
from pleura.formats.registry import scan_name
from pleura.typing import StrPath

Subset = Literal["training", "validation", "test", "all"]
"""Subset of the split of a run; ``all`` is every pair."""

NO_GROUP = "(not given)"
"""Group of the cases that are not in a table with groups."""


@dataclass(frozen=True)
class Case:
    """A case of a data set: its name, its patient, and the group that it belongs to."""

    name: str
    patient: str
    group: str | None = None


@dataclass(frozen=True)
class CaseTable:
    """Patients and groups of the cases of a data set.

    Parameters
    ----------
    patients, groups:
        Patient and group by case name; None if not known. Confidence intervals are over patients,
        and each group, such as a scanner, gets statistics of its own.
    source:
        The file that the table was read from.
    """

    patients: Mapping[str, str] | None = None
    groups: Mapping[str, str] | None = None
    source: Path | None = None

    def case(self, name: str, patient: str | None = None) -> Case:
        """Return a case by name.

        Parameters
        ----------
        name:
            Name of the case.
        patient:
            Patient of a case that is not in the table; the name if None.
        """
        known = (self.patients or {}).get(name, name if patient is None else patient)
        group = None if self.groups is None else self.groups.get(name) or NO_GROUP
        return Case(name, known, group)

    def warn_unknown(self, names: Iterable[str]) -> None:
        """Warn of cases that are not in the table.

        Warns
        -----
        DataWarning
            Some cases are not in the table.
        """
        known = self.groups if self.patients is None else self.patients
        if known is None:
            return
        cases = list(dict.fromkeys(names))
        unknown = [case for case in cases if case not in known]
        if unknown:
            listed = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            table = self.source or "the table"
            warnings.warn(
                f"{len(unknown)} of {len(cases)} cases have no patient in {table}: {listed}; "
                "each is treated as a separate patient",
                DataWarning,
                stacklevel=3,
            )


def read_case_table(path: StrPath, group_by: str | None = None) -> CaseTable:
    """Read patients and groups of cases from a CSV file.

    Parameters
    ----------
    path:
        CSV with one row per case and the column ``name``, the case's name or file name.
        Confidence intervals are over the column ``patient``, if there is one. A case without a
        patient is treated as a separate patient.
    group_by:
        Column with the group of each case.

    Returns
    -------
    CaseTable

    Raises
    ------
    DataError
        The file cannot be read, or a column is missing.
    """
    source = Path(path)
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            "the table cannot be read" if source.is_file() else describe_wrong_path(source, "file"),
            where=source,
            hint="pass a CSV file in UTF-8",
        ) from error
    columns = set(rows[0]) if rows else set()
    missing = sorted({"name", *([group_by] if group_by else [])} - columns)
    if missing:
        present = ", ".join(sorted(map(str, columns)))
        raise DataError(
            f"the table has no column {' and '.join(missing)} (columns: {present})",
            where=source,
            hint="write the column names in the first row; 'name' is the file name of each case",
        )

    def column(key: str) -> dict[str, str]:
        keyed = [(row["name"], row[key]) for row in rows if row[key]]
        return {name: v for n, v in keyed for name in (n, scan_name(Path(n)))}

    return CaseTable(
        patients=column("patient") if "patient" in columns else None,
        groups=column(group_by) if group_by else None,
        source=source,
    )
