"""What a wheel holds beside the package: the app's pages, its theme and the bundled model, copied into the package.

In a checkout they lie at the top, where `streamlit run explorer/Home.py` finds them; explorer/paths.py knows both.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = "pages", ".streamlit", "checkpoints/bundled"


class BuildWithApp(build_py):
    """build_py, and the app's folders; an editable install uses the checkout's own."""

    def run(self):
        shutil.rmtree(Path(self.build_lib) / "explorer", ignore_errors=True)  # modules of an earlier build
        super().run()
        if not self.editable_mode:
            package = Path(self.build_lib) / "explorer"
            for folder in FOLDERS:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(folder, package / folder, dirs_exist_ok=True, ignore=ignored)


setup(cmdclass={"build_py": BuildWithApp})
