import pytest

from pleura.training.callbacks import StepReport, TrainingCallbacks
from pleura.training.progress import training_progress

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


def test_lines_state_the_time_that_is_left_until_the_last_epoch(capsys):
    with training_progress(True, 3, TrainingCallbacks()) as reported:
        reported.on_epoch({"epoch": 1, **ROW, "seconds": 45})
        reported.on_epoch({"epoch": 3, **ROW, "seconds": 45})
    first, last = capsys.readouterr().err.splitlines()
    assert first.endswith("45 s, about 1:30 left")
    assert last.endswith("45 s")


def test_bar_is_shown_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes standard error for a terminal
    with training_progress(None, 2, TrainingCallbacks()) as reported:
        reported.on_read(1, 1)
        reported.on_step(StepReport(1, 2, 1, 2, 0.5, 0.5, 0.001))
    shown = capsys.readouterr().err
    assert all(text in shown for text in ("training", "elapsed", "left"))


@pytest.fixture
def notebook(monkeypatch):
    """Pretend to be in a notebook; return the data of its one output, as they are displayed."""
    shown = []

    class Handle:
        def update(self, bundle, raw):
            shown.append(bundle)

    def display(bundle, raw, display_id):
        shown.append(bundle)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    return shown


def test_notebook_shows_a_bar_that_is_updated(notebook):
    called = []
    callbacks = TrainingCallbacks(on_step=called.append)
    with training_progress(None, 2, callbacks) as reported:
        assert "reading" in notebook[-1]["text/html"]
        reported.on_read(1, 1)
        reported.on_step(StepReport(1, 2, 1, 2, 0.5, 0.5, 0.001))
        reported.on_epoch({"epoch": 1, **ROW})
        html = notebook[-1]["text/html"]
        assert '<progress value="1" max="4"' in html
        assert "left" in html
        reported.on_epoch({"epoch": 2, **ROW})
    assert len(called) == 1
    assert notebook[-1]["text/plain"].startswith("2 epochs in 0:00\nepoch   2/2  loss 0.5000")
    assert notebook[-1]["text/plain"].endswith("0 s, about 0:00 left")


def test_steps_in_quick_succession_update_the_notebook_once(notebook):
    with training_progress(None, 1, TrainingCallbacks()) as reported:
        for step in range(1, 100):
            reported.on_step(StepReport(1, 1, step, 99, 0.5, 0.5, 0.001))
        assert len(notebook) <= 3
