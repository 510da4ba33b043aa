"""The docs name every page, command and model, and no link in them leads nowhere."""

import pkgutil
import re
from pathlib import Path

import pytest

import explorer.commands
from explorer.models import registry
from explorer.ui.navigation import PAGES
from tests.conftest import REPOSITORY

DOCS = sorted([*(REPOSITORY / "docs").glob("*.md"), *REPOSITORY.glob("*.md"), *REPOSITORY.glob("checkpoints/*/*.md")])


def text_of(*names: str) -> str:
    return "\n".join((REPOSITORY / name).read_text() for name in names)


@pytest.mark.parametrize("page", sorted(path.stem for path in (REPOSITORY / "pages").glob("*.py")))
def test_every_page_is_in_the_docs(page: str):
    title = next(entry.title for entry in PAGES if entry.name == page)
    assert f"### {title}" in text_of("docs/app.md").splitlines()


COMMANDS = [module.name for module in pkgutil.iter_modules(explorer.commands.__path__) if module.name[0] != "_"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_docs(command: str):
    assert f"python -m explorer {command.replace('_', '-')}" in "\n".join(path.read_text() for path in DOCS)


@pytest.mark.parametrize("key", [entry.key for entry in registry.REGISTRY])
def test_every_model_on_offer_is_in_the_docs(key: str):
    assert f"`{key}`" in text_of("docs/models.md")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(path: Path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing
