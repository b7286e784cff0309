"""Settings: read from the environment and a file, refused by name, and described in the docs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.cli.settings import page
from annals.settings import Invalid, Settings, as_environment, described, is_set, read

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a working folder without a .env file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_setting_has_a_default_and_a_sentence() -> None:
    assert read({}) == Settings()
    for setting in described():
        assert setting.name == setting.name.upper()
        assert setting.sentence.endswith("."), setting.name


def test_values_are_read_by_their_types() -> None:
    settings = read(
        {
            "ANNALS_DATA": "/srv/annals",
            "ANNALS_PORT": " 9000 ",
            "ANNALS_EXECUTOR_URLS": "unix:/a, tcp:b:1,",
            "ANNALS_IMAGES": "node-22=registry/node:22,python-3.13=own",
            "ANNALS_SPECIFICATION_MAX_CPUS": "0.5",
            "OTHER": "1",
        }
    )

    assert settings.data == Path("/srv/annals")
    assert settings.port == 9000
    assert settings.executor_urls == ("unix:/a", "tcp:b:1")
    assert settings.images == {"node-22": "registry/node:22", "python-3.13": "own"}
    assert settings.specification_max_cpus == 0.5


def test_value_is_read_from_the_file_that_its_name_with_file_names(elsewhere: Path) -> None:
    secret = elsewhere / "url"
    secret.write_text("postgresql://a:b@c/d\n")

    assert read({"ANNALS_DATABASE_URL_FILE": str(secret)}).database_url == "postgresql://a:b@c/d"
    assert read({"ANNALS_MASTER_KEY_FILE": str(secret)}).master_key == secret  # a setting of its own
    with pytest.raises(Invalid, match="both set"):
        read({"ANNALS_DATABASE_URL_FILE": str(secret), "ANNALS_DATABASE_URL": "postgresql:///"})
    with pytest.raises(Invalid, match=r"ANNALS_REDIS_URL_FILE names .*missing, which cannot be read"):
        read({"ANNALS_REDIS_URL_FILE": str(elsewhere / "missing")})
    with pytest.raises(Invalid, match="no setting ANNALS_NOTHING_FILE"):
        read({"ANNALS_NOTHING_FILE": str(secret)})


def test_environment_overrules_the_file_of_settings_whichever_of_them_names_a_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = elsewhere / "url"
    secret.write_text("postgresql:///from-file\n")
    (elsewhere / ".env").write_text(f"ANNALS_DATABASE_URL_FILE={secret}\nANNALS_REDIS_URL=redis://from-env-file\n")
    (elsewhere / "redis").write_text("redis://from-file")

    settings = read({"ANNALS_REDIS_URL_FILE": str(elsewhere / "redis")})
    assert (settings.database_url, settings.redis_url) == ("postgresql:///from-file", "redis://from-file")

    assert read(as_environment(settings)) == settings, "processes of `annals up` get all settings by their names"
    monkeypatch.delenv("ANNALS_DATABASE_URL", raising=False)
    assert is_set("DATABASE_URL")


def test_functions_reach_the_api_as_clients_do_unless_they_have_an_address_of_their_own() -> None:
    assert read({}).functions_endpoint == read({}).endpoint
    assert read({"ANNALS_FUNCTIONS_API_URL": "http://10.0.0.1:1/v1/"}).functions_endpoint == "http://10.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ANNALS_PROT", "1", "Did you mean ANNALS_PORT?"),
        ("ANNALS_ZZZ", "1", "`annals settings` lists those there are"),
        ("ANNALS_PORT", "http", "ANNALS_PORT can't be 'http'"),
        ("ANNALS_PORT", "70000", "a whole number from 0 to 65535"),
        ("ANNALS_UPLOAD_LIMIT_BYTES", "1.5", "a whole number of at least 0"),
        ("ANNALS_SPECIFICATION_MAX_CPUS", "many", "a number of at least 0"),
        ("ANNALS_DRIVER", "podman", "one of auto, sandbox, docker"),
        ("ANNALS_IMAGES", "node-22", "name=value"),
        ("ANNALS_DATA", "", "ANNALS_DATA is empty"),
        ("ANNALS_API_PROCESSES", "0", "a whole number from 1 to 64"),
    ],
)
def test_invalid_setting_is_refused_with_the_next_step(name: str, value: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        read({name: value})

    assert says in str(refused.value)


def test_file_is_read_and_the_environment_and_options_overrule_it(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text(
        "# mine\nexport ANNALS_PORT=9000\nANNALS_HOST='::1' # loopback\n"
        'ANNALS_REGION = "fra # 1"\nDATABASE=x\nnonsense\n'
    )

    assert read({}).port == 9000
    assert read({}).host == "::1"
    assert read({}).region == "fra # 1"
    assert read({"ANNALS_PORT": "9001"}).port == 9001
    assert read({"ANNALS_PORT": "9001"}, port=9002, host=None).port == 9002


def test_unknown_name_in_the_file_is_refused_too(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("ANNALS_PROT=1\n")

    with pytest.raises(Invalid, match="ANNALS_PORT"):
        read({})


word = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)


@given(
    port=st.integers(0, 65535),
    cpus=st.floats(0, 1e6),
    runtimes=st.lists(word).map(tuple),
    images=st.dictionaries(word, word),
    data=word,
)
def test_child_process_reads_the_same_settings(
    port: int, cpus: float, runtimes: tuple[str, ...], images: dict[str, str], data: str
) -> None:
    settings = Settings(port=port, specification_max_cpus=cpus, runtimes=runtimes, images=images, data=Path("/", data))

    assert read(as_environment(settings)) == settings


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({}, "http://127.0.0.1:8080/v1"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8080/v1"),  # noqa: S104 (no socket is bound)
        ({"host": "::1", "port": 80}, "http://[::1]:80/v1"),
        ({"public_url": "https://functions.example/v1/"}, "https://functions.example/v1"),
    ],
)
def test_endpoint_is_reachable_for_clients(given: dict[str, object], endpoint: str) -> None:
    assert read({}, **given).endpoint == endpoint


def test_settings_page_is_up_to_date() -> None:
    assert DOCS.read_text() == page(), "run: annals settings --markdown > docs/settings.md"
