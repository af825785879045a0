"""The Dockerfile and the compose files, by the rules that linters of them have. No image is built here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import reference

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = re.findall(r"^([A-Z]+) (.*)$", re.sub(r"#.*\n", "", DOCKERFILE).replace("\\\n", " "), re.MULTILINE)
COMPOSE = [ROOT / "compose.yaml", *sorted((ROOT / "examples").glob("*/compose.yaml"))]


def told(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def parses(words: list[str]) -> None:
    """A rowvec command with its options, as the command line itself reads it."""
    reference.commands()[words[0]].make_context(words[0], words[1:])


def is_pinned(image: str) -> bool:
    return ":" in image and not image.endswith(":latest")


# Dockerfile


def test_the_images_are_pinned_and_slim() -> None:
    images = [line.split()[0] for line in told("FROM")]
    assert len(images) == 2
    assert all(is_pinned(image) and image.endswith("-slim") for image in images)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in told("COPY"):
        *sources, _ = line.split()
        if sources[0].startswith("--from="):
            continue
        assert all((ROOT / name).exists() and name in kept for name in sources), line


def test_it_ends_as_a_plain_user_and_starts_rowvec() -> None:
    last = STEPS[max(at for at, (name, _) in enumerate(STEPS) if name == "FROM") :]
    (user,) = [rest for name, rest in last if name == "USER"]
    assert user not in ("root", "0")
    (made,) = [rest for name, rest in last if name == "RUN"]
    assert made.startswith(f"useradd --create-home --uid 10001 {user} ")
    assert told("ENTRYPOINT") == ['["rowvec"]']
    assert all(rest.startswith("/") for rest in told("WORKDIR"))


def test_models_are_kept_where_the_plain_user_may_write() -> None:
    (cache,) = re.findall(r"ROWVEC_CACHE=(\S+)", DOCKERFILE)
    assert f"install --directory --mode 1777 {cache}" in DOCKERFILE, "a new volume takes over owner and mode"
    assert f"HF_HOME={cache}/" in DOCKERFILE
    assert f"models:{cache}" in (ROOT / "compose.yaml").read_text()


def test_nothing_is_fetched_unlocked_cached_or_secret() -> None:
    assert "ADD" not in {name for name, _ in STEPS}
    for line in told("RUN"):
        assert not re.search(r"\b(sudo|curl|wget|apt-get)\b", line)
        for command in re.findall(r"pip (?:install|wheel)[^&]*", line):
            assert "--no-cache-dir" in command
    assert "--no-deps -r requirements.lock" in DOCKERFILE
    assert not re.search(r"(?i)(password|token|api_key|secret)\s*=", DOCKERFILE)


# Compose


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_compose_file_is_consistent(path: Path) -> None:
    compose: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    services = compose["services"]
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        assert is_pinned(service.get("image", "built:here")), name
        assert set(service.get("depends_on", ())) <= set(services), name
        for waited, how in dict(service.get("depends_on") or {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[waited], waited
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source.startswith((".", "/")) or source in compose["volumes"], volume
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "only this machine reaches it, until somebody decides otherwise"
        assert not service.get("privileged"), name


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_compose_file_exist(path: Path) -> None:
    for service in yaml.safe_load(path.read_text(encoding="utf-8"))["services"].values():
        command = service.get("command", [])
        if isinstance(command, list):
            lines = [command] if command and "build" in service else []
        else:
            lines = [shlex.split(each)[0:] for each in re.findall(r"\browvec ([^&|;\"]+)", command)]
        for words in lines:
            parses(words)
