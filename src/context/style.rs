//! The style guide: what is added to the caller's own instructions so that answers of many models
//! read as if one had written them.

use std::sync::Arc;

/// The default guide: about 60 tokens, and nothing in it that changes what is said.
pub const GUIDE: &str = "Unless instructed otherwise: answer in the language of the question, \
    directly and in a plain, friendly tone. Begin with the answer, without filler or praise of the \
    question. Be as brief as the matter allows. Use Markdown where it helps, and fenced code blocks \
    for code. If unsure, say so.";

/// What a model is told when it takes a session over from another.
pub const HANDOFF: &str = "Earlier answers in this conversation may be by another assistant: go on \
    in the same voice, without mentioning it.";

/// What may be added to the caller's own instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// Is the guide added to routed requests that say nothing of it?
    pub enabled: bool,
    /// The guide.
    pub guide: Arc<str>,
    /// Is a model told that it takes a session over?
    pub handoff: bool,
}

/// A request, as far as its style goes.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What the caller asks for; `None` when it says nothing.
    pub asked: Option<bool>,
    /// Does it name its model?
    pub direct: bool,
    /// Does it bring tools, or ask for JSON? What is to be read by a program is not styled.
    pub for_programs: bool,
}

impl Style {
    /// Is the guide to be added to a request?
    pub fn is_for(&self, wish: Wish) -> bool {
        let wanted = wish.asked.unwrap_or(self.enabled && !wish.direct);
        wanted && !wish.for_programs && !self.guide.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tokens;

    #[test]
    fn the_guide_is_short() {
        assert!(tokens::count(GUIDE) < 80, "{}", tokens::count(GUIDE));
        assert!(tokens::count(HANDOFF) < 40);
        assert_eq!(HANDOFF.lines().count(), 1);
    }

    #[test]
    fn it_is_added_where_it_helps() {
        let check = |enabled, asked, direct, for_programs, expected: bool| {
            let style = Style { enabled, guide: "be brief".into(), handoff: false };
            let wish = Wish { asked, direct, for_programs };
            assert_eq!(style.is_for(wish), expected, "{enabled} {wish:?}");
        };
        check(true, None, false, false, true);
        check(true, None, true, false, false);
        check(true, None, false, true, false);
        check(true, Some(false), false, false, false);
        check(false, None, false, false, false);
        check(false, Some(true), false, false, true);
        check(true, Some(true), true, false, true);
        check(true, Some(true), false, true, false);
        let none = Style { enabled: true, guide: "".into(), handoff: false };
        assert!(!none.is_for(Wish { asked: None, direct: false, for_programs: false }));
    }
}
