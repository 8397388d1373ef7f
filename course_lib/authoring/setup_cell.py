# Finds course_lib here, or installs it on Colab.
# It never touches torch, numpy or ipywidgets.
import importlib.util
import subprocess
import sys
from pathlib import Path

ADDRESS = ""  # stamped by `course publish`

if importlib.util.find_spec("course_lib") is None:
    here, names = Path.cwd(), ("course_lib*.whl", "linear_time_models_course-*.whl")
    roots = [p for p in (here, *here.parents) if (p / "course_lib" / "__init__.py").is_file()]
    package = next((str(wheel) for name in names for wheel in here.glob(name)), ADDRESS)
    if roots:
        sys.path.insert(0, str(roots[0]))
    elif "google.colab" in sys.modules and package:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", package], check=True)
        importlib.invalidate_caches()
    else:
        raise ModuleNotFoundError(
            "course_lib is not installed. On Colab: upload the course's wheel (its name ends in .whl) to the "
            "file pane on the left, then run this cell again. On your machine: in the course's folder, run  "
            'python -m pip install -c constraints.txt -e ".[lab]"  and restart the kernel.'
        )
