import pytest

from pleura.errors import DataWarning
from pleura.evaluation.cases import read_case_table


def test_case_without_patient_is_a_patient_of_its_own(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("name,patient\na.png,p1\nb.png,\nc.png,\n")
    table = read_case_table(path)
    assert [table.case(name).patient for name in "abc"] == ["p1", "b", "c"]
    with pytest.warns(DataWarning, match="2 of 3 cases have no patient in .*: b, c"):
        table.warn_unknown(["a", "b", "c"])
