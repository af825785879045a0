"""tools/check_release.py holds a release back that has two version numbers, or no page in the changelog."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.check_release import mistakes


def tree(folder: Path, version: str, heading: str) -> Path:
    (folder / "src" / "rowvec").mkdir(parents=True)
    (folder / "src" / "rowvec" / "__init__.py").write_text(f'__version__ = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n\n- New.\n\n## 0.1.0 (2026-12-01)\n")
    return folder


@pytest.mark.parametrize(
    ("tag", "heading", "found"),
    [
        ("v0.2.0", "0.2.0 (2027-01-31)", None),
        ("v0.2.1", "0.2.0 (2027-01-31)", "the tag is v0.2.1"),
        ("0.2.0", "0.2.0 (2027-01-31)", "the tag is 0.2.0"),
        ("v0.2.0", "0.2.0 (unreleased)", "no date"),
        ("v0.2.0", "0.1.0 (2026-12-01)", "not about 0.2.0"),
    ],
)
def test_tag_version_and_changelog_agree(tmp_path: Path, tag: str, heading: str, found: str | None) -> None:
    said = list(mistakes(tag, tree(tmp_path, "0.2.0", heading)))
    assert (said == []) if found is None else (len(said) == 1 and found in said[0])
