"""Sizes and names. The docstring of a longer file says why it is about one thing."""

import ast
import re
import statistics

from tests.architecture.source import ROOT, functions, modules, name_of

FILE_LINES = 300
FUNCTION_LINES = 50
POSITIONAL_PARAMETERS = 5
EMPTY_NAMES = {"utils", "util", "common", "helpers", "misc", "shared", "tools"}
ONE_THING = "One file because "


def test_longer_files_say_why_they_are_about_one_thing() -> None:
    wrong = []
    for folder in ("annals", "tests", "bench"):
        for path in modules(folder):
            text = path.read_text()
            lines = len(text.splitlines())
            if lines > FILE_LINES and ONE_THING not in (ast.get_docstring(ast.parse(text)) or ""):
                wrong.append(
                    f"{path.relative_to(ROOT)}: {lines} lines; split it by subject,"
                    f" or say in its docstring {ONE_THING!r}…"
                )
    assert wrong == []


def test_most_files_are_near_a_hundred_lines() -> None:
    assert statistics.median(len(p.read_text().splitlines()) for p in modules()) <= 130


def test_functions_are_short() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{f.lineno} {f.name}: {length} lines, at most {FUNCTION_LINES}"
        for path in modules()
        for f in functions(path)
        if (length := (f.end_lineno or f.lineno) - f.lineno + 1) > FUNCTION_LINES
    ]
    assert wrong == []


def test_functions_take_few_positional_parameters() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{f.lineno} {f.name}: {count}; make the later ones keyword-only"
        for path in modules()
        for f in functions(path)
        if (count := len([a for a in [*f.args.posonlyargs, *f.args.args] if a.arg not in {"self", "cls"}]))
        > POSITIONAL_PARAMETERS
    ]
    assert wrong == []


def test_no_module_has_an_empty_name() -> None:
    wrong = [name_of(p) for p in modules() if p.stem in EMPTY_NAMES]
    assert wrong == [], "name the module for what it is about"
    bases = [p for p in modules() if p.stem == "base"]
    assert len({p.parent for p in bases}) == len(bases)


def test_migrations_are_numbered_and_say_when_they_run() -> None:
    files = sorted((ROOT / "annals/store/migrations").glob("*.sql"))
    numbers = []
    for file in files:
        match = re.fullmatch(r"(\d{4})_(pre|post)_[a-z0-9_]+\.sql", file.name)
        assert match, f"{file.name}: name it NNNN_pre_<what>.sql or NNNN_post_<what>.sql"
        numbers.append(int(match[1]))
    assert numbers == list(range(1, len(numbers) + 1))


def test_texts_contain_no_promises_and_no_machine_names() -> None:
    promise = re.compile(
        r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|(?<!None )\bfor now\b"
        r"|simplif(y|ied) version|\bplaceholder (for|until)\b"
    )
    machine = re.compile(r"(^|[^A-Za-z0-9_.])/(work|farm|root)/[a-z]")
    wrong = []
    for pattern in ("annals/**/*", "docs/**/*.md", "bench/*.py", "*.md"):
        for path in ROOT.glob(pattern):
            if path.suffix in {".py", ".md", ".mjs", ".cjs", ".sh", ".sql"} and path.is_file():
                for number, line in enumerate(path.read_text().splitlines(), 1):
                    if promise.search(line) or machine.search(line):
                        wrong.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:90]}")
    assert wrong == []


def test_sql_longer_than_a_line_lives_in_named_queries() -> None:
    wrong = []
    statement = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b[^\"']*\n", re.MULTILINE)
    triple = re.compile(r'(?<!\w)f?"""(.*?)"""', re.DOTALL)
    for path in modules():
        for match in triple.finditer(path.read_text()):
            text = match[1]
            if statement.match(text.lstrip()):
                wrong.append(f"{path.relative_to(ROOT)}: {text.strip()[:60]!r}")
    assert wrong == [], "move it to a .sql file beside the module"


def test_decisions_are_numbered_once() -> None:
    numbers = sorted(int(file.name[:4]) for file in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_named_decisions_exist() -> None:
    """By code, and by the documents that name them as files beside their own."""
    folder = ROOT / "docs" / "adr"
    texts = [*modules(), *modules("tests"), *modules("bench"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    named = {(path, name) for path in texts for name in re.findall(r"\badr/(\d{4}-[a-z0-9-]+\.md)", path.read_text())}
    assert sorted(f"{path.relative_to(ROOT)}: {name}" for path, name in named if not (folder / name).exists()) == []


def test_errors_of_a_decoder_are_caught_together() -> None:
    """Invalid bytes raise more than msgspec's errors; `annals.domain.decoding` names all of them."""
    own = re.compile(r"except [^:\n]*msgspec\.(MsgspecError|DecodeError)")
    inside = {"annals/executor/wire/server.py"}  # its handlers raise, too; callers are processes of the same instance
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in modules()
        for match in own.finditer(path.read_text())
        if str(path.relative_to(ROOT)) not in inside
    ]
    assert wrong == []
