"""Make an SQLite database of audio samples, as the library of a sampler holds them.

    python make_samples.py                 2,437 samples in samples.db
    python make_samples.py --samples 50    fewer

The rows are invented, the same at every run. They have the faults of real ones: tempo, key or second mood are missing
here and there, genres are vague, and one sample in thirty was never analysed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SAMPLES = 2437
DICE = 1116
UNANALYSED = 30

TABLES = """
create table samples (
    id integer primary key,
    title text not null,
    file_path text not null unique,
    genre text,
    bpm real,
    musical_key text,
    duration_seconds real not null,
    added_at timestamp not null
);
create table vibe_analyses (
    sample_id integer primary key references samples (id),
    mood_primary text not null,
    mood_secondary text,
    energy_level real not null,
    vibe_tags json not null,
    raw_analysis text not null
);
"""


class Genre(NamedTuple):
    name: str
    tempo: tuple[int, int]
    sounds: tuple[str, ...]
    moods: tuple[str, ...]
    tags: tuple[str, ...]


GENRES = (
    Genre(
        "hip-hop",
        (78, 98),
        ("swung drum break", "muted trumpet stab", "upright bass riff", "chopped vocal phrase", "worn piano loop"),
        ("chill", "nostalgic", "gritty"),
        ("boom bap", "dusty", "vinyl", "head nod", "late night", "swing"),
    ),
    Genre(
        "soul",
        (66, 112),
        ("string swell", "tambourine groove", "organ chord", "backing choir", "clean guitar lick"),
        ("warm", "nostalgic", "romantic"),
        ("horns", "sunday", "analog", "call and response", "velvet", "slow burn"),
    ),
    Genre(
        "house",
        (118, 127),
        ("four-to-the-floor kick", "filtered disco loop", "chord stab", "open hi-hat pattern", "rubbery bass line"),
        ("euphoric", "driving", "hypnotic"),
        ("club", "filter sweep", "peak time", "deep", "groove", "piano"),
    ),
    Genre(
        "techno",
        (128, 142),
        ("rumbling low end", "metallic percussion", "acid line", "distorted kick", "modular sequence"),
        ("dark", "hypnotic", "tense"),
        ("warehouse", "industrial", "rolling", "acid", "machine", "strobe"),
    ),
    Genre(
        "ambient",
        (52, 84),
        ("granular pad", "bowed cymbal", "field recording of rain", "tape-stretched piano", "glass harmonica drone"),
        ("calm", "dreamy", "melancholic"),
        ("texture", "drone", "slow", "wide", "sleep", "cinematic"),
    ),
    Genre(
        "funk",
        (96, 118),
        ("slap bass riff", "wah guitar", "tight drum break", "clavinet phrase", "brass hit"),
        ("playful", "energetic", "warm"),
        ("pocket", "syncopated", "live band", "break", "dance", "sweaty"),
    ),
    Genre(
        "jazz",
        (70, 168),
        ("brushed snare", "walking bass", "saxophone run", "electric piano comping", "vibraphone figure"),
        ("chill", "romantic", "melancholic"),
        ("smoky", "improvised", "trio", "blue note", "club", "swing"),
    ),
    Genre(
        "misc",
        (60, 150),
        ("found sound", "radio voice", "toy keyboard", "kitchen percussion", "crowd noise"),
        ("quirky", "tense", "playful"),
        ("foley", "one shot", "odd", "lo-fi", "texture", "voice"),
    ),
)

FIRST = (
    "amber", "brass", "canal", "delta", "ember", "fern", "garnet", "harbor", "indigo", "juniper", "kestrel", "lantern",
    "marble", "nickel", "orchid", "paper", "quarry", "river", "saffron", "tunnel", "umber", "velvet", "willow", "zinc",
    "café", "night shift",
)  # fmt: skip
SECOND = (
    "assembly", "bureau", "club", "department", "ensemble", "foundry", "garage", "hotel", "institute", "junction",
    "kitchen", "lodge", "motel", "network", "orchestra", "parade", "quartet", "society", "trio", "union",
)  # fmt: skip
SONG = (
    "afterglow", "back step", "cold coffee", "don't wait", "east window", "first train", "good weather", "half moon",
    "it'll pass", "june again", "keep still", "low tide", "morning bus", "no reply", "one more corner", "plain view",
    "quiet hours", "rain check", "slow elevator", "third floor", "under the bridge", "what it was", "yellow room",
)  # fmt: skip
NOTES = ("A", "Bb", "B", "C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab")
MOODS = ("chill", "dark", "dreamy", "energetic", "hypnotic", "melancholic", "nostalgic", "playful", "tense", "warm")
TEMPO_WORDS = ((75, "a slow crawl"), (95, "a laid-back pace"), (115, "a steady walk"), (130, "a dance tempo"))
USES = (
    "as the bed of a verse", "under a spoken intro", "as a transition between two sections", "cut into eight slices",
    "pitched down three semitones", "behind a vocal hook", "for a break before the last chorus", "as a drum layer",
)  # fmt: skip
SPACES = ("dry and close", "in a small wooden room", "drenched in spring reverb", "with a long hall tail", "in mono")
FLAWS = (
    "There is audible tape hiss in the quiet parts.", "The last bar fades early.",
    "A faint click marks the loop point.", "The low end is thin and wants a second layer.",
    "The recording peaks slightly on the loudest hit.",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=HERE / "samples.db", help="the file to write")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    options = parser.parse_args()
    make(options.path, options.samples)
    print(f"{options.path}: {options.samples:,} samples")


def make(path: Path, samples: int = SAMPLES) -> None:
    """Write the database again."""
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    database.executescript(TABLES)
    for sample, analysis in rows(samples):
        database.execute(f"insert into samples values ({', '.join('?' * len(sample))})", sample)
        if analysis:
            database.execute(f"insert into vibe_analyses values ({', '.join('?' * len(analysis))})", analysis)
    database.commit()
    database.close()


def rows(samples: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...] | None]]:
    """A row of `samples` and its row of `vibe_analyses`, None where there is none."""
    dice = random.Random(DICE)
    first_day = dt.datetime(2025, 3, 1, 9, 0)
    for number in range(1, samples + 1):
        genre = dice.choice(GENRES)
        tempo = round(dice.uniform(*genre.tempo), 2)
        title = f"{dice.choice(FIRST)} {dice.choice(SECOND)} - {dice.choice(SONG)}"
        key = dice.choice(NOTES) + dice.choice(("", "m"))
        rhythmic = dice.random() > 0.08
        sample = (
            number,
            title,
            f"pads/{number:04d}_{title.replace(' ', '_')}.wav",
            genre.name if dice.random() > 0.02 else None,
            tempo if rhythmic else None,
            key if dice.random() > 0.1 else None,
            round(dice.uniform(0.4, 14), 2),
            (first_day + dt.timedelta(minutes=97 * number)).isoformat(" "),
        )
        analysed = dice.random() > 1 / UNANALYSED
        yield sample, _analysis(dice, number, title, genre, tempo if rhythmic else None, key) if analysed else None


def _analysis(
    dice: random.Random, number: int, title: str, genre: Genre, tempo: float | None, key: str
) -> tuple[Any, ...]:
    mood = dice.choice(genre.moods)
    second = dice.choice([other for other in MOODS if other != mood]) if dice.random() > 0.15 else None
    energy = round(min(1.0, max(0.0, dice.gauss((tempo or 90) / 160, 0.12))), 3)
    tags = dice.sample(genre.tags, dice.randint(2, 5))
    text = _description(dice, title, genre, tempo, key, mood, second)
    return number, mood, second, energy, json.dumps(tags), text


def _description(
    dice: random.Random, title: str, genre: Genre, tempo: float | None, key: str, mood: str, second: str | None
) -> str:
    main, other = dice.sample(genre.sounds, 2)
    feel = f"{mood} with a {second} undertone" if second else mood
    pace = "Without a steady beat, it floats." if tempo is None else f"{tempo} - {_pace(tempo)}."
    lines = [
        f'### Analysis of "{title}"',
        "",
        "#### Vibe and Characteristics:",
        f"- **BPM (Beats Per Minute):** {pace}",
        f"- **Key:** {key}, {'minor and inward' if key.endswith('m') else 'major and open'}.",
        f"- **Sound:** A {main} leads, recorded {dice.choice(SPACES)}, with a {other} behind it.",
        f"- **Mood:** The overall impression is {feel}.",
        "",
        "#### Suggested Use:",
        f"Works well {dice.choice(USES)}, or {dice.choice(USES)}.",
    ]
    if dice.random() < 0.4:
        lines += ["", f"**Note:** {dice.choice(FLAWS)}"]
    return "\n".join(lines)


def _pace(tempo: float) -> str:
    return next((words for limit, words in TEMPO_WORDS if tempo < limit), "a fast run")


if __name__ == "__main__":
    main()
