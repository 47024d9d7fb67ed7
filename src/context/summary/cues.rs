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
        "decided decide decides decision agreed agree agrees chose chosen choose settled picked final \
         instead switched switch renamed moved postponed delayed cancelled canceled approved rejected \
         confirmed go plan planned assigned owner responsible entschieden entscheiden entscheidet \
         entschied entscheidung beschlossen vereinbart stattdessen gewählt wählen festgelegt geeinigt \
         geplant zuständig verschoben abgesagt genehmigt abgelehnt bestätigt décidé décidons décision \
         convenu choisi choisissons plutôt annulé reporté confirmé approuvé responsable decidido decidida \
         decidimos decidí decisión acordado acordada acordamos elegido elegida elegimos escogimos \
         cancelado cancelada aplazado aplazada confirmado confirmada rechazado encargado \
         encargada aprobado aprobada decidiu decisão combinado combinamos escolhido escolhemos adiado \
         aprovado deciso decisione concordato scelto annullato rinviato confermato approvato besloten \
         beslissing afgesproken gekozen geannuleerd uitgesteld bevestigd goedgekeurd решили решил решила \
         решено решение договорились выбрали отменили перенесли утвердили قررنا قررت اتفقنا اخترنا القرار \
         ألغينا تأجل 决定 选择 选定 选了 同意 改为 改成 确定 确认 负责 取消 推迟 批准 決定 決め 決ま 変更 担当 採用 中止 合意 延期 選択 選ん 選び 承認 却下 確定 \
         予定 約束 결정했습니다 결정했어요 합의했습니다 정했습니다 취소 ตกล ตัดส เลือ ยกเล निर्णय तय",
    ),
    // What has to be, must not be, or is bound in number or time.
    (
        2.0,
        "must mustn't shall should shouldn't required require requires needs need needed only limit \
         limited maximum minimum max min deadline due before until by never nobody nowhere always \
         forbidden prohibited allowed avoid except unless important remember note critical careful \
         allergic prefer prefers preferred rule budget cannot can't don't won't secret private \
         confidential muss müssen musst soll sollen sollte darf dürfen nie niemals niemand nirgends immer \
         nur höchstens mindestens spätestens frist verboten erlaubt vermeiden außer wichtig allergisch \
         bevorzugt brauche braucht brauchen benötigt nötig doit doivent dois devons devez faut jamais \
         toujours seulement uniquement délai interdit éviter sauf allergique préfère besoin debe \
         deben debes debemos debería nunca nadie siempre solo sólo solamente máximo mínimo plazo \
         prohibido prohibida evitar salvo excepto importante cuidado alérgica alérgico prefiere prefiero \
         presupuesto necesita necesitan necesito necesitamos falta hay deve devem devemos sempre ninguém \
         somente apenas prazo proibido exceto precisa precisamos devono dobbiamo mai nessuno soltanto \
         scadenza vietato bisogna moet moeten nooit altijd alleen nodig verboden должен должна \
         должны нужно надо никогда никто всегда только срок нельзя важно يجب دائما أبدا فقط ممنوع مهم \
         لازم 必须 必需 只能 只要 只有 不要 不能 不得 禁止 不可 截止 最多 最少 至少 之前 务必 过敏 预算 喜欢 记住 重要 仅限 需要 谁都 任何 必要 必ず 必須 期限 上限 \
         下限 最大 最低 以内 未満 まで 以上 以下 のみ だけ 絶対 決し いけ べき なら 無理 厳禁 制限 締切 誰も 注意 予算 好き 苦手 ない 반드시 절대 항상 금지 기한 아무도 \
         필요 ต้อ ห้า เท่ ไม่ เสมอ ज़रूरी कभी हमेशा",
    ),
    // Denied.
    (
        0.8,
        "not no none nothing without neither nor isn't aren't wasn't doesn't didn't nicht nichts kein \
         keine keinen keinem keiner ohne weder ne pas rien aucun aucune sans nada ningún ninguno ninguna \
         sin tampoco não nenhum nem sem non niente nessuna senza niet niets geen zonder не нет без ничего \
         لا ليس لم لن بدون 不是 没有 不用 不会 不在 无法 ませ せん なく なし 無し 않습니다 없습니다 नहीं बिना",
    ),
    // Belongs to, is called, lives, uses.
    (
        0.8,
        "my our his her their named called lives live works uses use runs keeps stored mein meine meiner \
         meinem meinen unser unsere unserem unseren heißt wohnt arbeitet liegt benutzt läuft mon ma mes \
         notre s'appelle habite utilise travaille mi mis nuestro nuestra nuestros nuestras llama vive \
         trabaja usa guarda está meu minha nosso nossa chama mora mio mia nostro nostra chiama abita mijn \
         onze heet woont gebruikt мой моя мои наш наша наши зовут живёт اسمي لدي نحن 我的 我们 叫做 住在 名字 位于 使用 \
         名叫 私の 名前 住ん 使う 使い 使っ 僕の 俺の うち 我が 当社 弊社 저는 우리 제가 이름 ฉัน ชื่ मेरा मेरी हमारा हमारी",
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
