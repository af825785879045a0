"""The memory that an embedded server has for pages: by the machine, unless the folder says something else."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from rowvec.stores.postgres.embedded import embedded_url, stop_embedded, tuning
from rowvec.support.memory import KEEPING_FREED, memory_bytes
from tests.integration.embedded_rig import ask
from tests.support import in_child

GIGABYTE = 2**30


def buffers(state: Path) -> object:
    (found,) = ask(embedded_url(state, durable=False), "show shared_buffers")
    return found[0]


def filled_with(state: Path, size: int) -> None:
    """As if tables of that size in bytes were there."""
    with open(state / "postgres" / "base" / "1" / "rowvec-test", "wb") as file:
        file.truncate(size)


def test_it_grows_with_the_machine_and_a_user_has_the_last_word(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(memory: float) -> object:
        stop_embedded(state_folder)
        monkeypatch.setattr(tuning, "memory_bytes", lambda: int(memory))
        return buffers(state_folder)

    assert shown(64 * GIGABYTE) == "128MB", "there is little to read"
    filled_with(state_folder, 3 * GIGABYTE)
    assert [shown(each * GIGABYTE) for each in (0.5, 1, 8)] == ["128MB", "256MB", "2GB"]
    for value in ("64MB", "128MB"):
        ask(embedded_url(state_folder), f"alter system set shared_buffers = '{value}'")
        assert shown(64 * GIGABYTE) == value
    ask(embedded_url(state_folder), "alter system reset shared_buffers")
    settings = state_folder / "postgres" / "postgresql.conf"
    settings.write_text(settings.read_text() + "\nshared_buffers = 32MB  # chosen\n")
    assert shown(64 * GIGABYTE) == "32MB"


def test_the_server_keeps_freed_memory_for_the_next_query(state_folder: Path) -> None:
    ask(embedded_url(state_folder, durable=False), "select 1")
    server = (state_folder / "postgres" / "postmaster.pid").read_text().split()[0]
    given = Path(f"/proc/{server}/environ").read_text().split("\0")
    assert {f"{name}={value}" for name, value in KEEPING_FREED.items()} <= set(given)


def test_where_memory_that_is_not_used_counts_too_nothing_is_reserved(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "memory_bytes", lambda: 64 * GIGABYTE)
    data = state_folder / "postgres"
    buffers(state_folder)
    assert tuning.settings(data) == {}
    filled_with(state_folder, 3 * GIGABYTE)
    megabytes = int(tuning.settings(data)["shared_buffers"].removesuffix("MB"))
    assert 3_072 <= megabytes < 4_096, "as the data, and not a quarter of the memory"
    monkeypatch.setattr(tuning, "memory_bytes", lambda: 8 * GIGABYTE)
    assert tuning.settings(data) == {"shared_buffers": "2048MB"}

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 * GIGABYTE, 8 * GIGABYTE))
        assert tuning.settings(data) == {}

    assert in_child(limited) == 0


def test_a_container_has_what_its_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rowvec.support import memory

    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_LIMITS", (f"{tmp_path}{{}}/memory.max",))
    limit.write_text("max\n")
    machine = memory_bytes()
    assert machine > 2**20
    limit.write_text(f"{2**20}\n")
    assert memory_bytes() == 2**20


def test_a_service_shares_the_limit_of_the_slice_that_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rowvec.support import memory

    groups = tmp_path / "groups"
    groups.write_text("0::/shop.slice/rowvec.service\n")
    monkeypatch.setattr(memory, "_GROUPS", groups)
    monkeypatch.setattr(memory, "_LIMITS", (f"{tmp_path}{{}}/memory.max",))
    service = tmp_path / "shop.slice" / "rowvec.service"
    service.mkdir(parents=True)
    (service / "memory.max").write_text("max\n")
    (service.parent / "memory.max").write_text(f"{2**21}\n")
    assert memory_bytes() == 2**21
