"""What all queries have in common in the space of a model: its centre.

A part of every vector says that this is a query, and in which language. It is in all cosines, and more of it is in some
rows than in others, so rows in the language of a query come first. Taking the mean vector off is an old remedy (Mu &
Viswanath, "All-but-the-Top", 2018); here it is taken off queries alone, which changes no stored vector.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np

from rowvec.support.hashes import HASH_BYTES, digest
from rowvec.types import Vector

QUERIES = (
    "how do I reset my password", "red shoes", "history of the roman empire",
    "measurement of the dielectric constant of liquids", "cheap flights to london",
    "wie setze ich mein Passwort zurück", "rote Schuhe", "Geschichte des Römischen Reiches",
    "Messung der Dielektrizitätskonstante von Flüssigkeiten", "günstige Flüge nach London",
    "cómo restablecer mi contraseña", "zapatos rojos", "historia del imperio romano",
    "medición de la constante dieléctrica de los líquidos", "vuelos baratos a Londres",
    "comment réinitialiser mon mot de passe", "chaussures rouges", "histoire de l'empire romain",
    "mesure de la constante diélectrique des liquides", "vols pas chers pour Londres",
    "jak zresetować hasło", "czerwone buty", "historia cesarstwa rzymskiego",
    "pomiar stałej dielektrycznej cieczy", "tanie loty do Londynu",
    "как сбросить пароль", "красные туфли", "история Римской империи",
    "измерение диэлектрической проницаемости жидкостей", "дешёвые рейсы в Лондон",
    "如何重置我的密码", "红色的鞋子", "罗马帝国的历史", "液体介电常数的测量", "飞往伦敦的廉价航班",
    "كيف أعيد تعيين كلمة المرور", "حذاء أحمر", "تاريخ الإمبراطورية الرومانية",
    "قياس ثابت العزل الكهربائي للسوائل", "رحلات رخيصة إلى لندن",
)  # fmt: skip
"""Five of different kinds in eight languages. Their mean is the centre."""


def centre_of(embed: Callable[[str], Vector], cache: Path, identity: str) -> Vector:
    """The mean of `QUERIES`, shape (dimension,): out of a file of the cache where an earlier process has kept it there,
    since to embed them takes longer than to embed a query. Where the cache cannot be written, it is not kept.

    Args:
        identity: of all that decides the vector of a query.
    """
    name = hashlib.sha256(f"{identity} {QUERIES!r}".encode()).hexdigest()[:32]
    path = cache / "query_centres" / name
    with suppress(OSError):
        kept = path.read_bytes()
        if kept[:HASH_BYTES] == digest(kept[HASH_BYTES:]):
            return np.frombuffer(kept[HASH_BYTES:], "<f4")
    centre: Vector = np.stack([embed(each) for each in QUERIES]).mean(axis=0)
    scratch = path.with_name(f".{name}.{uuid4().hex}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        data = centre.astype("<f4").tobytes()
        scratch.write_bytes(digest(data) + data)
        os.replace(scratch, path)
    return centre
