"""Which languages a model was made for, and whether the texts of a pipeline are in them.

A model embeds a text in any language, and says nothing: what it makes of a language that it never saw is noise. So a
few texts are looked at. Their letters tell the script, their words the language, and their tokens how much of them the
model's vocabulary knows.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rowvec.embedders.base import Embedder
from rowvec.support.figures import percent
from rowvec.words import AUTO, PLAIN, keyword_language, read
from rowvec.words.languages import stop_words, telling_words, with_telling_words

_ENGLISH = frozenset({"english"})
_OF_SBERT = r"(all|multi-qa|msmarco|nli|gtr|sentence-t5|paraphrase-(?!multilingual)|stsb-(?!xlm))-?"
KNOWN: Mapping[str, frozenset[str]] = {
    rf"(sentence-transformers/)?{_OF_SBERT}(?!.*multilingual)\S*": _ENGLISH,
    r"intfloat/e5-(small|base|large)(-v2|-unsupervised)?|intfloat/e5-mistral-7b-instruct": _ENGLISH,
    r"BAAI/bge-(small|base|large)-en(-v1\.5)?": _ENGLISH,
    r"BAAI/bge-(small|base|large)-zh(-v1\.5)?|thenlper/gte-\w+-zh": frozenset({"chinese"}),
    r"thenlper/gte-(small|base|large)|Alibaba-NLP/gte-(base|large)-en\S*|Alibaba-NLP/gte-modernbert-base": _ENGLISH,
    r"nomic-ai/(nomic-embed-text-v1(\.5)?|modernbert-embed-base)": _ENGLISH,
    r"Snowflake/snowflake-arctic-embed-(?!.*v2\.0).*": _ENGLISH,
    r"mixedbread-ai/mxbai-embed-(large|xsmall|2d-large)-v1|WhereIsAI/UAE-Large-V1": _ENGLISH,
    r"jinaai/jina-embedding(s-v2-(small|base)-en|-\w-en-v1)": _ENGLISH,
    r"jinaai/jina-embeddings-v2-base-de": frozenset({"english", "german"}),
    r"jinaai/jina-embeddings-v2-base-es": frozenset({"english", "spanish"}),
    r"jinaai/jina-embeddings-v2-base-zh": frozenset({"english", "chinese"}),
}
"""From the model cards. A model that is not here is taken to know every language; its tokens tell otherwise."""
MULTILINGUAL = "intfloat/multilingual-e5-small"
"""What to take where texts are in a language that a model does not know."""
SAMPLE, CHARACTERS = 300, 1_000
"""Texts that are looked at, and what is looked at of each."""

_SCRIPTS = frozenset(
    {
        "ARABIC", "ARMENIAN", "BENGALI", "CJK", "CYRILLIC", "DEVANAGARI", "ETHIOPIC", "GEORGIAN", "GREEK", "GUJARATI",
        "HANGUL", "HEBREW", "HIRAGANA", "KANNADA", "KATAKANA", "KHMER", "LAO", "MALAYALAM", "MYANMAR", "SINHALA",
        "TAMIL", "TELUGU", "THAI", "TIBETAN",
    }
)  # fmt: skip
"""Each is the first word of the names of its letters."""
_FOREIGN_LETTERS, _FOREIGN_WORDS, _UNKNOWN = 0.15, 0.25, 0.1
"""Shares from which on they are worth a sentence: names and terms of another script stand in texts of any language."""
_LITTLE_WORDS, _LITTLE_WORDS_IN = 4, 0.04
"""Different stop words of a language that show it, and the share of the texts that have one."""
_FEW_LETTERS, _FEW_TOKENS = 200, 50
"""In fewer, nothing shows."""


@runtime_checkable
class ToldTokens(Protocol):
    """An embedder that can tell which tokens its vocabulary lacks."""

    def unknown_tokens(self, texts: Sequence[str]) -> tuple[int, int]:
        """Tokens of the texts without the special ones, and how many of them stand for what the vocabulary lacks."""
        ...


@dataclass(frozen=True, slots=True)
class Misfit:
    """Texts that a model, or the words of a keyword index, were not made for."""

    problem: str
    """One sentence, with figures."""
    fix: str
    figures: Mapping[str, Any]
    """For JSON."""

    def as_dict(self) -> dict[str, Any]:
        return {"problem": self.problem, "fix": self.fix, **self.figures}


def languages_of(model: str) -> frozenset[str] | None:
    """What a model was made for; None where that is every language, or where nobody knows."""
    return next((known for name, known in KNOWN.items() if re.fullmatch(name, model, re.IGNORECASE)), None)


def foreign(texts: Sequence[str], known: Collection[str]) -> tuple[str, float]:
    """The script or the language that most of what is not in the known languages is in, as words for a sentence, and
    its share; "" where nothing is worth a word."""
    letters = Counter({char: count for char, count in Counter("".join(texts)).items() if char.isalpha()})
    scripts: Counter[str] = Counter()
    for char, count in letters.items():
        script = unicodedata.name(char, "").partition(" ")[0]
        if script in _SCRIPTS and not (script == "CJK" and "chinese" in known):
            scripts[script] += count
    if letters.total() >= _FEW_LETTERS and scripts.total() >= _FOREIGN_LETTERS * letters.total():
        script, count = scripts.most_common(1)[0]
        shown = script if script == "CJK" else script.title()
        return f"of the letters are {shown}", count / letters.total()
    if letters.total() >= _FEW_LETTERS:
        for language, share in read(texts).shares.items():
            if language not in known and share >= _FOREIGN_WORDS and _written(language, texts):
                return f"of the words are {language.title()}", share
    return "", 0.0


def _written(language: str, texts: Sequence[str]) -> bool:
    """Whether the texts are sentences or terms of a language, and not names that are written with its letters."""
    if language not in with_telling_words():
        return False  # Its letters would have told it.
    little = {word for word in telling_words(language) - stop_words("english") if len(word) > 1}
    its = [little & set(text.lower().split()) for text in texts]
    return len(set().union(*its)) >= _LITTLE_WORDS and sum(map(bool, its)) >= _LITTLE_WORDS_IN * len(texts)


def misfit(embedder: Embedder, language: str | None, texts: Sequence[str]) -> Misfit | None:
    """What is wrong with a model and a keyword language for some texts; None where they fit.

    Args:
        language: of the keyword index, as store.language says; None for no index.
        texts: up to SAMPLE of them are looked at.
    """
    sample = [text[:CHARACTERS] for text in texts[:SAMPLE]]
    name = str(getattr(embedder, "known_name", "")) or embedder.fingerprint.model
    known = languages_of(name)
    what, share = foreign(sample, known) if known else ("", 0.0)
    figures: dict[str, Any] = {"model": embedder.fingerprint.model, "languages": sorted(known) if known else None}
    tokens, unknown = embedder.unknown_tokens(sample) if isinstance(embedder, ToldTokens) else (0, 0)
    if tokens:
        figures["unknown_tokens"] = round(unknown / tokens, 4)
        figures["characters_per_token"] = round(sum(map(len, sample)) / tokens, 2)
    missing = unknown >= _UNKNOWN * tokens and tokens >= _FEW_TOKENS
    short = name.rpartition("/")[2]
    problems, fixes = [], []
    if what:
        knows = f"{short} knows {_named(known or ())}{_reads(tokens, unknown, sample)}"
        problems.append(f"{percent(share)} {what}; {knows}")
    elif missing:
        problems.append(f"{percent(unknown / tokens)} of the tokens are unknown to {short}")
    if problems:
        fixes.append(f'Set embedder.model = "{MULTILINGUAL}", or another model for the language of the rows.')
    lacking = _not_stemmed(sample, language)
    of, much = foreign(sample, {*str(language).split("+"), "english"}) if lacking else ("", 0.0)
    if of:
        problems.append(f"{'' if what else f'{percent(much)} {of}; '}the keyword index is set to {language}")
        fixes.append(f"Set store.language = {_setting(lacking)}.")
        figures["keyword_language"] = lacking
    return Misfit("; ".join(problems) + ".", " ".join(fixes), figures) if problems else None


def _reads(tokens: int, unknown: int, texts: Sequence[str]) -> str:
    """How little of the texts a model's vocabulary makes out, where it can tell."""
    if not tokens:
        return ""
    lacks = f"{percent(unknown / tokens)} of the tokens are unknown to it, " if unknown >= 0.01 * tokens else ""
    return f": {lacks}{sum(map(len, texts)) / tokens:.1f} characters a token"


def _named(languages: Collection[str]) -> str:
    return " and ".join(map(str.title, sorted(languages)))


def _not_stemmed(texts: Sequence[str], language: str | None) -> str:
    """What the keyword language should be; "" where it serves."""
    if language in (None, AUTO, PLAIN):
        return ""
    wanted = keyword_language(texts)
    # English words are stemmed beside a language of another script.
    lacking = {*wanted.split("+")} - {*str(language).split("+"), "english", PLAIN}
    return wanted if lacking else ""


def _setting(language: str) -> str:
    listed = [f'"{each}"' for each in language.split("+")]
    return listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
