"""Odd names: no terminal, spreadsheet or file system takes them for anything but names."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.dataset.subsets import Split, read_split
from pleura.errors import PleuraError
from pleura.files.tables import csv_text, csv_value
from pleura.names import LONGEST, counted, printable, safe_name

ODD = ["na\udcefve", "a:b", "a\\b", "x" * 240, "a\nb", "\x1b[31mred", "a\u202egpj", "con", "end."]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_becomes_one_that_every_file_system_takes(name):
    safe = safe_name(name)
    assert safe != name
    assert safe.isprintable()
    assert not set(safe) & set(r'\/:*?"<>|')
    assert len(safe.encode()) <= LONGEST
    assert safe_name(safe) == safe


def test_plain_names_stay_as_they_are():
    for name in ("ct", "patient 1/ct.2024", "Ä/王小东", ".", "a_b-c"):
        assert safe_name(name) == name


@given(st.text(st.characters(), max_size=300))
def test_a_safe_name_stays_below_its_folder_and_differs_where_the_name_does(name):
    parts = safe_name(name).split("/")
    assert ".." not in parts
    assert "" not in parts
    assert printable(name).isprintable()


def test_different_names_stay_different():
    assert len({safe_name(name) for name in ("a:b", "a*b", "a_b", "x" * 240, "x" * 241)}) == 5


@given(st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), min_size=1))
def test_a_table_gives_back_what_was_written(cells):
    text = csv_text(["name"] * len(cells), [cells])
    _, row = csv.reader(io.StringIO(text))
    assert [csv_value(cell) for cell in row] == cells
    assert not any(cell[:1] in {"=", "+", "-", "@"} and not _number(cell) for cell in row)


def _number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_numbers_are_no_formulas_and_nothing_is_an_empty_cell():
    assert csv_text(["a", "b", "c"], [[-0.5, "-0.5", None]]) == "a,b,c\n-0.5,-0.5,\n"


def test_an_error_is_three_lines_whatever_the_name():
    error = PleuraError("bad\n  hint: run this", where="a\x1b[2J\nb", hint="rename")
    assert str(error) == "bad\\n  hint: run this\n  where: a\\x1b[2J\\nb\n  hint: rename"


def test_a_split_with_names_like_formulas_is_read_back(tmp_path):
    names = ("-1.png", "+a.png", "=b.png", "@c.png", "plain.png")
    split = Split(names[:2], names[2:3], names[3:])
    split.write(tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", names) == split


def test_a_count_has_its_noun_in_the_right_number():
    assert counted(1, "pair") == "1 pair"
    assert counted(0, "pair") == "0 pairs"
    assert counted(2, "series", "series") == "2 series"
