"""The package logs through `logging`, and prints nothing unless the application configures it."""

import logging

import numpy as np
import pytest
from dicom_files import write_series

import pleura
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


def test_stages_and_warnings_of_a_segmentation_are_logged(sample, caplog):
    hu = pleura.read(sample.folder / "volume" / "ct.nii.gz").hu()[:20]
    with caplog.at_level(logging.INFO, logger="pleura"):
        lungs = pleura.segment(pleura.from_array(hu, units="hu"))
    assert any(message.startswith("Segmented 20 slices") for message in caplog.messages)
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [f"array: {text}" for text in lungs.warnings]
    assert warned


@pytest.mark.usefixtures("no_figures")
def test_epochs_of_a_training_are_logged(sample, tiny, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="pleura.training"):
        pleura.train(sample.images, sample.masks, tmp_path / "run", tiny)
    assert caplog.messages[0].startswith("Training with recipe")
    assert [message[:12] for message in caplog.messages].count("Epoch 3 of 3") == 1
    assert caplog.messages[-1] == "Saved the run after epoch 3 of 3"
    assert not any(str(tmp_path) in message for message in caplog.messages)


def test_the_logger_of_the_package_has_a_null_handler():
    handlers = logging.getLogger("pleura").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
