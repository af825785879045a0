"""Which language a text is written in: by its script, and in scripts of many languages by stop words and letters.

A small word or a letter that several languages have counts for each of them its share. That tells apart languages that
have a list of such words (`languages.telling_words`). A short text without one is taken for the language of the others.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import NamedTuple

from rowvec.words.folding import is_mark
from rowvec.words.languages import (
    PLAIN,
    names,
    script_of,
    telling_words,
    with_telling_words,
)

_LETTERS = {
    "czech": "ěřůčšžďťňáéí", "danish": "æøå", "finnish": "äö", "french": "çèêëîïœùé", "german": "äöüß",
    "hungarian": "őűáéöü", "norwegian": "æøå", "polish": "ąćęłńśźż", "portuguese": "ãõçâáé", "romanian": "ășțâ",
    "spanish": "ñ¿¡áéí", "swedish": "äöå", "turkish": "ğışç", "slovak": "ľĺŕčšžďťňáéí", "croatian": "đćčšž",
    "slovenian": "čšž", "lithuanian": "ėįųčšž", "latvian": "āēģīķļņūčšž", "estonian": "õäöü",
    "vietnamese": "ơưạảấầậắặẹếềểệịọốồộớờợụứừữự",
    "russian": "ыэъё", "ukrainian": "їєіґ", "serbian": "ђјљњћџ", "belarusian": "ўіыэё", "bulgarian": "ъ",
    "macedonian": "ѓќѕјљњџ",
    "persian": "پچژگیک", "arabic": "ةىيكؤأإ", "urdu": "پچژگیکٹڈڑںےہھ",
    "marathi": "ळ",
}  # fmt: skip
_OF_SCRIPT = {
    "greek": "greek", "armenian": "armenian", "hebrew": "hebrew", "devanagari": "hindi", "tamil": "tamil",
    "cyrillic": "russian", "arabic": "arabic",
}  # fmt: skip
"""What a script is taken for where nothing tells more."""
_UNSPACED = (
    ("japanese", re.compile("[\u3040-\u30ff]")), ("korean", re.compile("[\uac00-\ud7af]")),
    ("chinese", re.compile("[\u4e00-\u9fff]")), ("thai", re.compile("[\u0e00-\u0e7f]")),
)  # fmt: skip
_ALPHABETS = frozenset(("latin", "greek", "cyrillic", "armenian"))
"""Scripts whose words are letters only, without marks."""
_UNSPACED_NAMES = frozenset(language for language, _ in _UNSPACED)
_LIKELY = 1 / 5
"""Of the evidence for the best language, from which on another one may be there too."""
_FEW = 10
"""Occurrences of words that tell a language, up to which a single word may tell it."""
_CLEAR, _AHEAD = 0.5, 1.2
"""What the best language must have, and how many times as much as the second one."""
_SIGNS = 4
"""Different words or letters of a Latin language that all texts must have together, where no text alone tells it."""
_PLAIN = 0.25
"""Of all words in lower case, from which on a capital means something."""
_OFTEN = 0.05
"""Of the texts, from which on a word with a capital is a value of a column, such as a brand."""
_SHARE = 0.2
"""Of the words of all texts, from which on a language counts as one of them."""


@cache
def _words() -> re.Pattern[str]:
    """With the vowel signs of Hindi and others, which Python does not take for letters."""
    marks = "".join(char for char in map(chr, range(0x300, 0x1000)) if is_mark(char))
    return re.compile(rf"[^\W\d_][^\W\d_{marks}]*(?:[{marks}\u200c\u200d][^\W\d_{marks}]*)*")


class Reading(NamedTuple):
    shares: dict[str, float]
    """Language by name, the most frequent first, with its share of the words that tell one. Names are those of
    `languages.names()`, and others that have no stems here: ukrainian, chinese, japanese and so on."""

    @property
    def language(self) -> str:
        """The most frequent; "" where nothing tells."""
        return next(iter(self.shares), "")


def read(texts: Iterable[str]) -> Reading:
    """The languages of some texts. A word such as "com" that stands in every row counts little more than once."""
    written = [_words().findall(text) for text in texts]
    names = _names(written)
    lower = [[word for word in map(str.lower, words) if word not in names] for words in written]
    split = [_telling(_by_script(words)) for words in lower]
    shares: Counter[str] = Counter()
    silent = 0
    for script in {script for each in split for script in each}:
        its = [each[script] for each in split if script in each]
        likely, signs = _likely(Counter(word for words in its for word in words), script)
        told: Counter[str] = Counter()
        for words in its:
            told[_of_words(words, script, likely) if likely else ""] += len(words)
        untold, total = told.pop("", 0), told.total()
        if not total and likely and (script != "latin" or signs >= _SIGNS):
            # Neighbours such as Danish and Norwegian share nearly all: then all texts together tell.
            told[likely[0]] = untold
        elif not total and script in _OF_SCRIPT:
            told[_OF_SCRIPT[script]] = untold
        elif not total:
            # Texts of codes alone: beside many of them, a few words of another script are not the language of all.
            silent += sum(len(each[script]) for each in split if each.keys() == {script})
        for language, count in told.items():
            shares[language] += count + round(untold * count / max(total, 1)) * bool(total)
    total = shares.total() + silent
    return Reading({language: count / total for language, count in shares.most_common()} if total else {})


def _likely(words: Mapping[str, int], script: str) -> tuple[list[str], int]:
    """The languages of that script which the words of all texts speak for, a repeated word by its logarithm; the best
    comes first, and the number of its signs after them."""
    if script in _UNSPACED_NAMES:
        return [script], 1
    its_words, telling_letters = _signs(script, ())
    letters: Counter[str] = Counter()
    for word, count in words.items():
        letters.update(dict.fromkeys(set(word) & telling_letters.keys(), count))
    found: Counter[str] = Counter()
    evidence: dict[str, list[float]] = {}
    for signs, counts in ((its_words, words), (telling_letters, letters)):
        for sign in sorted(signs.keys() & counts.keys()):
            for language in signs[sign]:
                share = _weight(sign, script) / len(signs[sign])
                found[language] += share * math.log1p(counts[sign])  # type: ignore[assignment]
                evidence.setdefault(language, []).append(share * counts[sign])
    ordered = found.most_common()
    if not ordered:
        return [], 0
    first, best = ordered[0]
    # One word of many rows, such as the "com" of addresses, is not a second language.
    alone = {language for language, of in evidence.items() if sum(of) > _FEW and max(of) > 0.75 * sum(of)}
    likely = [
        language for language, score in ordered if score == best or (score >= _LIKELY * best and language not in alone)
    ]
    return likely, len(evidence[first])


def keyword_language(texts: Iterable[str]) -> str:
    """What `store.language` should be for texts like these: a language, several joined by "+", or `simple`.

    English words need no mention beside a language of another script: they are stemmed as English there too.
    """
    shares = {language: share for language, share in read(texts).shares.items() if share >= _SHARE}
    known = [language for language in shares if language in names()]
    if not shares:
        return "english"
    if not known:
        return PLAIN
    if "english" in known and any(_script_of(each) != "latin" for each in known):
        known = [each for each in known if each != "english"]
    return "+".join(sorted(known))


def language_of(text: str, candidates: Collection[str]) -> dict[str, str]:
    """By script, which of the candidates the words of one text are in; scripts that tell nothing are left out."""
    found = {}
    for script, words in _by_script(_words().findall(text.lower())).items():
        its = [each for each in candidates if _script_of(each) == script]
        tell_apart = all(each in with_telling_words() for each in its)
        language = its[0] if len(its) == 1 else _of_words(words, script, its) if its and tell_apart else ""
        if language:
            found[script] = language
    return found


def _names(texts: Collection[Iterable[str]]) -> set[str]:
    """In lower case, words that always have a capital where others have none: Dell is not the Italian word.

    Letters that only some languages have tell one in a name too, so such a word is left in, unless many texts have it:
    one supplier called Żabka does not make a catalogue Polish.
    """
    counts = Counter(word for words in texts for word in words)
    plain = {word for word in counts if word.islower()}
    if sum(counts[word] for word in plain) < _PLAIN * counts.total():
        return set()
    often = max(_FEW, _OFTEN * len(texts))
    return {word.lower() for word in counts if word[0].isupper() and (word.isascii() or counts[word] > often)} - plain


def _by_script(words: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in words:
        found.setdefault(script_of(word) or _unspaced(word), []).append(word)
    return found


def _telling(words: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Without symbols: letters of several scripts in one word (μm, kΩ), and a letter alone (Ω, Å) where its text has no
    longer word of the script. No Latin letter that stands alone tells a language."""
    found = dict(words)
    for script in _ALPHABETS & words.keys():
        its = [word for word in words[script] if all(script_of(letter) == script for letter in word)]
        longer = [word for word in its if len(word) > 1]
        found[script] = longer if script == "latin" or not longer else its
    return {script: its for script, its in found.items() if its}


def _unspaced(word: str) -> str:
    return next((language for language, letters in _UNSPACED if letters.search(word)), "")


def _of_words(words: Collection[str], script: str, candidates: Collection[str] = ()) -> str:
    if script in _UNSPACED_NAMES:
        return script
    its_words, telling_letters = _signs(script, tuple(sorted(candidates)))
    scores: Counter[str] = Counter()
    for word in words:
        for language in its_words.get(word, ()):
            scores[language] += _weight(word, script) / len(its_words[word])  # type: ignore[assignment]
        for letter in set(word) & telling_letters.keys():
            for language in telling_letters[letter]:
                scores[language] += 1 / len(telling_letters[letter])  # type: ignore[assignment]
    (best, most), (_, second) = [*scores.most_common(2), ("", 0), ("", 0)][:2]
    return best if most >= _CLEAR and most >= _AHEAD * second else ""


def _weight(sign: str, script: str) -> float:
    """Words of two Latin letters are also units, codes and numerals: va, fi, ii."""
    return 0.4 if script == "latin" and len(sign) == 2 else 1.0


@cache
def _signs(script: str, candidates: tuple[str, ...]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """By small word and by letter, the languages of that script which have it; all languages without candidates."""
    words: dict[str, list[str]] = {}
    letters: dict[str, list[str]] = {}
    for language in dict.fromkeys((*_LETTERS, *sorted(with_telling_words()))):
        if _script_of(language) == script and (not candidates or language in candidates):
            # Single letters stand in sizes and codes of any language.
            for word in (each for each in telling_words(language) if len(each) > 1 or script != "latin"):
                words.setdefault(word, []).append(language)
            for letter in _LETTERS.get(language, ""):
                letters.setdefault(letter, []).append(language)
    return words, letters


@cache
def _script_of(language: str) -> str:
    own = {each: script for script, each in _OF_SCRIPT.items()} | {"yiddish": "hebrew"}
    if language in own:
        return own[language]
    if language in _UNSPACED_NAMES:
        return language
    sign = _LETTERS.get(language, "") or min(telling_words(language), default="")
    return (script_of(sign) or "latin") if sign else "latin"
