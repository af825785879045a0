"""The words of a text: what a keyword index holds, and what a query asks it for.

tokens      where the words are, whatever the language
folding     compatibility forms, case, diacritics
languages   stems and stop words
analysis    all of it: a text or a query becomes terms
"""

from rowvec.words.analysis import FORMAT, Analyzer, Token, analyzer
from rowvec.words.detection import Reading, keyword_language, read
from rowvec.words.languages import AUTO, PLAIN, names, problem

__all__ = [
    "AUTO",
    "FORMAT",
    "PLAIN",
    "Analyzer",
    "Reading",
    "Token",
    "analyzer",
    "keyword_language",
    "names",
    "problem",
    "read",
]
