"""Which words keyword search finds: one list for every store.

A line is a text, a query, and whether the query finds the text; `PAIRS` is read by tests of other stores too.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rowvec.testing.contract.samples import SPEC, Opener, entry, rows, write
from rowvec.words import analyzer

BOTH = "<>"
"""Either finds the other."""
FINDS = "<-"
"""The query on the right finds the text on the left."""
NOT = "x"
"""It does not."""

_PAIRS = """
# Slashes
HDMI/VGA adapter <- HDMI
HDMI/VGA adapter <- vga
HDMI/VGA adapter <- adapter
HDMI/VGA <> hdmi vga
TCP/IP <- tcp
TCP/IP <- IP
TCP/IP <> tcpip
red/blue/green <- blue
adapter/inverter <- inverter
and/or/lamp <- lamp
a/c unit <> ac unit
/slip flow/ <- slip
/usr/local/bin <- local
MQ2K2ZD/A <> MQ2K2ZDA
MQ2K2ZD/A <- mq2k2zd/a
km/h <> kmh
24/7 <- 7
1/2 inch <- inch
C:\\Users\\report.txt <- report
C:\\Users\\report.txt <- users
//server/share <- share
w/o cable <- cable
DVD-R/RW <- rw
input/output <- output
# Dots
StarTech.com <- startech
StarTech.com <> startech.com
StarTech.com <> startechcom
StarTech.com cable <- StarTech cable
node.js <- node
node.js <- js
node.js <> nodejs
lamp.Black <- black
lamp.Black <- lamp
report_final.pdf <- pdf
report_final.pdf <- report
report_final.pdf <- final
report_final.pdf <> report final pdf
e.g. lamps <- lamp
U.S.A. <- usa
end of text. <- text
wait...what lamp <- wait
ASP.NET <- asp
ASP.NET <> aspnet
asp.net <- net
Dr.Martens <- martens
index.html <- index
file.tar.gz <- tar
file.tar.gz <- gz
# Hyphens
wi-fi <> wifi
Wi-Fi router <- WIFI
wi-fi <- wi fi
wifi x wi fi
blu-ray <> bluray
blu-ray <- ray
Blu-ray player <- blu-ray
e-mail <> email
e-mails <> email
T-shirt <> tshirt
T-shirt <- shirt
state-of-the-art <- art
well-known brands <- known
twenty-five <- five
non-breaking‑hyphen <- breaking
re‐order <> reorder
x-ray <> xray
all-in-one <> allinone
pre-order <> preorder
long—dash <- dash
Paris–Lyon <- Lyon
Paris–Lyon x parislyon
-lamp- <- lamp
--option <- option
USB-C <> usbc
USB-C <- usb
on-off <> onoff
# Codes
SABO520067C <> SABO-520067.C
SABO520067C <> SABO-520067C
SABO520067C x sabo 520067c
SABO-520067.C <- sabo
SABO-520067.C <- 520067
SABO-520067.C <> sabo520067c
SABO-520067C <- 520067C
SABO 520067C <- 520067c
006R90321 <> 006r90321
006R90321 <> 006R-90321
006R90321 x 90321
TN2110 <> tn-2110
TN2110 <> tn 2110
TN-2110 <> TN 2110
TN 2110 <- 2110
TN2110 x tn
TN2110 x 2110
iPhone 12 <> iphone12
iPhone12 <> iphone-12
iPhone 12 <- iphone
Windows 10 <> windows10
ISO 9001 <> iso9001
ISO-9001 <> ISO9001
ISO 9001:2015 <- 9001
ISO 9001:2015 <- 2015
A4 paper <- a4
A4 <> A-4
A 4 x A4
MP3 <> mp-3
H.264 <> h264
H.264 <> h-264
RJ45 <> rj-45
RJ45 <> RJ 45
00:1A:2B:3C <> 001A2B3C
ABC_123 <> abc123
ABC_123 <> abc-123
ABC#123 <> abc123
AB+12 <> ab12
12-34-56 <- 34
12-34-56 <> 123456
B-52 <> b52
(SABO520067C) <- sabo520067c
"TN2110", <- tn2110
5200 x TN5200
978-3-16-148410-0 <> 9783161484100
DE 129273398 <> DE129273398
GTX 1080 Ti <- gtx1080
# Versions and addresses of networks
v2.0.1 <> 2.0.1
V2.0.1 <> v2.0.1
version 2.0.1 <- v2.0.1
v2.0 <> 2.0
v2 <> v-2
python3.11 <- 11
2.0.1 x 2.0
2.0.1-beta <- beta
2.0.1-beta <- 2.0.1
1.10 x 1.1
192.168.1.1 <> 192.168.1.1
192.168.1.1 x 192.168.1.2
10.0.0.1:8080 <- 10.0.0.1
10.0.0.1:8080 <- 8080
Log4j 2.17.1 <- 2.17.1
release-1.2.3 <- 1.2.3
release-1.2.3 <- release
# E-mail, hosts, paths, URLs
bob@example.com <- bob
bob@example.com <- example
bob@example.com <> bob@example.com
bob@example.com <- example.com
john.doe@shop.example.org <- doe
john.doe@shop.example.org <- john.doe
john.doe@shop.example.org <- shop
mailto:bob@example.com <- bob
www.example.com <- example
www.example.com <- example.com
https://www.example.com/lamps/red-lamp.html?colour=blue&size=12 <- lamp
https://www.example.com/lamps/red-lamp.html?colour=blue&size=12 <- red
https://www.example.com/lamps/red-lamp.html?colour=blue&size=12 <- blue
https://www.example.com/lamps/red-lamp.html?colour=blue&size=12 <- 12
https://www.example.com/lamps/red-lamp.html?colour=blue&size=12 <- example
https://example.com/a_b/c%20lamp <- example.com
src/rowvec/words/tokens.py <- tokens
src/rowvec/words/tokens.py <- tokens.py
src/rowvec/words/tokens.py <- rowvec
~/lamps/list <- lamps
ftp://host:21/file <- host
localhost:8000 <- localhost
localhost:8000 <- 8000
@rowvec <> rowvec
# Marks that are not read
lam{ad}pen <> lampen
lam{zwsp}pen <> lampen
lam{zwnj}pen <> lampen
lam{zwj}pen <> lampen
lam{wj}pen <> lampen
{bom}lamp <> lamp
lamp{lrm} <> lamp
co{ad}op{ad}er{ad}ate <- cooperate
lamp{nbsp}chair <- chair
lamp{nbsp}chair <- lamp
# Diacritics and letters with their own forms
Café <> cafe
Cafe{acute} <> café
Cafe{acute} <> cafe
CAFÉ <> café
Müller <> muller
Müller <> MÜLLER
Mu{umlaut}ller <> Müller
Straße <> strasse
STRASSE <> straße
Łódź <> lodz
Łódź <> łódź
żółta <> zolta
Ærø <> aero
Smørrebrød <> smorrebrod
Œuvre <> oeuvre
İstanbul <> istanbul
Iğdır <> igdir
ISPARTA <> ısparta
Þórr <> thorr
Đorđe <> dorde
naïve <> naive
señor <> senor
façade <> facade
Dvořák <> dvorak
Nguyễn <> nguyen
ёлка <> елка
Ёлка <> ЕЛКА
все{acute} <> все
й x и
їжак x іжак
край x краи
Αθήνα <> αθηνα
ΟΔΟΣ <> οδος
Ὀδυσσεύς <> οδυσσευς
שָׁלוֹם <> שלום
كِتَاب <> كتاب
كـتاب <> كتاب
हिन्दी <> हिन्दी
हिन्दी x हन्द
ＡＢＣ <> abc
ＡＢＣ－１２３ <> abc-123
ｶﾒﾗ <> カメラ
ﬁlter <> filter
Ⅻ <> xii
m² <> m2
H₂O <> h2o
StarTech™ <> startech
Nestlé® <> nestle
©rowvec <> rowvec
# Languages without blanks between words
日本語テスト <- 日本
日本語テスト <- 日本語
日本語テスト <- テスト
日本語テスト <> 日本語テスト
日本語テスト <- 語
日本語テスト x 英国
今日は良い天気 <- 天気
中文搜索测试 <- 搜索
中文搜索测试 <- 测试
中文搜索测试 x 搜测
USBケーブル <- usb
USBケーブル <- ケーブル
USBケーブル2本 <- ケーブル
한국어를 검색 <- 한국어
한국어를 검색 <- 검색
猫 <> 猫
黒い猫です <- 猫
ภาษาไทย <- ไทย
ភាសាខ្មែរ <- ខ្មែរ
がぎ x かき
iPhoneケース <- iphone
東京・大阪 <- 大阪
「東京」 <- 東京
# Apostrophes
driver's <> driver
driver’s <> driver's
men's <> men
O'Reilly <> oreilly
O'Reilly <- reilly
O’Reilly <> O'Reilly
l'eau <- eau
d'Artagnan <- artagnan
м'яч <> мяч
м’яч <> м'яч
пам'ять <> памʼять
don't x t
'lamp' <- lamp
rock 'n' roll <- roll
levi's <> levis
# Numbers
5 GHz <> 5GHz
5 GHz <- 5
5GHz <- ghz
5GHz <> 5-GHz
2.4 GHz <> 2.4ghz
3 m3 <> 3m3
3m3 <- m3
3m3 <- 3
25 cm2 <> 25cm2
128 GB <> 128gb
128GB <> 128-GB
12 V <> 12v
12V <> 12 v
100 ml <> 100ml
13.3-inch <> 13.3 inch
13.3" <- 13.3
10,000 <> 10000
10000 <> 10 000
10{nbsp}000 <> 10000
10{nnbsp}000 <> 10,000
10'000 <> 10000
10.000 <> 10000
1,234,567 <> 1234567
1.234.567 <> 1234567
1 234 567 <> 1234567
1.234,56 <> 1234.56
1,234.56 <> 1234,56
3.5 <> 3,5
3.5 x 5
3.5 x 35
0.125 <> 0,125
-5 degrees <> 5 degrees
+49 30 1234 <- 1234
$100 <> 100
100€ <> 100
50% <> 50
#1 <> 1
1920x1080 <> 1920×1080
16:9 <- 16
10:30 <- 30
2024-05-17 <- 2024
2024-05-17 <> 20240517
17.05.2024 <- 2024
17.05.2024 <> 17.05.2024
1,2,3 <- 2
007 <> 007
007 x 7
1e6 <> 1e6
25°C <- 25
5 µF <> 5uF
5 µF <> 5 μF
5 μF <> 5uF
10 μm <> 10 µm
μικρό <> μικρο
3rd <> 3rd
# Signs that are a part of a name
C++ <> c++
C++ x C#
C++ x c
C# <> c#
C# x c
F# <> f#
C#/.NET <- c#
C#/.NET <- net
.NET <> net
C++11 <- c++
g++ <> G++
notepad++ <> notepad
AT&T <> att
R&D <> R&D
R&D <> rd
H&M <- h&m
salt&pepper <- pepper
salt &amp; pepper <- pepper
salt&nbsp;pepper <- salt
<b>bold</b> <- bold
# Letters in both cases
PowerShot <> powershot
PowerShot x shot
getUserName <> getusername
getUserName x name
LAMP <> lamp
McDonald <> mcdonald
iOS <> IOS
# Emoji, hashtags, underscores
pizza 🍕 <- 🍕
pizza🍕 <- pizza
🍕🍔 <- 🍔
👍🏽 <- 👍
❤️ <> ❤
#sale <> sale
#SummerSale <> summersale
snake_case_name <- case
snake_case_name <> snake-case-name
__init__ <> init
_private <> private
# Stems and stop words of English
lamps <> lamp
running <> run
the lamp <- lamp
the x the
cities <> city
connection <> connected
university <- universities
organisation x organ
# Syntax of full-text search is plain text
lamp* <> lamp
name:lamp <- lamp
"red lamp" <- red
NEAR lamp <- near
(lamp) <> lamp
lamp AND chair <- chair
lamp^2 <- lamp
lamp|chair <- chair
lamp;chair <- chair
lamp=chair <- lamp
lamp,chair <- chair
lamp,chair x lampchair
{lamp} <- lamp
[lamp] <- lamp
lamp! <> lamp
¿lamp? <> lamp
"""
_MARKS = {
    "{ad}": "\u00ad", "{zwsp}": "\u200b", "{zwnj}": "\u200c", "{zwj}": "\u200d", "{wj}": "\u2060", "{bom}": "\ufeff",
    "{lrm}": "\u200e", "{nbsp}": "\u00a0", "{nnbsp}": "\u202f", "{acute}": "\u0301", "{umlaut}": "\u0308",
}  # fmt: skip


def _read() -> list[tuple[str, str, bool]]:
    found = []
    for line in _PAIRS.splitlines():
        for sign, both, hit in ((BOTH, True, True), (FINDS, False, True), (NOT, True, False)):
            text, between, query = line.partition(f" {sign} ")
            if between and not line.startswith("# "):
                for name, mark in _MARKS.items():
                    text, query = text.replace(name, mark), query.replace(name, mark)
                found += [(text, query, hit), *([(query, text, hit)] if both and text != query else [])]
                break
    return list(dict.fromkeys(found))


PAIRS = _read()
"""(text, query, whether it is found), of language `english`."""


def test_every_store_finds_the_same_words(opened: Opener) -> None:
    store = opened(SPEC)
    texts = list(dict.fromkeys(text for text, _, _ in PAIRS))
    write(store, *(entry(key, text) for key, text in enumerate(texts)))
    wrong = []
    for text, query, hit in PAIRS:
        found = rows(store).keyword(query, len(texts)).keys
        if (texts.index(text) in found) != hit:
            wrong.append(f"{query!r} {'does not find' if hit else 'finds'} {text!r}")
    assert wrong == []
    assert len(PAIRS) >= 300


@pytest.mark.parametrize("query", ["rust rust rust lamp", "lamp rust rust rust"])
def test_a_repeated_word_of_a_query_weighs_more(opened: Opener, query: str) -> None:
    store = opened(SPEC)
    write(store, entry(1, "lamp one"), entry(2, "rust two"), *(entry(key, f"filler {key}") for key in range(3, 20)))
    once = dict(zip(*rows(store).keyword("rust lamp", 5)[:2], strict=True))
    assert once[1] == pytest.approx(once[2])
    often = dict(zip(*rows(store).keyword(query, 5)[:2], strict=True))
    assert often[1] == pytest.approx(once[1])
    assert often[2] == pytest.approx(once[2] * (1 + 1.0986122886681098))


def test_another_language_stems_its_own_words(opened: Opener) -> None:
    spec = replace(SPEC, language="polish")
    store = opened(spec)
    write(store, entry(1, "czerwone samochody osobowe"), entry(2, "rowery"), spec=spec)
    assert rows(store, spec).keyword("samochodami", 5).keys == [1]
    assert rows(store, spec).keyword("rowerem", 5).keys == [2]


def test_an_unknown_language_is_refused_with_a_suggestion(unprepared: Opener) -> None:
    spec = replace(SPEC, language="polsih")
    store = unprepared(spec)
    with pytest.raises(Exception, match=r'polsih.*"polish"'):
        store.prepare(spec)


def test_tokens_say_where_the_words_stand() -> None:
    text = "Red lam\u00adps, SABO-520067.C and Cafe\u0301 5 GHz 日本語"
    found = {token.term: text[token.start : token.end] for token in analyzer("english").tokens(text)}
    assert found["lamp"] == "lam\u00adps"
    assert found["sabo520067c"] == "SABO-520067.C"
    assert found["520067"] == "520067"
    assert found["cafe"] == "Cafe\u0301"
    assert found["5ghz"] == "5 GHz"
    assert found["日本"] == "日本"
    assert found["本語"] == "本語"
    assert "and" not in found
