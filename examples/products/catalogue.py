"""Invented parts for trucks and buses, named in Russian, Polish and English."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple


class Words(NamedTuple):
    russian: str
    polish: str
    english: str


class Part(NamedTuple):
    name: Words
    category: int
    sizes: Callable[[random.Random], str]
    kilograms: tuple[float, float]


def _millimetres(dice: random.Random) -> str:
    return f"{dice.randrange(40, 480, 5)}x{dice.randrange(8, 90)} mm"


def _volts(dice: random.Random) -> str:
    return f"{dice.choice((12, 24))}V {dice.choice((21, 35, 55, 70, 90, 110, 150))}A"


def _thread(dice: random.Random) -> str:
    return f"M{dice.choice((8, 10, 12, 14, 16, 18, 20, 22))}x{dice.choice(('1', '1.25', '1.5', '2'))}"


def _litres(dice: random.Random) -> str:
    return f"{dice.choice((1, 4, 5, 10, 20, 60, 205))} L"


def _holes(dice: random.Random) -> str:
    return f"{dice.choice((6, 8, 10))} x {dice.randrange(120, 440, 2)} mm"


def _cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def _parts() -> Iterator[Part]:
    for category, size, light, heavy, *names in _cells(PARTS):
        yield Part(Words(*names), int(category), SIZES[size], (float(light), float(heavy)))


def _extras(category: int) -> list[Words]:
    return [Words(*names) for number, *names in _cells(EXTRAS) if int(number) in (ANY, category)]


SIZES = {"mm": _millimetres, "volt": _volts, "thread": _thread, "litre": _litres, "hole": _holes}
# category | size | kg from | kg to | Russian | Polish | English
PARTS = """
10 | mm | 2 | 9 | Пневмоподушка | Miech zawieszenia pneumatycznego | Air spring bellow
10 | mm | 3 | 8 | Амортизатор | Amortyzator | Shock absorber
10 | mm | 1 | 6 | Стабилизатор поперечной устойчивости | Drążek stabilizatora | Anti-roll bar
10 | mm | 0.1 | 1 | Сайлентблок | Tuleja metalowo-gumowa | Rubber-metal bush
10 | mm | 8 | 45 | Рессора | Resor piórowy | Leaf spring
10 | thread | 0.4 | 3 | Реактивная тяга | Drążek reakcyjny | Torque rod
20 | mm | 1 | 9 | Тормозные колодки | Klocki hamulcowe | Brake pads
20 | hole | 12 | 42 | Тормозной диск | Tarcza hamulcowa | Brake disc
20 | hole | 20 | 60 | Тормозной барабан | Bęben hamulcowy | Brake drum
20 | thread | 1 | 7 | Энергоаккумулятор | Siłownik sprężynowy | Spring brake chamber
20 | thread | 0.3 | 2 | Тормозной шланг | Przewód hamulcowy | Brake hose
20 | mm | 0.2 | 3 | Ремкомплект суппорта | Zestaw naprawczy zacisku | Caliper repair kit
20 | thread | 0.1 | 1 | Датчик ABS | Czujnik ABS | ABS sensor
30 | mm | 0.2 | 2 | Масляный фильтр | Filtr oleju | Oil filter
30 | mm | 0.2 | 2 | Топливный фильтр | Filtr paliwa | Fuel filter
30 | mm | 0.4 | 5 | Воздушный фильтр | Filtr powietrza | Air filter
30 | mm | 0.1 | 1 | Фильтр салона | Filtr kabinowy | Cabin filter
30 | thread | 0.3 | 2 | Фильтр осушителя воздуха | Wkład osuszacza powietrza | Air dryer cartridge
40 | mm | 2 | 9 | Водяной насос | Pompa wody | Water pump
40 | mm | 4 | 18 | Радиатор охлаждения | Chłodnica | Radiator
40 | mm | 0.1 | 1 | Термостат | Termostat | Thermostat
40 | mm | 0.2 | 2 | Патрубок радиатора | Wąż chłodnicy | Radiator hose
40 | mm | 3 | 12 | Вискомуфта вентилятора | Sprzęgło wentylatora | Fan clutch
50 | volt | 4 | 14 | Генератор | Alternator | Alternator
50 | volt | 3 | 16 | Стартер | Rozrusznik | Starter motor
50 | volt | 0.1 | 1 | Реле | Przekaźnik | Relay
50 | volt | 18 | 60 | Аккумулятор | Akumulator | Battery
50 | volt | 0.4 | 4 | Фара головного света | Reflektor | Headlamp
50 | volt | 0.2 | 2 | Задний фонарь | Lampa tylna | Tail lamp
50 | volt | 0.02 | 0.1 | Лампа накаливания | Żarówka | Bulb
60 | mm | 8 | 38 | Корзина сцепления | Docisk sprzęgła | Clutch pressure plate
60 | mm | 2 | 9 | Диск сцепления | Tarcza sprzęgła | Clutch disc
60 | mm | 0.5 | 4 | Выжимной подшипник | Łożysko oporowe | Release bearing
60 | thread | 1 | 6 | Главный цилиндр сцепления | Pompa sprzęgła | Clutch master cylinder
60 | mm | 2 | 22 | Карданный вал | Wał napędowy | Propeller shaft
60 | mm | 0.4 | 3 | Крестовина | Krzyżak wału | Universal joint
70 | mm | 0.2 | 3 | Поршневые кольца | Pierścienie tłokowe | Piston rings
70 | mm | 0.5 | 4 | Поршень | Tłok | Piston
70 | mm | 0.2 | 2 | Прокладка головки блока | Uszczelka głowicy | Cylinder head gasket
70 | mm | 0.1 | 2 | Ремень поликлиновой | Pasek wielorowkowy | V-ribbed belt
70 | mm | 0.4 | 3 | Натяжитель ремня | Napinacz paska | Belt tensioner
70 | thread | 0.2 | 2 | Форсунка | Wtryskiwacz | Injector
70 | mm | 6 | 24 | Турбокомпрессор | Turbosprężarka | Turbocharger
70 | mm | 0.1 | 1 | Сальник коленвала | Uszczelniacz wału korbowego | Crankshaft seal
80 | hole | 1 | 9 | Ступичный подшипник | Łożysko koła | Wheel bearing
80 | hole | 8 | 30 | Ступица колеса | Piasta koła | Wheel hub
80 | thread | 0.1 | 1 | Колёсная шпилька | Śruba koła | Wheel stud
80 | thread | 0.4 | 4 | Наконечник рулевой тяги | Końcówka drążka kierowniczego | Tie rod end
80 | mm | 3 | 14 | Насос гидроусилителя | Pompa wspomagania | Power steering pump
90 | mm | 1 | 16 | Крыло | Błotnik | Mudguard
90 | mm | 1 | 9 | Зеркало заднего вида | Lusterko wsteczne | Rear-view mirror
90 | mm | 0.2 | 1 | Щётка стеклоочистителя | Pióro wycieraczki | Wiper blade
90 | mm | 4 | 30 | Бампер | Zderzak | Bumper
90 | mm | 0.1 | 2 | Замок двери | Zamek drzwi | Door lock
95 | litre | 1 | 190 | Моторное масло | Olej silnikowy | Engine oil
95 | litre | 1 | 190 | Трансмиссионное масло | Olej przekładniowy | Gear oil
95 | litre | 1 | 190 | Охлаждающая жидкость | Płyn chłodniczy | Coolant
95 | litre | 0.5 | 20 | Очиститель тормозов | Zmywacz do hamulców | Brake cleaner
95 | litre | 0.1 | 4 | Консистентная смазка | Smar plastyczny | Grease
"""
ANY = 0
EXTRAS = """
10 | с мет стаканом | z metalowym tłokiem | with steel piston
10 | без стакана | bez tłoka | without piston
10 | на переднюю ось | na oś przednią | front axle
10 | на заднюю ось | na oś tylną | rear axle
20 | с датчиком износа | z czujnikiem zużycia | with wear sensor
20 | комплект на ось | zestaw na oś | axle set
20 | на переднюю ось | na oś przednią | front axle
20 | на заднюю ось | na oś tylną | rear axle
30 | с прокладкой | z uszczelką | with gasket
40 | с прокладкой | z uszczelką | with gasket
50 | водонепроницаемость IP67 | wodoszczelność IP67 | waterproof IP67
60 | после восстановления | po regeneracji | remanufactured
70 | после восстановления | po regeneracji | remanufactured
70 | ремонтный размер +0.25 | nadwymiar +0,25 | oversize +0.25
80 | левая сторона | lewa strona | left side
80 | правая сторона | prawa strona | right side
90 | левая сторона | lewa strona | left side
90 | правая сторона | prawa strona | right side
90 | с подогревом | z podgrzewaniem | heated
95 | для зимы | na zimę | for winter
95 | по допуску завода | z homologacją producenta | approved by the maker
0 | для тяжёлых условий | do ciężkich warunków | heavy duty
0 | в заводской упаковке | w oryginalnym opakowaniu | in original packing
"""
VEHICLES = (
    "Volvo FH", "Volvo FM", "Scania R", "Scania G", "DAF XF", "DAF CF", "MAN TGX", "MAN TGA", "MAN TGL",
    "Iveco Stralis", "Iveco Daily", "Mercedes Actros", "Mercedes Atego", "Renault Magnum", "Renault Premium",
    "KAMAZ 65115", "MAZ 5440", "Setra S415", "Neoplan Cityliner", "Solaris Urbino", "SAF axle", "BPW axle",
    "ROR axle", "Schmitz trailer",
)  # fmt: skip
BRANDS = (
    "SABOR", "Nordvik", "Wiatrak", "Tormex", "Kolvest", "Ostra", "Beldan", "Autorix", "Granit-M", "Lumira", "Polmoz",
    "Heltec", "Vektor", "Rovena", "Stalgor", "Tiberg", "Uralis", "Zefir", "Dantek", "Mirowa", "Kestor", "Faxon",
)  # fmt: skip
FOR = Words("для", "do", "for")
FITS = Words("Подходит для {}.", "Pasuje do {}.", "Fits {}.")
SIZED = Words("Размер {}, масса {} кг.", "Wymiar {}, masa {} kg.", "Size {}, weight {} kg.")
REPLACES = Words("Заменяет номер {}.", "Zastępuje numer {}.", "Replaces number {}.")
REMARKS = """
Гарантия 24 месяца. | Gwarancja 24 miesiące. | Two years of warranty.
Устанавливается без доработок. | Montaż bez przeróbek. | Fits without changes.
Рекомендуется менять парами. | Zaleca się wymianę parami. | Replace in pairs.
Устойчив к соли и низким температурам. | Odporny na sól i niskie temperatury. | Resists salt and cold.
Проверен на стенде производителя. | Sprawdzony na stanowisku producenta. | Tested on the maker's bench.
Сверьте номер на старой детали. | Sprawdź numer na starej części. | Check the number of the old part.
В комплекте прокладки и болты. | W komplecie uszczelki i śruby. | Gaskets and bolts are included.
Не использовать с жидкостями на минеральной основе. | Nie stosować z płynami mineralnymi. | Not for mineral fluids.
"""
COLUMNS = {
    "product_id": "bigint primary key",
    "name": "text not null",
    "polish_name": "text",
    "vendor_code": "text",
    "description": "text",
    "polish_description": "text",
    "weight": "numeric(10, 2)",
    "length": "integer",
    "width": "integer",
    "height": "integer",
    "price": "numeric(12, 2)",
    "category_id": "bigint",
    "is_active": "boolean not null",
    "deleted": "boolean not null",
    "created_at": "timestamp not null",
    "updated_at": "timestamp not null",
    "ingested_at": "timestamp not null",
}
"""Of one product, as the shop's database has them, each with its SQL type."""
RUSSIAN, POLISH, ENGLISH = range(3)
FIRST_KEY = 7_800_001
FIRST_DAY = dt.datetime(2024, 1, 8, 6, 0)
PARTS_FOR_SALE = tuple(_parts())
_EXTRAS = {part.category: _extras(part.category) for part in PARTS_FOR_SALE}
_REMARKS = [Words(*names) for names in _cells(REMARKS)]


def products(count: int, seed: int) -> Iterator[tuple[Any, ...]]:
    """The first `count` products, in key order. More of them begin with the same ones."""
    dice = random.Random(seed)
    key = FIRST_KEY
    for number in range(count):
        yield product(dice, key, FIRST_DAY + dt.timedelta(minutes=2 * number))
        key += dice.choice((1, 1, 1, 2, 5))


def product(dice: random.Random, key: int, created: dt.datetime) -> tuple[Any, ...]:
    """The values of COLUMNS."""
    part, brand, vehicle = dice.choice(PARTS_FOR_SALE), dice.choice(BRANDS), dice.choice(VEHICLES)
    extra = dice.choice(_EXTRAS[part.category]) if dice.random() < 0.6 else None
    size, code = part.sizes(dice), f"{brand[:4].upper()}{dice.randrange(100_000, 1_000_000)}{dice.choice('ABCDKMPX')}"
    kilograms = round(dice.uniform(*part.kilograms), 2)
    facts = (vehicle, size, kilograms, f"{dice.randrange(1, 9)}.{dice.randrange(1000, 100_000)}")
    spoken = dice.choices((RUSSIAN, POLISH, ENGLISH), (60, 15, 25))[0]
    updated = created + dt.timedelta(minutes=dice.randrange(200_000))
    price = round(2 + 9 * kilograms + dice.expovariate(1 / 60), 2)
    return (
        key,
        _name(spoken, part, extra, brand, vehicle, code, size),
        _name(POLISH, part, extra, brand, vehicle, code, size) if dice.random() < 0.88 else None,
        code if dice.random() < 0.97 else None,
        _description(dice, spoken, part, facts) if dice.random() < 1 / 3 else None,
        _description(dice, POLISH, part, facts) if dice.random() < 0.12 else None,
        Decimal(str(kilograms)) if dice.random() < 0.9 else None,
        *((dice.randrange(20, 900, 5), dice.randrange(20, 500, 5), dice.randrange(10, 400, 5))
          if dice.random() < 0.7 else (None, None, None)),
        Decimal(str(price)),
        part.category,
        dice.random() < 0.94,
        False,
        created,
        updated,
        updated + dt.timedelta(seconds=dice.randrange(1, 900)),
    )  # fmt: skip


def _name(spoken: int, part: Part, extra: Words | None, brand: str, vehicle: str, code: str, size: str) -> str:
    pieces = (part.name[spoken], extra and f"({extra[spoken]})", FOR[spoken], vehicle, brand, code[4:], size)
    return " ".join(piece for piece in pieces if piece)


def _description(dice: random.Random, spoken: int, part: Part, facts: tuple[str, str, float, str]) -> str:
    vehicle, size, kilograms, number = facts
    others = ", ".join(dict.fromkeys([vehicle, *dice.choices(VEHICLES, k=dice.randint(0, 2))]))
    remarks = [remark[spoken] for remark in dice.sample(_REMARKS, dice.randint(1, 3))]
    return " ".join(
        [f"{part.name[spoken]}. {FITS[spoken].format(others)}", SIZED[spoken].format(size, kilograms), *remarks,
         REPLACES[spoken].format(number)]
    )  # fmt: skip
