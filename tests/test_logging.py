"""The package logs through `logging`, and prints nothing unless the application configures it."""

import logging

import numpy as np
from dicom_files import write_series

from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))


def test_selected_series_and_skipped_files_are_logged(tmp_path, caplog, capsys):
    write_series(tmp_path, np.zeros((3, 12, 10), np.int16), AXIAL)
    (tmp_path / "notes.txt").write_text("text")
    with caplog.at_level(logging.DEBUG, logger="pleura"):
        read(tmp_path, units="hu")
    assert any(message.startswith("Selected series 1") for message in caplog.messages)
    assert any("notes.txt: not a DICOM file" in message for message in caplog.messages)
    assert not any("Nobody" in message for message in caplog.messages)
    assert capsys.readouterr() == ("", "")


def test_the_logger_of_the_package_has_a_null_handler():
    handlers = logging.getLogger("pleura").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
