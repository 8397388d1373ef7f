"""The student tree, the address, and the set-up cell on a bare machine, in a checkout, and on Colab."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from course_lib import cli
from course_lib.authoring import build, graph, publish, source

ROOT = Path(__file__).parents[2]
PACKAGED = ("pyproject.toml", "README.md", "LICENSE", "course_lib", "data", "notebooks")
FAKE_COLAB = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')\n"
WHERE = "\nimport course_lib; print(course_lib.__file__)"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def committed(folder: Path) -> Path:
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=release")
    return folder


@pytest.fixture
def repository(built: Path) -> Path:
    (built / ".gitignore").write_text("/build/\n__pycache__/\n")
    return committed(built)


# ---- student tree -------------------------------------------------------------------------------


def test_the_student_tree_holds_no_sources_and_no_solutions(repository, tmp_path):
    (repository / "course_lib/authoring").mkdir()
    (repository / "course_lib/authoring/__init__.py").write_text("")
    (repository / "tests").mkdir()
    (repository / "tests/test_a.py").write_text("from course_lib.authoring import build\n")
    (repository / "tests/test_b.py").write_text("from course_lib import steps\n")
    git(repository, "add", "--all")
    (repository / "grades.csv").write_text("who,points")
    said = publish.student_tree(repository, tmp_path / "class")
    files = {
        p.relative_to(tmp_path / "class").as_posix() for p in (tmp_path / "class").rglob("*") if p.is_file()
    }
    assert {"notebooks/00_first-steps.ipynb", "course_lib/steps.py", "tests/test_b.py"} <= files
    assert not any(f.startswith(("notebooks/source", "build", "course_lib/authoring")) for f in files)
    assert "tests/test_a.py" not in files
    assert "grades.csv" not in files, "what git does not track is not the class's to see"
    assert f"{len(files)} files" in said
    texts = [p.read_text(encoding="utf-8") for p in (tmp_path / "class").rglob("*") if p.is_file()]
    assert not any("the whole secret" in text for text in texts)


def test_a_folder_with_files_is_refused(repository, tmp_path):
    (tmp_path / "class").mkdir()
    (tmp_path / "class/mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        publish.student_tree(repository, tmp_path / "class")
    assert [p.name for p in (tmp_path / "class").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("repository_", "ref"), [('a"b', "main"), ("C:\\Users\\me", "main"), ("a/b", "v 1"), ("a/b", "")]
)
def test_an_address_that_would_break_files_changes_none(repository, repository_, ref):
    before = (repository / "notebooks/course.yml").read_bytes()
    with pytest.raises(ValueError, match=r"is '.*'; letters, digits and"):
        publish.stamp(repository, repository_, ref)
    assert (repository / "notebooks/course.yml").read_bytes() == before


def test_a_tree_written_with_an_address_carries_it(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_checkout", lambda: repository)
    command = ["publish", "--repo", "who/what", "--ref", "v1", "--student-tree", str(tmp_path / "class")]
    assert cli.main(command) == 0
    assert json.loads((tmp_path / "class/course_lib/course.json").read_text())["repository"] == "who/what"


@pytest.mark.parametrize("name", ["notebooks/draft.md", "notebooks/draft.ipynb"])
def test_a_tracked_file_with_a_solution_is_refused(repository, tmp_path, name):
    mark = "    ### BEGIN SOLUTION"
    text = json.dumps({"source": [mark + "\n", "x"]}, indent=1) if name.endswith("ipynb") else f"{mark}\nx\n"
    (repository / name).write_text(text)
    git(repository, "add", "--all")
    with pytest.raises(ValueError, match=f"hold a solution and would be seen: {name}"):
        publish.student_tree(repository, tmp_path / "class")
    assert not (tmp_path / "class").exists()


def test_a_tree_without_git_is_refused(built, tmp_path):
    with pytest.raises(ValueError, match="needs a git checkout"):
        publish.student_tree(built, tmp_path / "class")


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    """The student tree of this very checkout."""
    whole, folder = tmp_path_factory.mktemp("whole") / "tree", tmp_path_factory.mktemp("student") / "tree"
    untracked = shutil.ignore_patterns(
        ".git", "build", "work", ".venv", ".*_cache", ".hypothesis", "__pycache__"
    )
    shutil.copytree(ROOT, whole, ignore=untracked)
    publish.student_tree(committed(whole), folder)
    return folder


def test_no_solution_is_in_the_real_student_tree(student):
    assert not (student / "notebooks/source").exists()
    assert not (student / "course_lib/authoring").exists()
    assert (student / "conftest.py").is_file()
    for path in student.rglob("*"):
        if path.suffix in (".py", ".ipynb"):
            assert source.BEGIN not in path.read_text(encoding="utf-8"), path.name


def test_the_real_student_tree_works_and_builds_nothing(student):
    env = os.environ | {"PYTHONPATH": str(student)}
    command = [sys.executable, "-m", "course_lib.cli"]
    helped = subprocess.run(
        [*command, "--help"], cwd=student, env=env, capture_output=True, text=True, check=True
    )
    assert "lab" in helped.stdout
    built = subprocess.run(
        [*command, "build"], cwd=student, env=env, capture_output=True, text=True, check=False
    )
    assert built.returncode == 1
    assert "this copy of the course is for students" in built.stderr
    program = "import course_lib.exercises as e, course_lib.run; print(e.__file__)"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=student, env=env, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(student)


# ---- the address --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("https://github.com/who/what.git", "who/what"),
        ("https://github.com/who/what", "who/what"),
        ("git@github.com:who/what.git", "who/what"),
        ("ssh://git@github.com/who/what.git", "who/what"),
        ("https://user:token@github.com/who/what.git", "who/what"),
        ("https://user:token@git.example.org/who/what.git", "https://git.example.org/who/what.git"),
        ("git@git.example.org:who/what.git", "ssh://git@git.example.org/who/what.git"),
        ("file:///srv/what", "file:///srv/what"),
    ],
)
def test_the_repository_of_a_remote(url, repository):
    assert publish.repository_of(url) == repository


def test_the_default_is_the_remote(repository):
    with pytest.raises(ValueError, match="say --repo OWNER/NAME"):
        publish.remote(repository)
    git(repository, "remote", "add", "origin", "git@github.com:who/what.git")
    assert publish.remote(repository) == "who/what"
    assert publish.stamp(repository, publish.remote(repository), "v2") == "stamped who/what at v2"
    assert graph.load(repository).ref == "v2"


# ---- the set-up cell ----------------------------------------------------------------------------


def set_up(
    folder: Path, text: str, *, site: bool = False, python: Path | str = sys.executable
) -> subprocess.CompletedProcess:
    """Runs the cell in `folder`, without site-packages unless `site`, so that course_lib is not installed."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(python), *([] if site else ["-S"]), "-c", text + WHERE]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)


def cell_text(repository: str = "", ref: str = "main") -> str:
    data = graph.read(ROOT) | {"repository": repository, "ref": ref}
    return source.setup_text(graph.from_dict(data))


def test_the_set_up_cell_is_short():
    assert len(cell_text().splitlines()) <= 25


def test_locally_it_uses_the_installed_package(tmp_path):
    ran = set_up(tmp_path, cell_text(), site=True)
    assert Path(ran.stdout.strip()) == ROOT / "course_lib" / "__init__.py", ran.stderr


def test_locally_it_walks_up_to_the_checkout(tiny):
    (tiny / "work/deep").mkdir(parents=True)
    ran = set_up(tiny / "work/deep", cell_text())
    assert Path(ran.stdout.strip()) == tiny / "course_lib/__init__.py", ran.stderr


def test_a_bare_machine_is_told_what_to_do(tmp_path):
    ran = set_up(tmp_path, cell_text("who/what"))
    assert ran.returncode == 1
    assert "course_lib is not installed" in ran.stderr
    assert 'python -m pip install -c constraints.txt -e ".[lab]"' in ran.stderr


def test_colab_without_an_address_or_a_wheel_is_told_what_to_do(tmp_path):
    ran = set_up(tmp_path, FAKE_COLAB + cell_text())
    assert ran.returncode == 1
    assert "On Colab: upload the course's wheel" in ran.stderr


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A git repository of what the course's wheel is made from, as this checkout has it."""
    folder = tmp_path_factory.mktemp("release")
    for name in PACKAGED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    (folder / ".gitignore").write_text("__pycache__/\n")
    (folder / "data/measurements/.gitkeep").touch()
    return committed(folder)


@pytest.fixture
def machine(tmp_path) -> Path:
    """The interpreter of a new environment: a machine that has pip and nothing else."""
    venv.create(tmp_path / "machine", with_pip=True)
    return tmp_path / "machine" / ("Scripts" if os.name == "nt" else "bin") / "python"


def installed(machine: Path) -> set[str]:
    command = [str(machine), "-m", "pip", "list", "--format=freeze"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.partition("==")[0] for line in listed.splitlines()}


def assert_installs(machine: Path, folder: Path, text: str) -> None:
    before = installed(machine)
    ran = set_up(folder, FAKE_COLAB + text, site=True, python=machine)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip().splitlines()[-1]).is_relative_to(folder / "machine")
    assert installed(machine) - before == {"linear-time-models-course"}, "no dependency is ever installed"
    program = "from course_lib import course; print(len(course.load().chapters))"
    command = [str(machine), "-c", program]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout.strip() == b"22"


def test_colab_installs_from_the_repository(release, machine, tmp_path):
    text = cell_text(release.as_uri())
    assert f"git+{release.as_uri()}@main" in text
    assert_installs(machine, tmp_path, text)


@pytest.fixture(scope="module")
def wheel(release, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(release)], check=True)
    return next(folder.glob("*.whl"))


def test_colab_installs_from_an_uploaded_wheel(wheel, machine, tmp_path):
    assert wheel.name == "linear_time_models_course-0.1.0-py3-none-any.whl"
    shutil.copy2(wheel, tmp_path)
    assert_installs(machine, tmp_path, cell_text("who/does-not-exist"))


def test_the_wheel_holds_notebooks_and_recordings_and_no_sources(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"course_lib/notebooks/08_linear-attention.ipynb", "course_lib/recorded/prefill-cpu.csv"} <= set(
        names
    )
    assert not [name for name in names if "source/" in name or name.endswith("course.yml")]


def test_every_notebook_has_the_same_set_up_cell(built):
    course = graph.load(built)
    for solution in (False, True):
        notebook = build.read_notebook(build.target(built, course.chapter("00"), solution=solution))
        cell = notebook.cells[1]
        assert (cell.cell_type, cell.source) == ("code", source.setup_text(course))
        assert cell.outputs == []
    assert json.loads((built / "course_lib/course.json").read_text())["repository"] == ""
