"""The runtimes of the reference (http-api.md 10.1), in its order."""

import msgspec


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """A language and version; `base` is the reference's base image, empty if unknown."""

    id: str
    key: str
    name: str
    version: str
    base: str
    supports: tuple[str, ...]

    @property
    def image(self) -> str:
        return f"openruntimes/{self.key}:v5-{self.version}"

    @property
    def logo(self) -> str:
        return f"{self.key}.png"


_ALL = ("x86", "arm64", "armv7", "armv8")
_DESKTOP = ("x86", "arm64")
_FAMILIES: dict[tuple[str, str, tuple[str, ...]], dict[str, str]] = {
    ("node", "Node.js", _ALL): {
        "14.5": "node:14.5.0-alpine3.12",
        "16.0": "node:16.20.2-alpine3.18",
        "18.0": "node:18.20.4-alpine3.20",
    },
    ("node", "Node.js", _DESKTOP): {
        "19.0": "node:19.9.0-alpine3.18",
        "20.0": "node:20.17.0-alpine3.20",
        "21.0": "node:21.7.3-alpine3.20",
        "22": "node:22.9.0-alpine3.20",
        "23": "node:23.11.1-alpine3.22",
        "24": "node:24.13.0-alpine3.23",
        "25": "node:25.5.0-alpine3.23",
        "26": "",
    },
    ("php", "PHP", _ALL): {
        "8.0": "php:8.0.30-cli-alpine3.16",
        "8.1": "php:8.1.30-cli-alpine3.20",
        "8.2": "php:8.2.24-cli-alpine3.20",
        "8.3": "php:8.3.12-cli-alpine3.20",
        "8.4": "php:8.4.17-cli-alpine3.23",
    },
    ("ruby", "Ruby", _ALL): {
        "3.0": "ruby:3.0.7-alpine3.16",
        "3.1": "ruby:3.1.6-alpine3.20",
        "3.2": "ruby:3.2.5-alpine3.20",
        "3.3": "ruby:3.3.5-alpine3.20",
        "3.4": "ruby:3.4.8-alpine3.22",
        "4.0": "ruby:4.0.1-alpine3.22",
    },
    ("python", "Python", _ALL): {
        "3.8": "python:3.8.20-alpine3.20",
        "3.9": "python:3.9.20-alpine3.20",
        "3.10": "python:3.10.15-alpine3.20",
        "3.11": "python:3.11.10-alpine3.20",
        "3.12": "python:3.12.6-alpine3.20",
        "3.13": "python:3.13.11-alpine3.23",
        "3.14": "python:3.14.2-alpine3.23",
    },
    ("python-ml", "Python (ML)", _DESKTOP): {
        "3.11": "python:3.11.10-bookworm",
        "3.12": "python:3.12.6-bookworm",
        "3.13": "python:3.13.11-bookworm",
    },
    ("deno", "Deno", ("x86",)): {
        "1.21": "denoland/deno:alpine-1.21.3",
        "1.24": "denoland/deno:alpine-1.24.3",
        "1.35": "denoland/deno:alpine-1.35.3",
    },
    ("deno", "Deno", _DESKTOP): {
        "1.40": "denoland/deno:alpine-1.40.5",
        "1.46": "denoland/deno:alpine-1.46.3",
        "2.0": "denoland/deno:alpine-2.0.6",
        "2.5": "denoland/deno:alpine-2.5.7",
        "2.6": "denoland/deno:alpine-2.6.7",
    },
    ("dart", "Dart", _ALL): {
        "2.15": "dart:2.15.1",
        "2.16": "dart:2.16.2",
        "2.17": "dart:2.17.7",
        "2.18": "dart:2.18.7",
        "2.19": "dart:2.19.6",
        "3.0": "dart:3.0.7",
        "3.1": "dart:3.1.5",
        "3.3": "dart:3.3.4",
        "3.5": "dart:3.5.2",
        "3.8": "dart:3.8",
        "3.9": "dart:3.9.3",
        "3.10": "dart:3.10.0",
        "3.11": "dart:3.11.0",
        "3.12": "",
        "3.13": "",
    },
    ("dotnet", ".NET", _ALL): {
        "6.0": "dotnet/sdk:6.0.425-alpine3.19",
        "7.0": "dotnet/sdk:7.0.410-alpine3.19",
        "8.0": "dotnet/sdk:8.0.402-alpine3.19",
        "10": "dotnet/sdk:10.0.102-alpine3.23",
    },
    ("java", "Java", _ALL): {
        "8.0": "eclipse-temurin:8-jdk-jammy",
        "11.0": "eclipse-temurin:11-jdk-jammy",
        "17.0": "eclipse-temurin:17-jdk-jammy",
        "18.0": "eclipse-temurin:18-jdk-jammy",
        "21.0": "eclipse-temurin:21-jdk-jammy",
        "22": "eclipse-temurin:22-jdk-jammy",
        "25": "eclipse-temurin:25-jdk-jammy",
    },
    ("swift", "Swift", _ALL): {
        "5.5": "swiftarm/swift:5.5.3-ubuntu-jammy",
        "5.8": "swiftarm/swift:5.8.1-ubuntu-22.04",
        "5.9": "swiftarm/swift:5.9.2-ubuntu-22.04",
        "5.10": "swiftarm/swift:5.10-ubuntu-22.04",
        "6.2": "swift:6.2.3-jammy",
    },
    ("kotlin", "Kotlin", _ALL): {
        "1.6": "eclipse-temurin:18-jdk-alpine",
        "1.8": "eclipse-temurin:19-jdk-alpine",
        "1.9": "eclipse-temurin:19-jdk-alpine",
        "2.0": "eclipse-temurin:22-jdk-alpine",
        "2.3": "eclipse-temurin:25-jdk-alpine",
    },
    ("cpp", "C++", _ALL): {
        "17": "alpine:3.20.2",
        "20": "alpine:3.20.2",
    },
    ("bun", "Bun", _DESKTOP): {
        "1.0": "oven/bun:1.0.36-alpine",
        "1.1": "oven/bun:1.1.29-alpine",
        "1.2": "oven/bun:1.2.23-alpine",
        "1.3": "oven/bun:1.3.8-alpine",
        "1.4": "",
    },
    ("go", "Go", _DESKTOP): {
        "1.23": "golang:1.23.1-alpine3.20",
        "1.24": "golang:1.24.12-alpine3.23",
        "1.25": "golang:1.25.6-alpine3.23",
        "1.26": "golang:1.26.0-alpine3.23",
    },
    ("rust", "Rust", _DESKTOP): {
        "1.83": "rust:1.83.0-alpine3.21",
    },
    ("static", "Static", _DESKTOP): {
        "1": "joseluisq/static-web-server:2.33-alpine",
    },
    ("flutter", "Flutter", _DESKTOP): {
        "3.24": "cirruslabs/flutter:3.24.5",
        "3.27": "cirruslabs/flutter:3.27.3",
        "3.29": "cirruslabs/flutter:3.29.1",
        "3.32": "cirruslabs/flutter:3.32.0",
        "3.35": "cirruslabs/flutter:3.35.7",
        "3.38": "cirruslabs/flutter:3.38.0",
        "3.41": "cirruslabs/flutter:3.41.0",
        "3.44": "",
        "3.47": "",
    },
}

RUNTIMES: dict[str, Runtime] = {
    f"{key}-{version}": Runtime(
        id=f"{key}-{version}", key=key, name=name, version=version, base=base, supports=supports
    )
    for (key, name, supports), versions in _FAMILIES.items()
    for version, base in versions.items()
}  # fmt: skip


def split(runtime: str) -> tuple[str, str]:
    """Return language and version: `node-20.0` is node 20, `python-3.11` is python 3.11."""
    language, _, version = runtime.rpartition("-")
    if language == "node":
        version = version.removesuffix(".0")
    return language, version
