import pytest
from rich.console import Console

from pleura.training.callbacks import StepReport, TrainingCallbacks
from pleura.training.progress import _new_bar, training_progress

ROW = dict.fromkeys(
    ("loss", "accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds"), 0.5
)


@pytest.mark.parametrize(("show", "shown"), [(True, True), (False, False), (None, False)])
def test_lines_are_shown_on_request_and_callbacks_are_always_called(capsys, show, shown):
    called = []
    callbacks = TrainingCallbacks(
        lambda *_: called.append("read"),
        lambda _: called.append("step"),
        lambda _: called.append("epoch"),
    )
    with training_progress(show, 2, callbacks) as reported:
        reported.on_read(1, 1)
        reported.on_step(StepReport(1, 2, 1, 1, 0.5, 0.5, 0.001))
        reported.on_epoch({"epoch": 1, **ROW})
    assert called == ["read", "step", "epoch"]
    output = capsys.readouterr()
    assert ("epoch   1/2  loss 0.5000" in output.err) == shown
    assert not output.out


def test_bar_is_shown_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes standard error for a terminal
    with training_progress(None, 2, TrainingCallbacks()) as reported:
        reported.on_read(1, 1)
        reported.on_step(StepReport(1, 2, 1, 2, 0.5, 0.5, 0.001))
    assert "training" in capsys.readouterr().err


def test_notebook_without_widgets_has_no_bar(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert _new_bar(Console(force_jupyter=True), interactive=True).disable
