"""Languages that look alike are told apart by short sentences: those of one script, or of one family."""

from __future__ import annotations

import pytest

from rowvec.words import keyword_language, read

SENTENCES = {
    "hindi": (
        "यह किताब बहुत अच्छी है",
        "मुझे पानी चाहिए",
        "भारत की राजधानी नई दिल्ली है",
        "लकड़ी की मेज",
        "बच्चों के लिए जूते",
        "सूती कमीज़ नीले रंग की",
        "घर में कोई नहीं है",
        "स्टील की बोतल, एक लीटर",
    ),
    "nepali": (
        "यो किताब धेरै राम्रो छ",
        "मलाई पानी चाहिन्छ",
        "नेपालको राजधानी काठमाडौं हो",
        "काठको टेबुल",
        "बच्चाहरूको लागि जुत्ता",
        "घरमा कोही छैन",
        "काठमाडौंमा पानी परिरहेको छ",
        "ऊ हिजो बजार गयो",
    ),
    "persian": (
        "این کتاب بسیار خوب است",
        "من آب می‌خواهم",
        "تهران پایتخت ایران است",
        "میز چوبی برای اتاق",
        "کفش برای کودکان",
        "پیراهن نخی آبی",
        "در خانه کسی نیست",
        "او دیروز به بازار رفت",
    ),
    "arabic": (
        "هذا الكتاب جيد جدا",
        "أريد ماء",
        "القاهرة هي عاصمة مصر",
        "طاولة من الخشب",
        "حذاء للأطفال",
        "قميص قطني أزرق",
        "لا يوجد أحد في البيت",
        "ذهب أمس إلى السوق",
    ),
    "urdu": (
        "یہ کتاب بہت اچھی ہے",
        "مجھے پانی چاہیے",
        "اسلام آباد پاکستان کا دارالحکومت ہے",
        "لکڑی کی میز",
        "بچوں کے لیے جوتے",
        "نیلے رنگ کی سوتی قمیض",
        "گھر میں کوئی نہیں ہے",
        "وہ کل بازار گیا تھا",
    ),
    "russian": (
        "Эта книга очень хорошая",
        "Мне нужна вода",
        "Москва — столица России",
        "Деревянный стол для кухни",
        "Обувь для детей",
        "Синяя хлопковая рубашка",
        "Дома никого нет",
        "Он вчера пошёл на рынок",
    ),
    "ukrainian": (
        "Ця книга дуже гарна",
        "Мені потрібна вода",
        "Київ — столиця України",
        "Дерев'яний стіл для кухні",
        "Взуття для дітей",
        "Синя бавовняна сорочка",
        "Вдома нікого немає",
        "Він вчора пішов на ринок",
    ),
    "bulgarian": (
        "Тази книга е много добра",
        "Трябва ми вода",
        "София е столицата на България",
        "Дървена маса за кухня",
        "Обувки за деца",
        "Синя памучна риза",
        "Вкъщи няма никой",
        "Той отиде вчера на пазара",
    ),
    "serbian": (
        "Ова књига је веома добра",
        "Треба ми вода",
        "Београд је главни град Србије",
        "Дрвени сто за кухињу",
        "Ципеле за децу",
        "Плава памучна кошуља",
        "Код куће нема никога",
        "Он је јуче отишао на пијацу",
    ),
    "macedonian": (
        "Оваа книга е многу добра",
        "Ми треба вода",
        "Скопје е главен град на Македонија",
        "Дрвена маса за кујна",
        "Чевли за деца",
        "Сина памучна кошула",
        "Дома нема никого",
        "Тој вчера отиде на пазар",
    ),
    "belarusian": (
        "Гэтая кніга вельмі добрая",
        "Мне патрэбна вада",
        "Мінск — сталіца Беларусі",
        "Драўляны стол для кухні",
        "Абутак для дзяцей",
        "Сіняя баваўняная кашуля",
    ),
    "norwegian": (
        "Denne boken er veldig god",
        "Jeg trenger vann",
        "Oslo er hovedstaden i Norge",
        "Trebord til kjøkkenet",
        "Sko for barn",
        "Blå bomullsskjorte",
        "Det er ingen hjemme",
        "Han gikk til markedet i går",
    ),
    "danish": (
        "Denne bog er meget god",
        "Jeg har brug for vand",
        "København er hovedstaden i Danmark",
        "Træbord til køkkenet",
        "Sko til børn",
        "Blå bomuldsskjorte",
        "Der er ikke nogen hjemme",
        "Han gik på markedet i går",
    ),
    "swedish": (
        "Den här boken är mycket bra",
        "Jag behöver vatten",
        "Stockholm är huvudstaden i Sverige",
        "Träbord till köket",
        "Skor för barn",
        "Blå bomullsskjorta",
        "Det är ingen hemma",
        "Han gick till marknaden igår",
    ),
    "portuguese": (
        "Este livro é muito bom",
        "Preciso de água",
        "Lisboa é a capital de Portugal",
        "Mesa de madeira para a cozinha",
        "Sapatos para crianças",
        "Camisa azul de algodão",
        "Não há ninguém em casa",
        "Ele foi ontem ao mercado",
    ),
    "spanish": (
        "Este libro es muy bueno",
        "Necesito agua",
        "Madrid es la capital de España",
        "Mesa de madera para la cocina",
        "Zapatos para niños",
        "Camisa azul de algodón",
        "No hay nadie en casa",
        "Ayer fue al mercado",
    ),
    "indonesian": (
        "Buku ini sangat bagus",
        "Saya membutuhkan air",
        "Jakarta adalah ibu kota Indonesia",
        "Meja kayu untuk dapur",
        "Sepatu untuk anak-anak",
        "Kemeja katun biru",
        "Tidak ada orang di rumah",
    ),
    "malay": (
        "Buku ini sangat bagus",
        "Saya memerlukan air",
        "Kuala Lumpur ialah ibu negara Malaysia",
        "Meja kayu untuk dapur",
        "Kasut untuk kanak-kanak",
        "Kemeja kapas biru",
        "Tiada sesiapa di rumah",
    ),
    "czech": (
        "Tato kniha je velmi dobrá",
        "Potřebuji vodu",
        "Praha je hlavní město České republiky",
        "Dřevěný stůl do kuchyně",
        "Boty pro děti",
        "Modrá bavlněná košile",
        "Doma nikdo není",
    ),
    "slovak": (
        "Táto kniha je veľmi dobrá",
        "Potrebujem vodu",
        "Bratislava je hlavné mesto Slovenska",
        "Drevený stôl do kuchyne",
        "Topánky pre deti",
        "Modrá bavlnená košeľa",
        "Doma nikto nie je",
    ),
    "polish": (
        "Ta książka jest bardzo dobra",
        "Potrzebuję wody",
        "Warszawa jest stolicą Polski",
        "Drewniany stół do kuchni",
        "Buty dla dzieci",
        "Niebieska koszula bawełniana",
    ),
    "croatian": (
        "Ova knjiga je vrlo dobra",
        "Trebam vodu",
        "Zagreb je glavni grad Hrvatske",
        "Drveni stol za kuhinju",
        "Cipele za djecu",
        "Plava pamučna košulja",
        "Kod kuće nema nikoga",
    ),
    "slovenian": (
        "Ta knjiga je zelo dobra",
        "Potrebujem vodo",
        "Ljubljana je glavno mesto Slovenije",
        "Lesena miza za kuhinjo",
        "Čevlji za otroke",
        "Modra bombažna srajca",
    ),
}  # fmt: skip
"""The same few things in each: a book, water, a capital, a table, shoes, a shirt."""
WITHOUT_STEMS = (
    "urdu",
    "ukrainian",
    "bulgarian",
    "macedonian",
    "belarusian",
    "malay",
    "slovak",
    "croatian",
    "slovenian",
)


@pytest.mark.parametrize("language", SENTENCES)
def test_a_language_is_told_from_its_neighbours(language: str) -> None:
    texts = SENTENCES[language]
    assert read(texts).language == language
    assert keyword_language(texts) == ("simple" if language in WITHOUT_STEMS else language)


@pytest.mark.parametrize("language", ["hindi", "persian", "arabic", "urdu", "russian"])
def test_one_short_sentence_is_enough_where_the_letters_or_small_words_tell(language: str) -> None:
    read_as = [read([text]).language for text in SENTENCES[language]]
    assert read_as.count(language) >= len(read_as) - 1, read_as


def test_one_sentence_that_neighbours_share_tells_no_language() -> None:
    assert read(["Sko til barn"]).language == ""
    assert keyword_language(["Buku ini"]) == "english"
