"""The documents say what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from abi.catalogue import page
from containers import secrets

REPO = Path(__file__).resolve().parent.parent


def test_the_page_of_calls_is_made_from_the_tables():
    assert (REPO / "docs/syscalls.md").read_text() == page(), "run: python -m abi.catalogue > docs/syscalls.md"


def test_the_page_of_secrets_is_made_from_the_lists():
    assert (REPO / "docs/secrets.md").read_text() == secrets.page(), "run: python -m containers.secrets > docs/secrets.md"


def test_every_link_between_the_documents_leads_to_a_file():
    for document in [REPO / "README.md", REPO / "CHANGELOG.md", *REPO.glob("docs/*.md"), *REPO.glob("bench/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_two_commands_of_the_readme_are_in_it_and_in_ci():
    text = (REPO / "README.md").read_text()
    assert "sh .ci/setup && .venv/bin/int80 run" in text
    assert "sh .ci/test" in text
    assert ".ci/test" in (REPO / ".ci/run").read_text()


def test_every_option_of_run_is_in_the_readme():
    from runner import _run_parser

    text = (REPO / "README.md").read_text()
    options = {string for action in _run_parser()._actions for string in action.option_strings if string.startswith("--")}
    assert [option for option in sorted(options - {"--help"}) if option not in text] == []


def test_the_licence_is_the_one_the_package_names():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert project["license"] == "GPL-2.0-only"
    assert "GNU GENERAL PUBLIC LICENSE" in (REPO / "LICENSE").read_text()
