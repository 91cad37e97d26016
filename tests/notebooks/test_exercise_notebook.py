"""The notebooks are in sync with their text form, run, and check what students write."""

import importlib
import re
import sys
from pathlib import Path

import matplotlib as mpl
import nbformat
import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"


sys.path.insert(0, str(FOLDER))
generator = importlib.import_module("make_notebooks")
marking = importlib.import_module("mark_notebooks")
EXERCISE = generator.read_source(generator.EXERCISE)
STUDENT = nbformat.read(generator.STUDENT, as_version=4)
SOLUTIONS = generator.solutions(EXERCISE)


def tags(cell):
    return cell.metadata.get("tags", [])


def tasks(notebook):
    """Return (task cell, check cell) of each task."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(cell, code[i + 1]) for i, cell in enumerate(code) if "task" in tags(cell)]


def number(check):
    return re.search(r'print\("(Task \d+): correct"\)', check.source)[1]


CHECKS = {number(check): (cell, check) for cell, check in tasks(STUDENT)}


@pytest.mark.parametrize("source", generator.SOURCES, ids=lambda path: path.stem)
def test_notebook_is_in_sync_with_its_text_form(source):
    written = source.with_suffix(".ipynb").read_text("utf-8")
    hint = "run python notebooks/make_notebooks.py"
    assert written == generator.to_text(generator.read_source(source)), hint


def test_student_notebook_is_in_sync():
    written = generator.STUDENT.read_text("utf-8")
    hint = "run python notebooks/make_notebooks.py"
    assert written == generator.to_text(generator.student_version(EXERCISE)), hint


def test_notebooks_have_no_outputs_and_are_small():
    paths = sorted(FOLDER.glob("*.ipynb"))
    assert len(paths) >= 2
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert not any(cell.get("outputs") for cell in notebook.cells), path
        assert path.stat().st_size < 150_000


def test_exercise_has_all_tasks_and_each_code_task_has_a_check():
    titles = [cell.source for cell in EXERCISE.cells if cell.cell_type == "markdown"]
    for task in range(1, 15):
        assert any(f"## Task {task}:" in title for title in titles), task
    for cell, check in tasks(EXERCISE):
        assert "check" in tags(check), cell.source
    assert list(CHECKS) == [f"Task {i}" for i in (1, 3, 4, 6, 7, 8, 9, 12, 13, 14)]
    questions = [text for text in titles if "**Question" in text]
    assert len(questions) == sum("answer" in tags(cell) for cell in EXERCISE.cells) >= 9


def test_student_notebook_has_neither_solutions_nor_answers():
    text = "\n".join(cell.source for cell in STUDENT.cells)
    assert "SOLUTION" not in text
    for cell in EXERCISE.cells:
        if "answer" in tags(cell):
            assert cell.source not in text
    for what, code in SOLUTIONS.items():
        assert code not in text, what
        assert f'raise NotImplementedError("{what}")' in text


def filled(source, changes=None):
    """Return the code of a cell of the student notebook, with solutions filled in."""

    def fill(match):
        return SOLUTIONS[match[1]]

    source = re.sub(r'^ *raise NotImplementedError\("(.*)"\)$', fill, source, flags=re.MULTILINE)
    for old, new in (changes or {}).items():
        assert old in source, old
        source = source.replace(old, new)
    return source


@pytest.fixture
def names(monkeypatch, tmp_path):
    """The names of the first two code cells: imports, settings."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PLEURA_EXERCISE_DATA", raising=False)
    mpl.use("agg")
    found = {}
    with mpl.rc_context():
        for cell in STUDENT.cells:
            if "setup" in tags(cell):
                run(cell.source, found)
        yield found


def run(source, names):
    exec(compile(source, "notebook", "exec"), names)  # noqa: S102


@pytest.mark.parametrize("task", CHECKS)
def test_check_names_what_to_do_in_an_unfilled_cell(task, names):
    for other, (cell, _) in CHECKS.items():
        if int(other.split()[1]) < int(task.split()[1]):
            run(filled(cell.source), names)
    cell, check = CHECKS[task]
    run(cell.source, names)
    with pytest.raises(NotImplementedError, match=f"{task.lower()}: "):
        run(check.source, names)


def test_checks_accept_the_solutions(names, capsys):
    for cell, check in CHECKS.values():
        run(filled(cell.source), names)
        run(check.source, names)
    correct = [f"{task}: correct" for task in CHECKS]
    assert capsys.readouterr().out.splitlines()[-len(correct) :] == correct


MISTAKES = [
    ("Task 1", {"[..., np.newaxis]": "[np.newaxis]"}, "the channel is the last axis"),
    ("Task 1", {"image / image.max()": "image / np.float32(2000)"}, "divide by the maximum"),
    ("Task 1", {".reshape(size, size, image.shape[2])": ""}, r"expected shape \(20, 20, 1\)"),
    ("Task 1", {"interpolation=interpolation": "interpolation=cv2.INTER_AREA"}, "interpolation"),
    ("Task 1", {"sorted(names)": "list(names)"}, "sort the names"),
    ("Task 1", {"int(0.2 *": "int(0.3 *"}, "expected 160, 53 and 54"),
    ("Task 3", {"cv2.INTER_NEAREST": "cv2.INTER_LINEAR"}, "INTER_NEAREST for the mask"),
    ("Task 3", {"uniform(-0.1, 0.1": "uniform(-0.3, 0.3"}, "at most 0.1"),
    ("Task 3", {"rng.uniform(-10, 10)": "np.random.uniform(-10, 10)"}, "from rng"),
    ("Task 3", {"uniform(0.9, 1.1)": "uniform(1, 1.1)"}, "smallest zoom"),
    ("Task 3", {"masks[i, ..., 0]": "masks[0, ..., 0]"}, "mask belongs to another image"),
    ("Task 3", {"rng.permutation(len(images))": "np.arange(len(images))"}, "order is random"),
    ("Task 4", {", mask[..., 0])": ")"}, "3 of the 6 axes have a contour"),
    ("Task 6", {"self.head(self.dropout(x))": "self.head(self.dropout(x)).sigmoid()"}, "logits"),
    ("Task 6", {"nn.Conv2d(2 * second, second": "nn.Conv2d(second, second"}, "902,593"),
    ("Task 6", {"self.dropout(x)": "x"}, "dropout"),
    ("Task 7", {"_with_logits(logits": "(torch.sigmoid(logits)"}, "no gradient"),
    ("Task 7", {"optimiser.zero_grad()": ""}, "gradients to zero"),
    ("Task 7", {"optimiser.step()": ""}, "step the optimiser"),
    ("Task 7", {"logits > 0)": "logits > 0.5)"}, "inputs are logits"),
    ("Task 8", {"epoch - 20": "epoch - 19"}, "epoch 20 still"),
    ("Task 9", {'row["loss"]': 'row["validation_loss"]'}, "training loss first"),
    ("Task 12", {' if union else float("nan")': " if union else 0"}, "have nan"),
    ("Task 12", {"reference | prediction": "reference"}, "1/3"),
    ("Task 13", {"np.nanmean": "np.mean"}, "nan is left out"),
    ("Task 13", {">= threshold": "> threshold"}, "threshold itself"),
    ("Task 14", {"score < high or": "score <= high or"}, "for the bands"),
    ("Task 14", {"del remaining[chosen[-1]]": ""}, "twice"),
]


@pytest.mark.parametrize(("task", "changes", "message"), MISTAKES)
def test_checks_name_common_mistakes(task, changes, message, names):
    for other, (cell, _) in CHECKS.items():
        run(filled(cell.source, changes if other == task else None), names)
    with pytest.raises(AssertionError, match=message):
        run(CHECKS[task][1].source, names)


def execute(notebook, folder, monkeypatch, data=""):
    """Execute a notebook in a folder in which the sample is found; return its printed text."""
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PLEURA_EXERCISE_DATA", str(data))
    monkeypatch.setenv("PLEURA_SCAN", "")
    monkeypatch.setenv("PLEURA_REFERENCE", "")
    (folder / "tests").symlink_to(ROOT / "tests")
    resources = {"metadata": {"path": folder}}
    nbclient.NotebookClient(notebook, timeout=3600, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_student_notebook_runs_on_the_sample_with_its_solutions(tmp_path, monkeypatch):
    notebook = nbformat.read(generator.STUDENT, as_version=4)
    for cell in notebook.cells:
        cell.source = filled(cell.source)
    printed = execute(notebook, tmp_path, monkeypatch)
    assert "largest difference: 0.0" in printed  # of arrays of the notebook and of pleura
    assert printed.count("902,593 parameters") == 2
    assert "rates equal: True" in printed
    own, _, others = re.findall(r"(?:IoU|pleura) at threshold 0\.[15]: +([\d.]+)", printed)
    assert own == others
    iou = float(re.search(r"IoU at threshold 0\.5: ([\d.]+)", printed)[1])
    assert 0.6 < iou < 0.95
    assert all(f"{task}: correct" in printed for task in CHECKS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_exercise_runs_on_the_full_set(tmp_path, monkeypatch, data):
    notebook = generator.read_source(generator.EXERCISE)
    for cell in notebook.cells:  # one epoch: the accuracy of 40 is in docs/experiments.md
        cell.source = cell.source.replace("EPOCHS = 40", "EPOCHS = 1")
    printed = execute(notebook, tmp_path, monkeypatch, data / "kmader")
    for subset, count in (("training", 160), ("validation", 53), ("test", 54)):
        assert f"{subset:<11} images ({count}, 128, 128, 1)" in printed
    assert "largest difference: 0.0" in printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dicom_notebook_runs_without_pytorch_and_matplotlib(tmp_path, monkeypatch):
    notebook = generator.read_source(FOLDER / "segment_your_dicom.py")
    block = "import sys\nsys.modules['torch'] = sys.modules['matplotlib'] = None\n"
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = block + first.source
    printed = execute(notebook, tmp_path, monkeypatch)
    assert "number of lung voxels equal: True" in printed
    assert "RTSTRUCT: ['Lung_R', 'Lung_L']" in printed
    assert "right 2202 ml, left 1819 ml" in printed
    for name in ("lungs.nii.gz", "lungs.dcm", "lungs.rtstruct.dcm", "slices.csv", "report.json"):
        assert (tmp_path / "runs" / "dicom" / name).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_marking_uses_the_original_checks(tmp_path, monkeypatch):
    monkeypatch.setenv("PLEURA_EXERCISE_DATA", "")
    notebook = nbformat.read(generator.STUDENT, as_version=4)
    for cell in notebook.cells:
        if "check" in tags(cell):
            cell.source = "print('everything is correct')"
        if number_of(cell) in (1, 12):
            cell.source = filled(cell.source)
    nbformat.write(notebook, tmp_path / "student.ipynb")
    results = dict(marking.mark(tmp_path / "student.ipynb"))
    assert list(results) == list(CHECKS)
    correct = [task for task, message in results.items() if message == "correct"]
    assert correct == ["Task 1", "Task 12"]
    assert results["Task 8"].startswith("NotImplementedError: task 8: ")


def number_of(cell):
    """Return the number of the task of an unfilled cell, or 0."""
    found = re.search(r'NotImplementedError\("task (\d+):', cell.source)
    return int(found[1]) if found else 0
