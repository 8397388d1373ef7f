"""The `course` command.

Each command imports what it needs when it runs, so that copying notebooks or printing help never waits for
torch, and a missing extra is reported by the one command that wants it.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from course_lib import course

EXTRAS = {
    "nbclient": "lab",
    "nbformat": "lab",
    "ipykernel": "lab",
    "psutil": "lab",
    "voila": "explore",
    "jupytext": "author",
    "yaml": "author",
    "IPython": "grade",
    "distributed": "grade",
    "sphinx": "site",
    "myst_nb": "site",
    "sphinx_book_theme": "site",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # redirected on Windows, it may not know → and ≥
            stream.reconfigure(errors="replace")
    options, rest = parser().parse_known_args(arguments)
    if rest and options.command not in (lab, explore):
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        return options.command(options)
    except (ValueError, OSError) as error:
        print(f"course: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"course: {_remedy(error)}", file=sys.stderr)
        return 1


def _remedy(error: ModuleNotFoundError) -> str:
    """What to do about a module that is not there; the error itself when it is none of the known ones."""
    if error.name in EXTRAS:
        return f"{error.name} is missing; run:  {mend(EXTRAS[error.name])}"
    if error.name in ("course_lib.authoring", "course_lib.grading"):
        return "this copy of the course is for students: it has no sources, no grader, and nothing to build them with"
    raise error


def mend(extra: str) -> str:
    """The line that installs an extra."""
    return f'python -m pip install -c constraints.txt -e ".[{extra}]"'


def parser() -> argparse.ArgumentParser:
    """The command line. Abbreviations are off: `--no-browser` and the like belong to JupyterLab."""
    top = argparse.ArgumentParser(
        prog="course", description="A course on linear-time models for Transformers."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _lab_parser(commands)
    text = "serve the widgets of all chapters as a web page on this machine; further arguments go to Voilà"
    _command(commands, "explore", explore, text)
    _run_parser(commands)
    _build_parser(commands)
    _new_parser(commands)
    _command(commands, "doctor", doctor, "say what this machine and this installation can do")
    _publish_parser(commands)
    _command(commands, "site", site, "make the website, readable offline, in build/site")
    _bench_parser(commands)
    _train_parser(commands)
    _grade_parser(commands)
    _export_parser(commands)
    _selftest_parser(commands)
    _attack_parser(commands)
    return top


def _command(commands: argparse._SubParsersAction, name: str, function, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=function)
    return parser


def _lab_parser(commands: argparse._SubParsersAction) -> None:
    text = "copy the notebooks into work/ and start JupyterLab there; further arguments go to JupyterLab"
    parser = _command(commands, "lab", lab, text)
    parser.add_argument(
        "--reset",
        metavar="NN",
        action="append",
        default=[],
        help="take chapter NN anew; asks, and keeps a backup",
    )


def _run_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "run", run, "execute chapters into build/ and report time, memory and answers"
    )
    parser.add_argument("numbers", metavar="NN", nargs="*", help="chapters, by number")
    parser.add_argument("--all", action="store_true", help="every chapter that is written")
    parser.add_argument("--solution", action="store_true", help="the solution notebooks (needs the sources)")


def _build_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "build", build, "make the notebooks from their sources")
    parser.add_argument(
        "numbers", metavar="NN", nargs="*", help="chapters, by number; all when none is given"
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 and name every fault")
    parser.add_argument("--format", action="store_true", help="format the code in the sources first")
    parser.add_argument("--force", action="store_true", help="execute even what has not changed")


def _new_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "new", new, "scaffold a small whole chapter to write over")
    parser.add_argument("what", choices=["chapter"])
    parser.add_argument("slug", metavar="SLUG", help="words with dashes, as in gated-memory")
    parser.add_argument("--number", metavar="NN", help="default: one more than the last chapter's")
    parser.add_argument("--title", help="default: the slug in words")
    parser.add_argument("--part", metavar="PART", help="of course.yml; default: the last")
    parser.add_argument(
        "--learn-before",
        metavar=("NN", "WHY"),
        nargs=2,
        action="append",
        help="a chapter that this one needs, and the reason; default: the first chapter",
    )


def _publish_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "publish", publish, "stamp the course's address, or write a tree for a class")
    parser.add_argument(
        "--repo", metavar="OWNER/NAME", help="where Colab and Binder fetch it; default: git remote"
    )
    parser.add_argument("--ref", metavar="TAG", default="main", help="tag or branch; default: main")
    parser.add_argument(
        "--student-tree", metavar="DIR", type=Path, help="write a tree without sources and solutions"
    )


def _bench_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "bench", bench, "measure every mixer on this machine, over lengths, passes and dtypes"
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=["mixers", "grader"],
        help="mixers: one table of every mixer beside its aim instead; grader: submissions a minute",
    )
    parser.add_argument("--folder", metavar="DIR", type=Path, help="where the CSV files go")
    parser.add_argument(
        "--seconds", metavar="S", type=float, help="time budget; default: 600, for mixers 350"
    )
    parser.add_argument(
        "--longest", metavar="T", type=int, default=sys.maxsize, help="lengths up to T, for a first look"
    )


def _train_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "train", train, "train the recorded experiments; one cut off goes on")
    parser.add_argument("names", metavar="NAME", nargs="*", help="experiments; all when none is given")
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, help="where the files go; default: data/training"
    )
    parser.add_argument("--seeds", metavar="N", type=int, help="fewer or more than the experiment has")


def _grade_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "grade", grade, "grade a folder or zip of submissions in a sandbox")
    parser.add_argument(
        "submissions", metavar="SUBMISSIONS", type=Path, help="notebooks, or a platform's zip"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the grades go")
    parser.add_argument("--jobs", metavar="N", type=int, help="processes; default: one a core")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of dask.distributed: tls://…, or on this machine"
    )
    parser.add_argument(
        "--seed-file", metavar="F", type=Path, help="a secret line of text; default: DIR/seed"
    )
    parser.add_argument("--resume", action="store_true", help="go on where a run was stopped")
    parser.add_argument(
        "--student", metavar="NAME", action="append", default=[], help="grade only NAME, anew"
    )
    parser.add_argument("--question", metavar="ID", action="append", default=[], help="grade only ID, anew")
    parser.add_argument("--questions", metavar="DIR", type=Path, help="a folder with questions of your own")
    parser.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="for your own notebooks only: they can do what you can",
    )


def _export_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "export", export, "write grades in a learning platform's form")
    parser.add_argument("grades", metavar="GRADES", type=Path, help="what `course grade --out` wrote")
    parser.add_argument("--to", required=True, choices=["canvas", "moodle", "nbgrader", "gradescope"])


def _selftest_parser(commands: argparse._SubParsersAction) -> None:
    text = "send every declared answer of every question through the sandbox"
    parser = _command(commands, "selftest", selftest, text)
    parser.add_argument(
        "numbers", metavar="NN", nargs="*", help="chapters, by number; all when none is given"
    )
    parser.add_argument("--jobs", metavar="N", type=int, help="processes; default: one a core")


def _attack_parser(commands: argparse._SubParsersAction) -> None:
    text = "send hostile notebooks through the sandbox: each must get its fair score, and nothing else"
    parser = _command(commands, "attack", attack, text)
    parser.add_argument("--jobs", metavar="N", type=int, help="processes; default: one a core")


# ---- commands ---------------------------------------------------------------------------------


def lab(options: argparse.Namespace) -> int:
    """`course lab`."""
    from course_lib import lab as laboratory

    released, work = course.notebooks_folder(), (course.checkout() or Path.cwd()) / "work"
    for number in options.reset:
        print(laboratory.reset(released, work, number, ask=input))
    for note in laboratory.update(released, work):
        print(note)
    return laboratory.start(work, options.rest)


def explore(options: argparse.Namespace) -> int:
    """`course explore`."""
    from course_lib import explore as explorers

    return explorers.start(course.load(), options.rest)


def run(options: argparse.Namespace) -> int:
    """`course run`."""
    from course_lib.run import run_command

    chapters = _ready(options.numbers, everything=options.all)
    base = course.checkout() or Path.cwd()
    if options.solution:
        from course_lib.authoring.build import write_unexecuted

        sources = write_unexecuted(_checkout(), chapters, base / "build" / "run" / "unexecuted")
    else:
        sources = {c.number: course.notebooks_folder() / c.notebook for c in chapters}
    folder = course.notebooks_folder() if course.checkout() else Path.cwd()
    name = "solutions" if options.solution else "notebooks"
    return run_command(chapters, sources, base / "build" / "run" / name, folder)


def _ready(numbers: Sequence[str], *, everything: bool) -> list[course.Chapter]:
    known = course.load()
    if not numbers and not everything:
        raise ValueError("name a chapter, as in `course run 08`, or say --all")
    chapters = list(known.ready) if everything else [known.chapter(number) for number in numbers]
    if planned := [c.number for c in chapters if not c.ready]:
        raise ValueError(f"not written yet: {', '.join(planned)}")
    return chapters


def build(options: argparse.Namespace) -> int:
    """`course build`."""
    from course_lib.authoring import build as builder
    from course_lib.authoring import check

    root = _checkout()
    if options.format:
        builder.format_sources(root, options.numbers)
    if not options.check:
        return int(bool(builder.build(root, options.numbers, force=options.force)))
    faults, notes = check.check(root, options.numbers)
    for note in notes:
        print(f"note: {note}")
    for fault in faults:
        print(f"fault: {fault}")
    print(f"{len(faults)} faults" if faults else "the notebooks agree with their sources")
    return int(bool(faults))


def new(options: argparse.Namespace) -> int:
    """`course new chapter`."""
    from course_lib.authoring import new as scaffold

    said = scaffold.chapter(
        _checkout(),
        options.slug,
        title=options.title,
        number=options.number,
        part=options.part,
        learn_before=dict(options.learn_before or ()),
    )
    print(*said, sep="\n")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """`course doctor`."""
    from course_lib.doctor import report

    text, healthy = report()
    print(text)
    return 0 if healthy else 1


def publish(options: argparse.Namespace) -> int:
    """`course publish`."""
    from course_lib.authoring import publish as publisher

    root = _checkout()
    if options.repo or not options.student_tree:  # first, so that the tree carries the address
        print(publisher.stamp(root, options.repo or publisher.remote(root), options.ref))
    if options.student_tree:
        print(publisher.student_tree(root, options.student_tree))
    return 0


def site(options: argparse.Namespace) -> int:
    """`course site`."""
    from course_lib.authoring.site import build as builder

    print(f"open {builder.site(_checkout()) / 'index.html'} in a browser")
    return 0


def bench(options: argparse.Namespace) -> int:
    """`course bench`."""
    import torch

    torch.set_num_threads(1)
    base = course.checkout() or Path.cwd()
    if options.what == "mixers":
        from course_lib.timing import mixers

        sweeps, files = mixers.record(options.folder or base / "build" / "bench", options.seconds or 350.0)
        print(mixers.table(sweeps))
        print(*files, sep="\n")
        return 0
    if options.what == "grader":
        from course_lib.grading import throughput

        sweep, path = throughput.record(options.folder or base / "data" / "measurements")
        print(*throughput.lines(sweep), path, sep="\n")
        return 0
    from course_lib.timing import campaign, load_sweep

    folder = options.folder or base / "data" / "measurements"
    path = campaign.campaign(folder, options.seconds or 600.0, options.longest)
    print(*campaign.lines(load_sweep(path)), path, sep="\n")
    return 0


def train(options: argparse.Namespace) -> int:
    """`course train`."""
    from course_lib import experiments

    folder = options.folder or (course.checkout() or Path.cwd()) / "data" / "training"
    for name in options.names or experiments.EXPERIMENTS:
        print(f"{name} -> {folder / f'{name}.csv'}")
        for line in experiments.record(name, folder, options.seeds):
            print("  " + line, flush=True)
    return 0


def grade(options: argparse.Namespace) -> int:
    """`course grade`."""
    from course_lib.grading import report
    from course_lib.grading.run import Order, run

    order = Order(
        submissions=options.submissions,
        out=options.out,
        jobs=options.jobs or os.cpu_count() or 1,
        scheduler=options.scheduler,
        seed_file=options.seed_file,
        private=options.questions,
        resume=options.resume,
        students=tuple(options.student),
        questions=tuple(options.question),
        unsafe=options.unsafe_no_sandbox,
    )
    results = run(order)
    print(report.table(report.students(results)))
    faults = [result for result in results if result.get("fault")]
    if faults:
        print(f"{len(faults)} not graded; --resume tries them again; {order.out / 'run.json'} says why")
    print(f"{order.out / 'grades.csv'}, per-case.csv and feedback/ beside it")
    return int(bool(faults))


def export(options: argparse.Namespace) -> int:
    """`course export`."""
    from course_lib.grading.export import export as write

    print(*write(options.grades, options.to), sep="\n")
    return 0


def selftest(options: argparse.Namespace) -> int:
    """`course selftest`."""
    from course_lib.grading.selftest import selftest as test

    chapters = [chapter.number for chapter in _ready(options.numbers, everything=not options.numbers)]
    return int(bool(test(chapters, options.jobs or os.cpu_count() or 1)))


def attack(options: argparse.Namespace) -> int:
    """`course attack`."""
    from course_lib.grading.attacks import run_attacks

    return int(any(outcome.faults for outcome in run_attacks(options.jobs or os.cpu_count() or 1)))


def _checkout() -> Path:
    root = course.checkout()
    if root is None:
        raise ValueError("this command works on a checkout of the course, and this is an installed wheel")
    return root


if __name__ == "__main__":
    sys.exit(main())
