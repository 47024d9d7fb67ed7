//! Facts that the summary was not made with: they were written before they were first counted, and
//! nothing in it was chosen by them. Half hang on a number or a name; of the other half most are told
//! in no word by which people decide, forbid or promise.

use crate::corpus::CHINESE;
use crate::corpus::ENGLISH;
use crate::corpus::GERMAN;
use crate::corpus::JAPANESE;
use crate::corpus::Language;
use crate::corpus::SPANISH;

pub(crate) const HELD_OUT: [&Language; 5] =
    [&HELD_OUT_ENGLISH, &HELD_OUT_GERMAN, &HELD_OUT_SPANISH, &HELD_OUT_CHINESE, &HELD_OUT_JAPANESE];

const HELD_OUT_ENGLISH: Language = Language {
    facts: [
        (
            "The Wi-Fi password is tulip-9-rain.",
            "For the Wi-Fi type tulip-9-rain, by the way.",
            "tulip-9-rain",
        ),
        ("The flight leaves at 6:45.", "We have to catch the flight at 6:45.", "6:45"),
        (
            "Doctor Okafor signs the papers.",
            "The papers go to Doctor Okafor, she signs them.",
            "Okafor",
        ),
        (
            "Logs go to ~/var/worker.log.",
            "If you look for logs, try ~/var/worker.log.",
            "worker.log",
        ),
        (
            "The room costs 118 dollars a night.",
            "A night comes to 118 dollars, breakfast included.",
            "118",
        ),
        ("Version 3.9 breaks the import.", "The import has been broken since 3.9.", "3.9"),
        (
            "Call retry_later when the queue is full.",
            "With a full queue it's retry_later you want.",
            "retry_later",
        ),
        (
            "The parcel goes to 27 Mill Lane.",
            "Send the parcel to 27 Mill Lane, please.",
            "Mill Lane",
        ),
        ("The invoice is R-5530-B.", "It's the one with R-5530-B on top.", "R-5530-B"),
        ("Tanaka takes over in spring.", "From spring on it's Tanaka who does it.", "Tanaka"),
        (
            "The spare key is under the stone.",
            "If you are locked out, look under the stone.",
            "under the stone",
        ),
        ("We don't serve meat at the party.", "There will be no meat at the party.", "meat"),
        ("The blue bag stays in the car.", "Leave the blue bag in the car.", "blue bag"),
        ("My brother can't drive at night.", "Driving at night is not for my brother.", "at night"),
        (
            "The report goes out without pictures.",
            "No pictures in the report this time.",
            "pictures",
        ),
        ("Grandma wants the window seat.", "The window seat is for grandma.", "window seat"),
        ("We chose the smaller garden.", "So the smaller garden it is.", "smaller garden"),
        ("The children sleep upstairs.", "Upstairs is where the children sleep.", "children sleep"),
        (
            "On rainy days the shop closes.",
            "Don't go to the shop on rainy days, it's closed.",
            "rainy days",
        ),
        ("The old printer is broken.", "Don't bother with the old printer.", "old printer"),
    ],
    topics: [
        "the car",
        "the children",
        "the blue paint",
        "the other night",
        "the stone wall",
        "the window",
        "the garden",
        "the pictures here",
        "the report",
        "the shop",
        "the party",
        "the old seat",
    ],
    ..ENGLISH
};

const HELD_OUT_GERMAN: Language = Language {
    facts: [
        (
            "Das WLAN-Passwort ist tulip-9-rain.",
            "Fürs WLAN tippst du übrigens tulip-9-rain ein.",
            "tulip-9-rain",
        ),
        ("Der Flug geht um 6:45.", "Wir müssen den Flug um 6:45 erwischen.", "6:45"),
        (
            "Doktor Okafor unterschreibt die Papiere.",
            "Die Papiere gehen an Doktor Okafor, sie unterschreibt.",
            "Okafor",
        ),
        (
            "Protokolle landen in ~/var/worker.log.",
            "Wenn du Protokolle suchst, schau in ~/var/worker.log.",
            "worker.log",
        ),
        (
            "Das Zimmer kostet 118 Euro die Nacht.",
            "Eine Nacht kommt auf 118 Euro, mit Frühstück.",
            "118",
        ),
        ("Version 3.9 macht den Import kaputt.", "Seit 3.9 ist der Import kaputt.", "3.9"),
        (
            "Ruf retry_later auf, wenn die Schlange voll ist.",
            "Bei voller Schlange willst du retry_later.",
            "retry_later",
        ),
        (
            "Das Paket geht in die Mühlgasse 27.",
            "Schick das Paket bitte in die Mühlgasse 27.",
            "Mühlgasse",
        ),
        ("Die Rechnung ist R-5530-B.", "Es ist die, auf der oben R-5530-B steht.", "R-5530-B"),
        ("Tanaka übernimmt im Frühling.", "Ab dem Frühling macht das Tanaka.", "Tanaka"),
        (
            "Der Ersatzschlüssel liegt unter dem Stein.",
            "Wenn du ausgesperrt bist, schau unter dem Stein nach.",
            "unter dem Stein",
        ),
        (
            "Auf dem Fest gibt es kein Fleisch.",
            "Fleisch kommt auf dem Fest nicht auf den Tisch.",
            "Fleisch",
        ),
        ("Die blaue Tasche bleibt im Auto.", "Lass die blaue Tasche im Auto.", "blaue Tasche"),
        (
            "Mein Bruder fährt nachts nicht.",
            "Das Fahren nachts ist nichts für meinen Bruder.",
            "nachts",
        ),
        ("Der Bericht geht ohne Bilder raus.", "Keine Bilder im Bericht dieses Mal.", "Bilder"),
        ("Oma möchte den Fensterplatz.", "Der Fensterplatz ist für Oma.", "Fensterplatz"),
        ("Gewählt ist der kleinere Garten.", "Also der kleinere Garten.", "kleinere Garten"),
        ("Die Kinder schlafen oben.", "Oben ist es, wo die Kinder schlafen.", "Kinder schlafen"),
        (
            "An Regentagen macht der Laden zu.",
            "Geh an Regentagen nicht zum Laden, er ist zu.",
            "Regentagen",
        ),
        ("Der alte Drucker ist kaputt.", "Der alte Drucker bringt dir nichts.", "alte Drucker"),
    ],
    topics: [
        "das Auto",
        "die Kinder",
        "die blaue Farbe",
        "die andere Nacht",
        "die Mauer",
        "das Fenster",
        "den Garten",
        "die Leute da",
        "den Bericht",
        "den Laden",
        "das Fest",
        "den alten Platz",
    ],
    ..GERMAN
};

const HELD_OUT_SPANISH: Language = Language {
    facts: [
        (
            "La clave del wifi es tulip-9-rain.",
            "Para el wifi pon tulip-9-rain, por cierto.",
            "tulip-9-rain",
        ),
        ("El vuelo sale a las 6:45.", "Tenemos que coger el vuelo de las 6:45.", "6:45"),
        (
            "La doctora Okafor firma los papeles.",
            "Los papeles van para la doctora Okafor, ella firma.",
            "Okafor",
        ),
        (
            "Los registros van a ~/var/worker.log.",
            "Si buscas los registros, prueba en ~/var/worker.log.",
            "worker.log",
        ),
        (
            "La habitación cuesta 118 euros la noche.",
            "Una noche sale a 118 euros con desayuno.",
            "118",
        ),
        ("La versión 3.9 rompe la importación.", "La importación está rota desde la 3.9.", "3.9"),
        (
            "Llama a retry_later cuando la cola está llena.",
            "Con la cola llena lo que quieres es retry_later.",
            "retry_later",
        ),
        (
            "El paquete va a la calle Molino 27.",
            "Manda el paquete a la calle Molino 27, por favor.",
            "Molino",
        ),
        ("La factura es R-5530-B.", "Es la que lleva arriba R-5530-B.", "R-5530-B"),
        ("Tanaka lo asume en primavera.", "Desde la primavera lo hace Tanaka.", "Tanaka"),
        (
            "La llave de repuesto está bajo la piedra.",
            "Si te quedas fuera, mira bajo la piedra.",
            "bajo la piedra",
        ),
        ("En la fiesta no servimos carne.", "Nada de carne en la fiesta.", "carne"),
        ("La bolsa azul se queda en el coche.", "Deja la bolsa azul en el coche.", "bolsa azul"),
        ("Mi hermano no conduce de noche.", "Conducir de noche no es para mi hermano.", "de noche"),
        ("El informe sale sin fotos.", "Esta vez el informe va sin fotos.", "sin fotos"),
        (
            "La abuela quiere el asiento de ventana.",
            "El asiento de ventana es para la abuela.",
            "asiento de ventana",
        ),
        (
            "Elegimos el jardín pequeño.",
            "Entonces nos quedamos el jardín pequeño.",
            "jardín pequeño",
        ),
        ("Los niños duermen arriba.", "Arriba es donde los niños duermen.", "niños duermen"),
        (
            "Los días de lluvia la tienda cierra.",
            "No vayas a la tienda los días de lluvia, está cerrada.",
            "días de lluvia",
        ),
        ("La impresora vieja está rota.", "Olvídate de la impresora vieja.", "impresora vieja"),
    ],
    topics: [
        "el coche",
        "los niños",
        "la pintura azul",
        "la otra noche",
        "el muro",
        "la ventana",
        "el jardín",
        "la gente de allí",
        "el informe",
        "la tienda",
        "la fiesta",
        "el asiento viejo",
    ],
    ..SPANISH
};

const HELD_OUT_CHINESE: Language = Language {
    facts: [
        ("无线密码是tulip-9-rain。", "对了，连无线就输tulip-9-rain。", "tulip-9-rain"),
        ("航班6:45起飞。", "我们要赶6:45的航班。", "6:45"),
        ("文件由周建国签字。", "文件交给周建国签。", "周建国"),
        ("日志写到~/var/worker.log。", "找日志的话看~/var/worker.log。", "worker.log"),
        ("房间一晚118元。", "住一晚要118元，含早餐。", "118"),
        ("3.9版会弄坏导入。", "从3.9开始导入就坏了。", "3.9"),
        ("队列满了就调用retry_later。", "队列满的时候你该用retry_later。", "retry_later"),
        ("包裹寄到磨坊路27号。", "请把包裹寄到磨坊路27号。", "磨坊路"),
        ("发票是R-5530-B。", "就是上面写着R-5530-B的那张。", "R-5530-B"),
        ("春天由田中接手。", "从春天起就是田中来做。", "田中"),
        ("备用钥匙在石头下面。", "进不去的话，看看石头下面。", "石头下面"),
        ("聚会上不吃肉。", "聚会那天没有肉。", "肉"),
        ("蓝色的包留在车里。", "把蓝色的包放在车里。", "蓝色的包"),
        ("我弟弟晚上不开车。", "晚上开车不适合我弟弟。", "我弟弟"),
        ("报告里不放图片。", "这次报告没有图片。", "图片"),
        ("奶奶要靠窗的座位。", "靠窗的座位给奶奶。", "靠窗的座位"),
        ("我们选了小一点的院子。", "那就要小一点的院子吧。", "小一点的院子"),
        ("孩子们睡在楼上。", "楼上是孩子们睡觉的地方。", "孩子们"),
        ("下雨天店里不开门。", "下雨天别去店里，关着的。", "下雨天"),
        ("旧打印机坏了。", "别管那台旧打印机了。", "旧打印机"),
    ],
    topics: [
        "车子",
        "孩子的事",
        "蓝色油漆",
        "那个晚上",
        "石墙",
        "窗户",
        "院子",
        "那边的人",
        "报告",
        "店里",
        "聚会",
        "旧座位",
    ],
    ..CHINESE
};

const HELD_OUT_JAPANESE: Language = Language {
    facts: [
        (
            "無線の合言葉はtulip-9-rainです。",
            "ちなみに無線はtulip-9-rainでつながります。",
            "tulip-9-rain",
        ),
        ("飛行機は6:45に出ます。", "6:45の飛行機に間に合わせましょう。", "6:45"),
        ("書類は大久保医師が署名します。", "書類は大久保医師に渡してください。", "大久保"),
        ("記録は~/var/worker.logに出ます。", "記録を探すなら~/var/worker.logへ。", "worker.log"),
        ("部屋は一泊118ドルです。", "一泊だと朝食付きで118ドルだそうです。", "118"),
        ("3.9版で取り込みが壊れます。", "取り込みは3.9から壊れたままです。", "3.9"),
        ("列が一杯ならretry_laterを呼びます。", "列が一杯の時はretry_laterですよ。", "retry_later"),
        ("荷物は水車通り27番地へ。", "荷物は水車通り27番地に送ってください。", "水車通り"),
        ("請求書はR-5530-Bです。", "上にR-5530-Bと書いてあるやつです。", "R-5530-B"),
        ("春から田中が引き継ぎます。", "春になったら田中の仕事です。", "田中"),
        ("合鍵は石の下にあります。", "入れなかったら石の下を見て。", "石の下"),
        ("宴会では肉を出しません。", "宴会に肉はなしで。", "肉"),
        ("青い鞄は車に置いておきます。", "青い鞄は車に残して。", "青い鞄"),
        ("弟は夜に運転できません。", "夜の運転は弟には無理です。", "弟"),
        ("報告書は写真なしで出します。", "今回の報告書に写真は入れません。", "写真"),
        ("祖母は窓側の席がいいそうです。", "窓側の席は祖母に。", "窓側の席"),
        ("小さい庭を選びました。", "じゃあ小さい庭の方で。", "小さい庭"),
        ("子供たちは二階で寝ます。", "二階は子供たちが寝る所です。", "子供たち"),
        ("雨の日は店が閉まります。", "雨の日に店へ行っても閉まっています。", "雨の日"),
        ("古い印刷機は壊れています。", "古い印刷機のことは忘れて。", "古い印刷機"),
    ],
    topics: [
        "車",
        "子供の話",
        "青い絵の具",
        "あの夜",
        "石の壁",
        "窓",
        "庭",
        "あちらの人",
        "報告",
        "店",
        "宴会",
        "古い席",
    ],
    ..JAPANESE
};
