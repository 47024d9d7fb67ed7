//! Words that say that a sentence binds: decisions, constraints, negations, what belongs to somebody.
//! They add to what numbers, names and the conversation's own words say, and are no condition for it:
//! a language that is not here is summed up too.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::context::summary::words::Term;
use crate::context::summary::words::term;

/// Words of one kind in English, German, French, Spanish, Portuguese, Italian, Dutch, Russian, Arabic,
/// Chinese, Japanese, Korean, Thai and Hindi, with what each adds. Chinese, Japanese and Thai ones are
/// two characters, as [`super::words::terms`] gives them.
const CUES: &[(f32, &str)] = &[
    // Decided, agreed on, chosen.
    (
        2.5,
        "decided decide decision agreed agree chose chosen choose settled picked final instead \
         switched switch renamed moved postponed cancelled canceled approved rejected confirmed go \
         plan planned assigned owner responsible entschieden entschied entscheidung beschlossen \
         vereinbart stattdessen gewählt wählen festgelegt zuständig verschoben abgesagt genehmigt \
         décidé décision convenu choisi plutôt annulé reporté responsable decidido decidimos decisión \
         acordado acordamos elegido elegimos cancelado aplazado encargado encargada aprobado decidiu \
         combinado escolhido deciso concordato scelto besloten afgesproken gekozen решили решено \
         договорились выбрали قررنا اتفقنا اخترنا القرار 决定 选择 选定 同意 改为 改成 确定 负责 取消 \
         決定 決め 決ま 変更 担当 採用 中止 合意 결정했습니다 합의했습니다 ตกล ตัดส निर्णय",
    ),
    // What has to be, must not be, or is bound in number or time.
    (
        2.0,
        "must mustn't shall required requires require needs need only limit limited maximum minimum max \
         min deadline due before until until by never always forbidden prohibited allowed avoid except \
         unless important remember note critical careful allergic prefer prefers preferred rule budget \
         cannot can't don't won't secret private confidential muss müssen darf dürfen nie niemals immer \
         nur höchstens mindestens spätestens frist verboten erlaubt vermeiden außer wichtig allergisch \
         bevorzugt braucht brauchen benötigt doit doivent jamais toujours seulement maximum délai \
         interdit éviter sauf important allergique préfère budget debe deben nunca siempre solo sólo \
         máximo mínimo plazo prohibido evitar salvo importante alérgica alérgico prefiere presupuesto \
         necesita hay deve devem sempre somente prazo proibido mai soltanto scadenza moet nooit altijd \
         alleen должен нужно никогда всегда только срок нельзя يجب دائما أبدا فقط ممنوع مهم 必须 必需 \
         只能 不要 不能 不得 禁止 不可 截止 最多 最少 至少 之前 务必 过敏 预算 喜欢 记住 重要 仅限 需要 \
         必要 必ず 必須 期限 上限 以内 まで 以上 以下 のみ だけ 絶対 いけ なら 注意 予算 好き 苦手 ない \
         반드시 절대 금지 기한 ต้อ ห้า เท่ ไม่ ज़रूरी कभी",
    ),
    // Denied.
    (
        0.8,
        "not no none nobody nothing without neither nor isn't aren't wasn't doesn't didn't nicht kein \
         keine keinen ohne weder niemand ne pas aucun sans no ningún ninguna sin tampoco nadie não nem \
         non niente niet geen не нет без لا ليس لم لن بدون 不是 没有 不用 不会 不在 无法 ませ せん なく \
         않습니다 없습니다 नहीं",
    ),
    // Belongs to, is called, lives, uses.
    (
        0.8,
        "my our his her their named called lives live works uses use runs keeps stored mein meine meiner \
         unser unsere heißt wohnt arbeitet liegt benutzt läuft mon ma mes notre s'appelle habite utilise \
         mi mis nuestro nuestra llama vive trabaja usa guarda está meu minha nosso mio mia nostro mijn \
         onze мой моя наш наша зовут اسمي لدي نحن 我的 我们 叫做 住在 名字 位于 使用 名叫 私の 名前 住ん \
         使う 使い 僕の 저는 우리 ฉัน ชื่ मेरा हमारा",
    ),
    // Days, months and numbers in words.
    (
        1.2,
        "monday tuesday wednesday thursday friday saturday sunday january february march april may june \
         july august september october november december tomorrow tonight noon midnight two three four \
         five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand million \
         half twice montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar märz juni \
         juli oktober dezember morgen mittags zwei drei vier fünf sechs sieben acht neun zehn elf zwölf \
         zwanzig dreißig vierzig fünfzig hundert tausend lundi mardi mercredi jeudi vendredi samedi \
         dimanche demain deux trois quatre cinq lunes martes miércoles jueves viernes sábado domingo \
         enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre mañana \
         dos tres cuatro cinco seis siete ocho nueve diez doce veinte treinta cuarenta cincuenta cien mil \
         medianoche mediodía понедельник вторник среда четверг пятница суббота воскресенье الاثنين \
         الثلاثاء الأربعاء الخميس الجمعة السبت الأحد غدا 周一 周二 周三 周四 周五 周六 周日 星期 明天 \
         两个 三个 四个 五个 六个 七个 八个 十个 上午 下午 中午 半夜 月曜 火曜 水曜 木曜 金曜 土曜 日曜 \
         明日 午前 午後 正午 二人 三人 二つ 三つ 四つ 五つ",
    ),
];

static WEIGHTS: LazyLock<HashMap<Term, (usize, f32)>> = LazyLock::new(|| {
    let kinds = CUES.iter().enumerate().rev();
    kinds
        .flat_map(|(kind, (weight, words))| {
            words.split_whitespace().map(move |it| (term(it), (kind, *weight)))
        })
        .collect()
});

/// What the cues among `terms` add, each kind once.
pub(super) fn weight(terms: &[Term]) -> f32 {
    let mut kinds = [0.0_f32; CUES.len()];
    for (kind, weight) in terms.iter().filter_map(|it| WEIGHTS.get(it)) {
        if let Some(it) = kinds.get_mut(*kind) {
            *it = *weight;
        }
    }
    kinds.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::summary::words::terms;

    #[test]
    fn what_binds_weighs_more_than_what_chats() {
        for (binding, chat) in [
            ("We decided to use the blue one.", "The blue one looks like a nice one."),
            ("Bis Freitag darf niemand etwas ändern.", "Danke für die schöne Erklärung."),
            ("Nunca borres la copia.", "Gracias por la explicación."),
            ("我们决定不要删除。", "谢谢你的说明。"),
            ("削除は禁止です。", "ありがとうございます。"),
        ] {
            assert!(weight(&terms(binding)) > weight(&terms(chat)) + 1.0, "{binding}");
        }
    }
}
