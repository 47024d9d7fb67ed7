//! Long conversations with facts planted in them, in five languages, four kinds and two wordings.
//!
//! Half of the facts hang on a number or a name; the other half are said in words that stand in the
//! small talk around them too.

use serde_json::{Value, json};

/// Kinds of conversations.
pub(crate) const KINDS: [&str; 4] = ["support", "coding", "notes", "planning"];

/// How the facts are worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wording {
    /// A sentence of its own.
    Plain,
    /// As people say it in passing.
    Varied,
}

/// A language: its name, the facts, and what is said around them.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    /// Plain, varied, and the part that tells whether the fact is still there.
    pub(crate) facts: [(&'static str, &'static str, &'static str); 20],
    /// Sentences with a place for a topic.
    pub(crate) frames: [&'static str; 14],
    pub(crate) topics: [&'static str; 12],
    /// What words that are said only once are made of.
    pub(crate) syllables: &'static str,
    pub(crate) join: &'static str,
}

/// A conversation and the parts that have to survive.
pub(crate) struct Planted {
    pub(crate) messages: Vec<Value>,
    pub(crate) keys: Vec<&'static str>,
}

/// A small generator, so that every run sees the same conversations.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

impl Language {
    fn small_talk(&self, dice: &mut Dice, (sentences, rich): (usize, bool)) -> String {
        let said = (0..sentences).map(|_| {
            let frame = self.frames[dice.roll(self.frames.len())];
            // A third is about something that comes up this once (in notes, all but a third): rare
            // words are no facts. Another third has words of the facts in it: nor are facts rare words.
            let words = if rich { 4 } else { 1 };
            let once: Vec<String> = (0..words).map(|_| self.made_up(dice)).collect();
            let (once, borrowed) = (once.join(self.join), self.borrowed(dice));
            let topic = match dice.roll(3) {
                0 => &borrowed,
                1 => &once,
                _ if rich => &once,
                _ => self.topics[dice.roll(self.topics.len())],
            };
            frame.replacen("{}", topic, 1)
        });
        said.collect::<Vec<_>>().join(self.join)
    }

    /// Some neighbouring words of a fact that do not say it.
    fn borrowed(&self, dice: &mut Dice) -> String {
        loop {
            let (plain, varied, _) = self.facts[dice.roll(self.facts.len())];
            let fact = if dice.roll(2) == 0 { plain } else { varied };
            let words: Vec<&str> = if self.join.is_empty() {
                fact.split("").filter(|it| !it.is_empty()).collect()
            } else {
                fact.split(' ').collect()
            };
            let start = dice.roll(words.len() - 1);
            let part = words[start..words.len().min(start + 4)].join(self.join);
            let part = part.trim_end_matches(['.', ',', '。', '，', '、']);
            let part: String = part
                .char_indices()
                .flat_map(|(i, it)| if i == 0 { it.to_lowercase().collect() } else { vec![it] })
                .collect();
            let tells = |key: &str| key.split(' ').any(|it| it.len() > 4 && part.contains(it));
            let digits = part.bytes().any(|it| it.is_ascii_digit());
            if !digits
                && !part.contains(['.', '。', '_', '/'])
                && !self
                    .facts
                    .iter()
                    .any(|it| part.contains(it.2) || (!it.2.contains(' ') && tells(it.2)))
            {
                return part;
            }
        }
    }

    fn made_up(&self, dice: &mut Dice) -> String {
        let syllables: Vec<&str> = self.syllables.split(' ').collect();
        (0..3).map(|_| syllables[dice.roll(syllables.len())]).collect()
    }

    /// 160 messages with every fact in one of them, and other small talk by each `seed`.
    pub(crate) fn conversation(&self, kind: &str, wording: Wording, seed: u64) -> Planted {
        const MESSAGES: usize = 160;
        let mut dice = Dice(kind.len() as u64 * 7 + self.name.len() as u64 + seed * 1_000_003);
        let rich = kind == "notes";
        let mut messages = Vec::new();
        for i in 0..MESSAGES {
            let length = match kind {
                "notes" => 5 + dice.roll(4),
                "planning" => 2 + dice.roll(2),
                _ => 2 + dice.roll(3),
            };
            let mut said = self.small_talk(&mut dice, (length, rich));
            if i % 8 == 3 {
                let (plain, varied, _) = self.facts[i / 8];
                let fact = if wording == Wording::Plain { plain } else { varied };
                let after = self.small_talk(&mut dice, (1, rich));
                let join = if kind == "planning" { "\n- " } else { self.join };
                said = [said.as_str(), fact, after.as_str()].join(join);
            }
            // Facts are said by both: the places alternate in blocks.
            let user = (i + i / 8).is_multiple_of(2);
            if kind == "coding" && i % 5 == 4 {
                messages.extend(tool_exchange(&mut dice, i));
            }
            if kind == "coding" && !user && i.is_multiple_of(3) {
                said.push_str("\n```rust\nlet x = y + 1;\nreturn f(x);\n```");
            }
            messages
                .push(json!({"role": if user { "user" } else { "assistant" }, "content": said}));
        }
        Planted { messages, keys: self.facts.iter().map(|it| it.2).collect() }
    }
}

fn tool_exchange(dice: &mut Dice, i: usize) -> [Value; 2] {
    let id = format!("call_{i}");
    let rows = (0..6).map(|_| format!("row {} ok {} ms", dice.roll(90), dice.roll(900)));
    let rows = rows.collect::<Vec<_>>().join("\n");
    [
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
            "function": {"name": "run_tests", "arguments": "{\"all\":true}"}}]}),
        json!({"role": "tool", "tool_call_id": id, "content": rows}),
    ]
}

pub(crate) const LANGUAGES: [&Language; 5] = [&ENGLISH, &GERMAN, &SPANISH, &CHINESE, &JAPANESE];

pub(crate) const ENGLISH: Language = Language {
    name: "English",
    facts: [
        (
            "The database listens on port 8443.",
            "Oh, and for the database it's port 8443 by the way.",
            "8443",
        ),
        (
            "Our contact is Marta Lindqvist.",
            "If anything burns, ring Marta Lindqvist first.",
            "Lindqvist",
        ),
        ("The launch is on 14 May.", "They want it out of the door by 14 May.", "14 May"),
        (
            "The settings are in /etc/relay/main.toml.",
            "You'll find what you need in /etc/relay/main.toml.",
            "/etc/relay/main.toml",
        ),
        ("The budget is 3200 euros.", "More than 3200 euros we simply don't have.", "3200"),
        (
            "We decided to use the green one.",
            "In the end we went for the green one, that's decided.",
            "green one",
        ),
        (
            "Never delete the old copies.",
            "Whatever happens, the old copies must never go.",
            "old copies",
        ),
        (
            "My sister is allergic to nuts.",
            "Careful with the cake, my sister is allergic to nuts.",
            "nuts",
        ),
        ("The meeting is moved to Thursday.", "Sorry, it has been moved to Thursday.", "Thursday"),
        (
            "Use parse_header and not the old reader.",
            "The old reader is gone, parse_header is what you call.",
            "parse_header",
        ),
        ("The order number is K-20881.", "It's about the thing I ordered, K-20881.", "K-20881"),
        (
            "Answers must be in plain words only.",
            "I only want plain words in the answers, please.",
            "plain words",
        ),
        ("The back door is always open.", "You can always get in by the back door.", "back door"),
        (
            "Nobody may write to the shared folder.",
            "The shared folder is not to be written to by anyone.",
            "shared folder",
        ),
        (
            "We need four people for the move.",
            "For the move we need four people, no fewer.",
            "four people",
        ),
        (
            "The tests run on Windows 11 only.",
            "It's only on Windows 11 that the tests run.",
            "Windows 11",
        ),
        ("My dog is called Biscuit.", "Say hello to my dog, Biscuit.", "Biscuit"),
        (
            "Payment is due within ten days.",
            "They expect payment within ten days at most.",
            "ten days",
        ),
        ("The error is E1042.", "What I get every time is E1042.", "E1042"),
        ("We agreed to start with the kitchen.", "So it's agreed, first the kitchen.", "kitchen"),
    ],
    frames: [
        "Thanks, that was a nice thing to hear about {}.",
        "I was thinking about {} and it looks good so far.",
        "Let me see what I can tell you about {}.",
        "That sounds like a good way to look at {}.",
        "Do you think {} would be fine like this?",
        "There is a lot to say about {}, as always with these things.",
        "Sure, we can talk about {} in a bit.",
        "I had a look at {} and it seems to be going well.",
        "It is good to have {} in the open one way or the other.",
        "People say a lot about {} and most of it is fine.",
        "Okay, {} makes sense to me, I think.",
        "Could you say a bit more about {}?",
        "It looks to me as if {} were going in a good direction.",
        "Hm, {} is a thing I would like to come back to.",
    ],
    topics: [
        "the plan",
        "the people here",
        "the way it is written",
        "the other day",
        "the old house",
        "the green paper",
        "the door",
        "the words",
        "the folder",
        "the team",
        "the move",
        "the copy",
    ],
    syllables: "mo ra bel ti kan sor vel du pra lin gos ter mu fal",
    join: " ",
};

pub(crate) const GERMAN: Language = Language {
    name: "German",
    facts: [
        (
            "Die Datenbank läuft auf Port 8443.",
            "Ach ja, bei der Datenbank ist es übrigens Port 8443.",
            "8443",
        ),
        (
            "Unsere Ansprechpartnerin ist Marta Lindqvist.",
            "Wenn etwas brennt, ruf zuerst Marta Lindqvist an.",
            "Lindqvist",
        ),
        ("Der Start ist am 14. Mai.", "Bis zum 14. Mai soll es draußen sein.", "14. Mai"),
        (
            "Die Einstellungen stehen in /etc/relay/main.toml.",
            "Was du brauchst, liegt in /etc/relay/main.toml.",
            "/etc/relay/main.toml",
        ),
        ("Das Budget beträgt 3200 Euro.", "Mehr als 3200 Euro haben wir einfach nicht.", "3200"),
        (
            "Wir haben uns für das grüne entschieden.",
            "Am Ende wurde es das grüne, das ist entschieden.",
            "grüne",
        ),
        (
            "Lösche niemals die alten Kopien.",
            "Egal was passiert, die alten Kopien dürfen nie weg.",
            "alten Kopien",
        ),
        (
            "Meine Schwester ist allergisch gegen Nüsse.",
            "Vorsicht beim Kuchen, meine Schwester ist allergisch gegen Nüsse.",
            "Nüsse",
        ),
        (
            "Das Treffen ist auf Donnerstag verschoben.",
            "Leider verschoben, es wird Donnerstag.",
            "Donnerstag",
        ),
        (
            "Nimm parse_header und nicht den alten Leser.",
            "Den alten Leser gibt es nicht mehr, du rufst parse_header auf.",
            "parse_header",
        ),
        (
            "Die Bestellnummer ist K-20881.",
            "Es geht um das, was ich bestellt habe, K-20881.",
            "K-20881",
        ),
        (
            "Antworten müssen in einfachen Worten sein.",
            "Ich will nur einfachen Worten begegnen, bitte.",
            "einfachen Worten",
        ),
        (
            "Die Hintertür ist immer offen.",
            "Du kommst immer durch die Hintertür rein.",
            "Hintertür",
        ),
        (
            "Niemand darf in den gemeinsamen Ordner schreiben.",
            "In den gemeinsamen Ordner wird nicht geschrieben, von keinem.",
            "gemeinsamen Ordner",
        ),
        (
            "Wir brauchen vier Leute für den Umzug.",
            "Für den Umzug brauchen wir vier Leute, nicht weniger.",
            "vier Leute",
        ),
        (
            "Die Tests laufen nur auf Windows 11.",
            "Nur auf Windows 11 laufen die Tests.",
            "Windows 11",
        ),
        ("Mein Hund heißt Biscuit.", "Grüß mir meinen Hund, den Biscuit.", "Biscuit"),
        (
            "Die Zahlung ist in zehn Tagen fällig.",
            "Sie erwarten die Zahlung in höchstens zehn Tagen.",
            "zehn Tagen",
        ),
        ("Der Fehler ist E1042.", "Was ich jedes Mal bekomme, ist E1042.", "E1042"),
        (
            "Wir haben vereinbart, mit der Küche anzufangen.",
            "Also vereinbart, zuerst die Küche.",
            "Küche",
        ),
    ],
    frames: [
        "Danke, das war schön zu hören über {}.",
        "Ich habe über {} nachgedacht und es sieht gut aus.",
        "Lass mich sehen, was ich dir über {} sagen kann.",
        "Das klingt nach einer guten Sicht auf {}.",
        "Meinst du, {} wäre so in Ordnung?",
        "Es gibt viel zu sagen über {}, wie so oft bei diesen Dingen.",
        "Klar, wir können gleich über {} reden.",
        "Ich habe mir {} angesehen und es scheint gut zu gehen.",
        "Es ist gut, {} so oder so auf dem Tisch zu haben.",
        "Die Leute sagen viel über {} und das meiste stimmt auch.",
        "Okay, {} ergibt für mich Sinn, denke ich.",
        "Kannst du noch etwas mehr über {} sagen?",
        "Mir scheint, {} geht in eine gute Richtung.",
        "Hm, auf {} würde ich gern noch einmal zurückkommen.",
    ],
    topics: [
        "den Plan",
        "die Leute hier",
        "die Art zu schreiben",
        "den anderen Tag",
        "das alte Haus",
        "das grüne Papier",
        "die Tür",
        "die Worte",
        "den Ordner",
        "die Gruppe",
        "den Umzug",
        "die Kopie",
    ],
    syllables: "mo ra bel ti kan sor vel du pra lin gos ter mu fal",
    join: " ",
};

pub(crate) const SPANISH: Language = Language {
    name: "Spanish",
    facts: [
        (
            "La base de datos usa el puerto 8443.",
            "Ah, y para la base de datos es el puerto 8443, por cierto.",
            "8443",
        ),
        (
            "Nuestro contacto es Marta Lindqvist.",
            "Si algo arde, llama primero a Marta Lindqvist.",
            "Lindqvist",
        ),
        ("El lanzamiento es el 14 de mayo.", "Lo quieren fuera para el 14 de mayo.", "14 de mayo"),
        (
            "Los ajustes están en /etc/relay/main.toml.",
            "Lo que necesitas lo encuentras en /etc/relay/main.toml.",
            "/etc/relay/main.toml",
        ),
        ("El presupuesto es de 3200 euros.", "Más de 3200 euros simplemente no tenemos.", "3200"),
        ("Decidimos usar el verde.", "Al final quedó el verde, está decidido.", "verde"),
        (
            "Nunca borres las copias viejas.",
            "Pase lo que pase, las copias viejas nunca se tocan.",
            "copias viejas",
        ),
        (
            "Mi hermana es alérgica a las nueces.",
            "Cuidado con la tarta, mi hermana es alérgica a las nueces.",
            "nueces",
        ),
        ("La reunión se movió al jueves.", "Lo siento, se ha aplazado al jueves.", "jueves"),
        (
            "Usa parse_header y no el lector viejo.",
            "El lector viejo ya no está, llama a parse_header.",
            "parse_header",
        ),
        ("El número de pedido es K-20881.", "Es por lo que pedí, K-20881.", "K-20881"),
        (
            "Las respuestas deben ser en palabras sencillas.",
            "Solo quiero palabras sencillas en las respuestas, por favor.",
            "palabras sencillas",
        ),
        (
            "La puerta de atrás siempre está abierta.",
            "Siempre puedes entrar por la puerta de atrás.",
            "puerta de atrás",
        ),
        (
            "Nadie debe escribir en la carpeta común.",
            "En la carpeta común no se escribe, nadie.",
            "carpeta común",
        ),
        (
            "Necesitamos cuatro personas para la mudanza.",
            "Para la mudanza hacen falta cuatro personas, no menos.",
            "cuatro personas",
        ),
        (
            "Las pruebas corren solo en Windows 11.",
            "Solo en Windows 11 corren las pruebas.",
            "Windows 11",
        ),
        ("Mi perro se llama Biscuit.", "Saluda a mi perro, Biscuit.", "Biscuit"),
        ("El pago vence en diez días.", "Esperan el pago en diez días como máximo.", "diez días"),
        ("El error es E1042.", "Lo que me sale cada vez es E1042.", "E1042"),
        ("Acordamos empezar por la cocina.", "Entonces acordado, primero la cocina.", "cocina"),
    ],
    frames: [
        "Gracias, me gustó oír eso sobre {}.",
        "Estuve pensando en {} y por ahora se ve bien.",
        "Déjame ver qué te puedo contar sobre {}.",
        "Suena como una buena manera de ver {}.",
        "¿Crees que {} quedaría bien así?",
        "Se puede decir mucho de {}, como pasa con estas cosas.",
        "Claro, ahora hablamos de {}.",
        "Le eché un vistazo a {} y parece que va bien.",
        "Es bueno tener {} sobre la mesa de un modo u otro.",
        "La gente habla mucho de {} y casi todo está bien.",
        "Vale, {} tiene sentido para mí, creo.",
        "¿Puedes decir algo más sobre {}?",
        "Me parece que {} va en buena dirección.",
        "Mmm, me gustaría volver a {} más tarde.",
    ],
    topics: [
        "el plan",
        "la gente de aquí",
        "la manera de escribir",
        "el otro día",
        "la casa vieja",
        "el papel verde",
        "la puerta",
        "las palabras",
        "la carpeta",
        "el equipo",
        "la mudanza",
        "la copia",
    ],
    syllables: "mo ra bel ti kan sor vel du pra lin gos ter mu fal",
    join: " ",
};

pub(crate) const CHINESE: Language = Language {
    name: "Chinese",
    facts: [
        ("数据库端口是8443。", "对了，数据库用的是8443端口。", "8443"),
        ("联系人是李文博。", "有急事就先找李文博。", "李文博"),
        ("发布日期是5月14日。", "他们要在5月14日之前上线。", "5月14日"),
        (
            "设置在/etc/relay/main.toml。",
            "你要的都在/etc/relay/main.toml里。",
            "/etc/relay/main.toml",
        ),
        ("预算是3200元。", "超过3200元我们真的没有。", "3200"),
        ("我们决定用绿色的。", "最后还是决定绿色的那个。", "绿色的"),
        ("不要删除旧的备份。", "无论如何，旧的备份不能动。", "旧的备份"),
        ("我妹妹对坚果过敏。", "蛋糕要小心，我妹妹吃坚果过敏。", "坚果"),
        ("会议改成周四。", "不好意思，时间改成周四了。", "周四"),
        ("请用parse_header，不要用旧的。", "旧的没有了，要调用parse_header。", "parse_header"),
        ("订单号是K-20881。", "就是我买的那个，K-20881。", "K-20881"),
        ("回答必须用简单的话。", "回答只要简单的话就行，必须这样。", "简单的话"),
        ("后门总是开着。", "你需要的话随时可以走后门进来。", "后门"),
        ("任何人不得写共享文件夹。", "共享文件夹谁都不能写。", "共享文件夹"),
        ("搬家需要四个人。", "搬家的时候至少四个人。", "四个人"),
        ("测试只能在Windows 11上跑。", "只有Windows 11上能跑测试。", "Windows 11"),
        ("我的狗叫饼干。", "替我向我的狗饼干问好。", "饼干"),
        ("付款期限是十天以内。", "他们要求最多十天付款。", "十天"),
        ("错误是E1042。", "我每次看到的都是E1042。", "E1042"),
        ("我们同意先从厨房开始。", "那就同意了，先弄厨房。", "厨房"),
    ],
    frames: [
        "谢谢，听到关于{}的事真好。",
        "我想了想{}，目前看起来不错。",
        "让我看看能告诉你什么关于{}的事。",
        "这听起来是看待{}的好方法。",
        "你觉得{}这样可以吗？",
        "关于{}有很多可以说的，这种事总是这样。",
        "好的，我们等一下再聊{}。",
        "我看了一下{}，好像进展不错。",
        "把{}摆在桌面上也挺好的。",
        "大家常常说起{}，大部分都还好。",
        "嗯，{}对我来说有道理。",
        "你能再说说{}吗？",
        "我觉得{}正往好的方向走。",
        "{}的事我想以后再回来聊。",
    ],
    topics: [
        "计划",
        "这里的人",
        "写法",
        "那一天",
        "老房子",
        "绿色纸张",
        "门",
        "话语",
        "文件夹",
        "团队",
        "搬家",
        "备份",
    ],
    syllables: "山 河 云 星 木 石 鱼 鸟 花 雨 雪 火 田 竹 米 茶 糖 盐",
    join: "",
};

pub(crate) const JAPANESE: Language = Language {
    name: "Japanese",
    facts: [
        ("データベースのポートは8443です。", "そういえばデータベースは8443番でした。", "8443"),
        ("担当は佐々木由美さんです。", "何かあれば佐々木由美さんに電話を。", "佐々木由美"),
        ("公開は5月14日です。", "5月14日までに出したいそうです。", "5月14日"),
        (
            "設定は/etc/relay/main.tomlです。",
            "必要なものは/etc/relay/main.tomlに。",
            "/etc/relay/main.toml",
        ),
        ("予算は3200円です。", "3200円以上は出せません。", "3200"),
        ("緑の方に決めました。", "結局、緑の方で決まりです。", "緑の方"),
        ("古い控えは絶対に消さないで。", "何があっても古い控えは残す、絶対に。", "古い控え"),
        ("妹は木の実が苦手です。", "ケーキに注意、妹は木の実が苦手。", "木の実"),
        ("会議は木曜に変更です。", "すみません、木曜に変更になりました。", "木曜"),
        (
            "parse_headerを使い、古い方は禁止。",
            "古い方はもうない、呼ぶのはparse_header。",
            "parse_header",
        ),
        ("注文番号はK-20881です。", "買った物の件です、K-20881。", "K-20881"),
        ("答えは必ず易しい言葉で。", "易しい言葉だけで答えて、必ず。", "易しい言葉"),
        ("裏口は絶対に閉めない。", "必要なら裏口から入れます。", "裏口"),
        ("共有の棚に書くのは禁止。", "共有の棚には誰も書けません。", "共有の棚"),
        ("引っ越しに四人が必要です。", "引っ越しは四人必要、それ以下は無理。", "四人"),
        ("試験はWindows 11のみです。", "動くのはWindows 11だけです。", "Windows 11"),
        ("犬の名前はビスケットです。", "うちの犬のビスケットによろしく。", "ビスケット"),
        ("支払い期限は十日以内。", "支払いは十日以内と言われました。", "十日"),
        ("エラーはE1042です。", "毎回出るのはE1042。", "E1042"),
        ("台所から始めると合意。", "では合意、まず台所から。", "台所"),
    ],
    frames: [
        "ありがとう、{}の話が聞けてよかったです。",
        "{}について考えてみましたが、今のところ良さそうです。",
        "{}について何を言えるか見てみますね。",
        "{}の見方としては良さそうですね。",
        "{}はこんな感じで大丈夫でしょうか？",
        "{}については話すことがたくさんありますね。",
        "はい、{}の話は後でしましょう。",
        "{}を見てみましたが、順調そうです。",
        "{}が表に出ているのは良いことですね。",
        "みんな{}のことをよく話していますね。",
        "なるほど、{}は分かる気がします。",
        "{}についてもう少し話してもらえますか？",
        "{}は良い方向に進んでいるように見えます。",
        "うーん、{}にはまた戻ってきたいですね。",
    ],
    topics: [
        "計画",
        "ここの人",
        "書き方",
        "この前の日",
        "古い家",
        "緑の紙",
        "扉",
        "言葉",
        "棚",
        "仲間",
        "引っ越し",
        "控え",
    ],
    syllables: "山 河 云 星 木 石 鱼 鸟 花 雨 雪 火 田 竹 米 茶 糖 盐",
    join: "",
};
