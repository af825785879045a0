"""Languages of words: stems by Snowball, and stop words.

A language stems the words of its own script. Latin words in a text of another script are taken for English ones, as
product names and terms mostly are.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Collection
from functools import cache
from importlib import resources

from rowvec.support.redaction import redact
from rowvec.words.folding import folded

PLAIN = "simple"
"""No language: no stems, no stop words."""
AUTO = "auto"
"""The language of each text, as far as it shows."""
_SCRIPTS = {
    "russian": "cyrillic", "serbian": "cyrillic", "greek": "greek", "arabic": "arabic", "persian": "arabic",
    "hindi": "devanagari", "nepali": "devanagari", "tamil": "tamil", "armenian": "armenian", "yiddish": "hebrew",
}  # fmt: skip
_RANGES = (
    (0x0250, "latin"), (0x0370, ""), (0x0400, "greek"), (0x0530, "cyrillic"), (0x0590, "armenian"), (0x0600, "hebrew"),
    (0x0780, "arabic"), (0x0900, ""), (0x0980, "devanagari"), (0x0B80, ""), (0x0C00, "tamil"), (0x1E00, ""),
    (0x1F00, "latin"), (0x2000, "greek"),
)  # fmt: skip
"""Where each script ends."""
_LATIN_END = _RANGES[0][0]
_LEFT_OUT = frozenset({"porter", "dutch_porter"})


@cache
def names() -> tuple[str, ...]:
    """Every language that can be asked for."""
    import Stemmer

    return (*(name for name in Stemmer.algorithms() if name not in _LEFT_OUT), PLAIN)


def problem(language: str) -> str | None:
    """What is wrong with a language, or with several that "+" joins, and what to write instead."""
    unknown = [name for name in language.split("+") if name not in names()]
    if language == AUTO or not unknown:
        return None
    if AUTO in unknown:
        return f'"{AUTO}" stands alone in store.language: leave the other languages out.'
    near = difflib.get_close_matches(unknown[0].lower().rpartition(".")[2], (*names(), AUTO), 1, 0.6)
    meant = f' Did you mean "{near[0]}"?' if near else ""
    return (
        f"rowvec knows no language {redact(unknown[0][:60])!r}.{meant} There are: {', '.join(names())}."
        f' "{PLAIN}" works for any language, without stems and stop words; "{AUTO}" looks at each text.'
    )


def script_of(word: str) -> str:
    """ "latin", "cyrillic" and so on; "" for one that no language here is written in."""
    code = ord(word[0])
    if code < _LATIN_END:
        return "latin"
    return next((script for end, script in _RANGES if code < end), "")


@cache
def stop_words(language: str) -> frozenset[str]:
    """As they are written and without diacritics; none for a language without a list."""
    words = _lists().get(language, ())
    return frozenset(words) | frozenset(map(folded, words))


@cache
def telling_words(language: str) -> frozenset[str]:
    """Words that tell it from its neighbours, its stop words among them; for some languages without stems too."""
    return frozenset(_lists("telling_words.txt").get(language, ())) | stop_words(language)


@cache
def with_telling_words() -> frozenset[str]:
    return frozenset(_lists("telling_words.txt")) | frozenset(with_stop_words())


@cache
def _lists(name: str = "stop_words.txt") -> dict[str, list[str]]:
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    found: dict[str, list[str]] = {}
    language = ""
    for line in text.splitlines():
        if line.startswith("  "):
            found[language] += line.split()
        elif not line.startswith("#"):
            language = line
            found[language] = []
    return found


def with_stop_words() -> Collection[str]:
    """Languages that have a list."""
    return _lists().keys()


def by_script(language: str) -> dict[str, tuple[str, ...]]:
    """By script, the languages of its words; those of Latin words beside another script are English."""
    if language == AUTO:
        chosen = [name for name in names() if name in with_stop_words() or name in _SCRIPTS]
    else:
        chosen = [name for name in language.split("+") if name != PLAIN]
    found: dict[str, tuple[str, ...]] = {}
    for name in chosen:
        for script in ("cyrillic", "latin") if name == "serbian" else (_SCRIPTS.get(name, "latin"),):
            found[script] = (*found.get(script, ()), name)
    return {"latin": ("english",), **found} if found else {}


@cache
def stemmer(language: str) -> Callable[[str], str]:
    """A word in lower case to its stem.

    One stemmer is not for two threads at once. A lock would stay locked in a process that is forked meanwhile.
    """
    import Stemmer

    own = threading.local()

    def stem(word: str) -> str:
        if not hasattr(own, "made"):
            own.made = Stemmer.Stemmer(language, 0)
        found: str = own.made.stemWord(word)
        return found

    return stem
