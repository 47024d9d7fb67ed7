//! Weaving the words of a question into an answer that reads well enough for a demo.

use super::spec::Voice;

/// Words that are not what a question is about.
const FILLER: &[&str] = &[
    "about",
    "also",
    "and",
    "answer",
    "are",
    "because",
    "best",
    "between",
    "both",
    "brief",
    "briefly",
    "but",
    "can",
    "compare",
    "could",
    "describe",
    "did",
    "different",
    "difference",
    "does",
    "each",
    "explain",
    "few",
    "for",
    "from",
    "get",
    "give",
    "good",
    "had",
    "has",
    "have",
    "help",
    "here",
    "how",
    "into",
    "is",
    "just",
    "know",
    "like",
    "list",
    "long",
    "make",
    "many",
    "me",
    "more",
    "most",
    "much",
    "need",
    "one",
    "other",
    "our",
    "parallel",
    "please",
    "say",
    "sentence",
    "sentences",
    "short",
    "should",
    "show",
    "some",
    "summarise",
    "summarize",
    "tell",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "this",
    "two",
    "use",
    "using",
    "very",
    "want",
    "was",
    "way",
    "were",
    "what",
    "when",
    "where",
    "which",
    "who",
    "why",
    "will",
    "with",
    "word",
    "words",
    "work",
    "works",
    "would",
    "write",
    "you",
    "your",
];

/// The first two things a text is about, or stand-ins.
pub(super) fn topics(text: &str) -> (String, String) {
    let mut found: Vec<&str> = Vec::new();
    for word in text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '\'')) {
        let word = word.trim_matches(['-', '\'']);
        let lower = word.to_lowercase();
        let telling = lower.chars().count() > 2 && !FILLER.contains(&lower.as_str());
        if telling && !found.iter().any(|it| it.to_lowercase() == lower) {
            found.push(word);
        }
        if found.len() == 2 {
            break;
        }
    }
    let mut found = found.into_iter().map(|word| word.chars().take(40).collect());
    let first = found.next().unwrap_or_else(|| "your question".to_owned());
    let second = found.next().unwrap_or_else(|| "what surrounds it".to_owned());
    (first, second)
}

/// Is the text no more than a greeting?
pub(super) fn greets(text: &str) -> bool {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let greeting =
        |word: &String| ["hello", "hi", "hey", "hallo", "bonjour"].contains(&word.as_str());
    words.len() <= 2 && words.first().is_some_and(greeting)
}

/// How a voice begins, goes on and ends. `{a}` and `{b}` are the topics.
struct Manner {
    openings: &'static [&'static str],
    middles: &'static [&'static str],
    endings: &'static [&'static str],
}

const PLAIN: Manner = Manner {
    openings: &[
        "{A} is easiest to understand by looking at what it does before asking how.",
        "The short version: {a} matters because of how it meets {b}.",
        "There are two sides to {a}, and {b} connects them.",
    ],
    middles: &[
        "First, the basics of {a} hold whatever the circumstances.",
        "In practice {b} decides how far that carries.",
        "A small example shows it: change one thing about {a} and watch what {b} does.",
        "Most mistakes come from treating {a} and {b} as the same thing.",
    ],
    endings: &[
        "If you remember one point, let it be that {a} comes first and {b} follows.",
        "Start with {a}, measure, and only then turn to {b}.",
    ],
};

const BRISK: Manner = Manner {
    openings: &["{A}, then.", "On {a}: three things.", "Here is {a} in brief."],
    middles: &[
        "It starts small.",
        "It depends on {b}.",
        "Keep {a} simple and {b} will not surprise you.",
        "Check {b} before you trust {a}.",
    ],
    endings: &["That is all there is to it.", "The rest of {a} is detail."],
};

const WARM: Manner = Manner {
    openings: &[
        "Certainly! {A} is a lovely thing to ask about.",
        "Of course! Let us take {a} one step at a time.",
        "Sure! Many people wonder about {a}.",
    ],
    middles: &[
        "Think of {a} as something you meet every day without noticing.",
        "What makes it interesting is {b}, which quietly does half of the work.",
        "You can try it yourself: pick a case of {a} and follow it through to {b}.",
    ],
    endings: &["I hope that makes {a} a little clearer.", "Once {b} feels familiar, {a} will too."],
};

const SCHOLARLY: Manner = Manner {
    openings: &[
        "Accounts of {a} usually begin with {b}, and for good reason.",
        "It helps to separate what {a} is from what it is used for.",
        "The question of {a} has been answered in more than one way.",
    ],
    middles: &[
        "On one view, {a} is a consequence of {b}; on another, it is the other way round.",
        "The evidence favours neither, but practice leans towards {b}.",
        "A careful reading of {a} keeps its assumptions in sight.",
        "What is beyond dispute is that {a} cannot be judged without {b}.",
    ],
    endings: &[
        "On balance, {a} is best seen as a compromise with {b}.",
        "Further reading would start from {b} and work back to {a}.",
    ],
};

/// Four or five sentences about the question, signed.
pub(super) fn weave(question: &str, voice: Voice, signature: &str) -> String {
    let manner = match voice {
        Voice::Plain => PLAIN,
        Voice::Brisk => BRISK,
        Voice::Warm => WARM,
        Voice::Scholarly => SCHOLARLY,
    };
    let (a, b) = topics(question);
    let seed = fingerprint(question);
    let middle = manner.middles.iter().cycle().skip(turn(seed >> 8, manner.middles.len())).take(3);
    let sentences: Vec<String> = pick(manner.openings, seed)
        .chain(middle.copied())
        .chain(pick(manner.endings, seed >> 16))
        .map(|sentence| sentence.replace("{A}", &capital(&a)).replace("{a}", &a).replace("{b}", &b))
        .collect();
    format!("{} ({signature})", sentences.join(" "))
}

fn pick(from: &'static [&'static str], seed: u64) -> impl Iterator<Item = &'static str> {
    from.get(turn(seed, from.len())).copied().into_iter()
}

fn turn(seed: u64, of: usize) -> usize {
    usize::try_from(seed % of.max(1) as u64).unwrap_or(0)
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// FNV-1a: the same on every machine and in every version.
pub(super) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(question: &str, want: (&str, &str)) {
        assert_eq!(topics(question), (want.0.to_owned(), want.1.to_owned()), "{question}");
    }

    #[test]
    fn topics_are_the_telling_words() {
        check("Why is the sky blue?", ("sky", "blue"));
        check("Explain photosynthesis briefly, please", ("photosynthesis", "what surrounds it"));
        check("?!", ("your question", "what surrounds it"));
        check("Что такое квантовая запутанность?", ("Что", "такое"));
    }

    #[test]
    fn an_answer_is_about_the_question_and_always_the_same() {
        for voice in [Voice::Plain, Voice::Brisk, Voice::Warm, Voice::Scholarly] {
            let text = weave("Why is the sky blue?", voice, "me");
            assert!(text.contains("sky") && text.ends_with("(me)"), "{text}");
            assert!(!text.contains('{'), "{text}");
            assert_eq!(text, weave("Why is the sky blue?", voice, "me"));
        }
    }

    #[test]
    fn greetings_are_known() {
        assert!(greets("Hello!") && greets("hi there"));
        assert!(!greets("Hello, what is TCP?") && !greets(""));
    }
}
