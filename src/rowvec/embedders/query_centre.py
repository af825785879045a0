"""What all queries have in common in the space of a model: its centre.

A part of every vector says that this is a query, and in which language. It is in all cosines, and more of it is in some
rows than in others, so rows in the language of a query come first. Taking the mean vector off is an old remedy (Mu &
Viswanath, "All-but-the-Top", 2018); here it is taken off queries alone, which changes no stored vector.
"""

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
