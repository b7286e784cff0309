"""The image recipes and the folders that they copy, as the docker driver and the servers expect them."""

import sys
from pathlib import Path

import pytest

import annals
from annals.executor.drivers import layout
from annals.executor.drivers.engine import OWN
from annals.executor.drivers.images import dockerfile
from annals.executor.toolchains import compile_for, find_pythons, lay_out

RUNTIMES = Path(annals.__file__).parent / "runtimes"


@pytest.mark.parametrize("language", ["node", "python"])
def test_recipe_lays_a_runtime_out_as_the_driver_expects(language: str) -> None:
    recipe = (RUNTIMES / "images" / f"{language}.Dockerfile").read_text()

    assert f"COPY {language} {layout.SERVER}\nCOPY shared {layout.SERVER}\n" in recipe
    assert f'LABEL {OWN}="1"\n' in recipe
    assert f"WORKDIR {layout.SERVER}\n" in recipe
    assert {layout.BUILD, layout.OUTPUT} <= set(recipe.split())


@pytest.mark.parametrize("language", ["node", "python"])
def test_runtime_has_its_helpers_and_a_folder_for_the_code(language: str, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    lay_out(language, folder)

    assert {path.name for path in (folder / "helpers").iterdir()} == {
        "sandbox_agent.sh",
        "build.sh",
        "server.sh",
        "start.sh",
    }
    assert (folder / Path(layout.FUNCTION).relative_to(layout.SERVER)).is_dir()  # a read-only mount can't make it


@pytest.mark.parametrize("language", ["node", "python", "static"])
def test_images_made_here_follow_the_recipe_for_any_base(language: str) -> None:
    made = dockerfile(None, language)

    assert f'LABEL {OWN}="1"\n' in made
    assert "${BASE}" not in made
    assert made.startswith("FROM annals/base:")
    assert ("ENV ANNALS_STATIC=1\n" in made) == (language == "static")


def test_python_server_is_compiled_for_the_interpreter_that_runs_it(tmp_path: Path) -> None:
    lay_out("python", tmp_path)
    toolchain = find_pythons()[f"{sys.version_info[0]}.{sys.version_info[1]}"]
    compile_for(toolchain, tmp_path)

    cached = {path.name for path in (tmp_path / "src" / "annals_runtime" / "__pycache__").iterdir()}
    assert f"main.{sys.implementation.cache_tag}.pyc" in cached


def test_function_servers_import_nothing_of_annals() -> None:
    for path in (RUNTIMES / "python").rglob("*.py"):
        assert "annals." not in path.read_text().replace("annals_runtime.", ""), path
