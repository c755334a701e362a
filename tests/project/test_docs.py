"""The pages name only what exists, and the site builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from chunkflow_worker.cli.old_lines import old_operators, old_options
from chunkflow_worker.config.catalog import operator_names
from chunkflow_worker.pipeline.operator import find_operator
from producer.cli import cli as producer
from tests.support.commands import PAGES, PROGRAMS, command_lines, unknown, unknown_words
from tests.support.paths import PLUGIN_PACKAGE, ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
"""They are run, by test_tutorials.py."""

OTHERS = {
    "docs/stages.md": "allow-zeros em-gpu worker-gpu",
    "CONTRIBUTING.md": """
        base-image e2e-docker test-all test-long --directory --repeats --seeds
    """,
    "docs/operators.md": "not-empty",
    "docs/reliability.md": "no-record not-checked -exec -name -prune",
    "docs/scale.md": "machine-hours price-capacity-optimized",
    "docs/service.md": "nvidia-smi application-default z-curve",
    "deploy/README.md": """
        base-image chunkflow-local-aws docker-compose e2e-docker image-gpu worker-cpu worker-gpu
        --build-arg --detach --http-put-response-hop-limit --no-deps --no-recreate --profile
        --provenance --rm --sbom""",
    "deploy/aws/README.md": """
        oldest-message
        delete-stack describe-cluster has-work no-progress nothing-finished put-bucket-policy
        put-public-access-block --bucket --policy --public-access-block-configuration
        --stack-name""",
    "deploy/kubernetes/README.md": "kube-dns kube-system -k --replicas",
}
"""Options, and words with a hyphen, that a page rightly names and that are not ours."""

OLD_WORDS = {
    word for row in (*old_operators(), *old_options()) for old in row.old for word in old.split()
}
"""Words of older versions of chunkflow, which one page lists."""

MADE = {"benchmarks/.envs"}
"""Folders that a command makes."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_a_name_that_does_not_exist_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`load-precomputd`, `status --wach=1`, load-x, `file://out`, `save-*`, `-t`\n")
    assert unknown_words(page) == {"load-precomputd", "--wach"}
    page.write_text(
        "`chunkflow-producer state`\n```bash\nchunkflow treshold \\\n  save-h5 -z 1 # x\n```\n"
    )
    wrong = [name for line in command_lines(page) for name in unknown(line)]
    assert sorted(wrong) == ["cli state", "cli treshold", "save-h5 -z"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_operators_commands_and_options_that_a_page_names_exist(page: Path) -> None:
    old = OLD_WORDS if page.name == "moving.md" else set()
    assert unknown_words(page) - old == set(OTHERS.get(name_of(page), "").split())
    if TUTORIALS not in page.parents:
        assert [name for line in command_lines(page) for name in unknown(line)] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_exist(page: Path) -> None:
    folders = "chunkflow_worker|producer|tests|docs|deploy|benchmarks|examples"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text())
    assert [file for file in named if not (ROOT / file).exists() and file not in MADE] == []


def test_pages_show_every_program() -> None:
    assert {line[0] for page in PAGES for line in command_lines(page)} == set(PROGRAMS)


def test_the_readme_shows_a_chain_in_yaml_that_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    operators = yaml.safe_load(block)["operators"]
    assert len(operators) == 3
    for operator in operators:
        find_operator(operator["op"]).model_validate(operator)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_install_from_the_clone_because_no_index_has_the_package(page: Path) -> None:
    for line in re.findall(r"pip install .*", page.read_text()):
        assert "chunkflow-worker" not in line


def test_the_readme_names_targets_of_make_that_exist() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"make ([a-z0-9-]+)", (ROOT / "README.md").read_text())
    assert {"demo", "test"} <= set(named) <= set(targets)


def test_generated_pages_follow_the_code() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages of the site, by name. They include the operators of an installed package."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    path = os.pathsep.join([str(PLUGIN_PACKAGE), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return {
        page.relative_to(folder).as_posix(): page.read_text() for page in folder.rglob("*.html")
    }


def test_the_site_shows_every_command_of_the_producer(site: dict[str, str]) -> None:
    commands = producer.list_commands(click.Context(producer))
    assert {"enqueue", "status", "verify"} <= set(commands)
    for name in commands:
        heading = re.escape(f"chunkflow-producer {name}")
        assert re.search(rf"<h2[^>]*>{heading}\b", site["commands/chunkflow-producer.html"]), name


def test_the_site_has_a_page_for_each_operator(site: dict[str, str]) -> None:
    assert {f"operators/{name}.html" for name in [*operator_names(), "hold"]} <= site.keys()
    assert "Longest time to hold a task." in site["operators/hold.html"]
    for part in (
        "Differences from chunkflow 1.2.0",
        "are an error, not zeros",
        "without credentials",
        "--use-credential",
    ):
        assert part in site["operators/load-precomputed.html"]


def test_the_site_loads_nothing_from_elsewhere(site: dict[str, str]) -> None:
    for name, text in site.items():
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]* src="([^"]+)|<link[^>]* href="([^"]+)|url\(([^)]+)\)',
            text,
        )
        assert loaded, "every page loads something"
        assert not [place for group in loaded for place in group if "//" in place], name
