//! How much of a conversation each mode keeps.

use crate::context::Params;
use crate::context::kind::Kind;
use crate::openai::Message;

/// By which rule history is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The last messages stay.
    Static,
    /// As many as experience with the session says.
    Dynamic,
    /// The last messages stay, and a summary of the rest.
    Reservoir,
    /// What suits the conversation.
    Adaptive,
    /// It is not cut: what fits nowhere is refused.
    Disabled,
}

/// When history is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// Only when it does not fit.
    WhenNeeded,
    /// Also when it has more messages than the mode keeps.
    Always,
}

/// How dynamic mode widens and narrows its window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dynamic {
    /// Share of the budget to aim for, 0 to 1.
    pub target: f64,
    /// Share of the budget to use at least, 0 to 1.
    pub least: f64,
    /// The most by which the messages kept may be multiplied, or divided; at least 1.
    pub most_boost: f64,
}

impl Dynamic {
    /// The boost after a prompt that really took `used` of `headroom` tokens: half way to what
    /// would have taken the share aimed for.
    pub(super) fn next(&self, boost: f64, used: u64, headroom: u64) -> f64 {
        if used == 0 || headroom == 0 {
            return boost;
        }
        let wanted = boost * self.target * float(headroom) / float(used);
        let most = self.most_boost.max(1.0);
        f64::midpoint(boost, wanted.clamp(1.0 / most, most)).clamp(1.0 / most, most)
    }
}

/// What one conversation is cut by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// As `X-Relay-Context` names it.
    pub label: &'static str,
    /// Most messages kept.
    pub keep: usize,
    /// Share of the budget up to which messages are kept whatever their number.
    pub least: f64,
    /// Share of the budget that is used.
    pub target: f64,
    /// Most tokens of the summary; 0 = none.
    pub summary: u64,
}

impl Params {
    /// The plan for a conversation, whose session's window is wider by `boost`. `None` = it is not
    /// cut.
    pub fn plan(&self, messages: &[Message<'_>], boost: f64) -> Option<Plan> {
        let plain = |label, keep| Plan { label, keep, least: 0.0, target: 1.0, summary: 0 };
        Some(match self.mode {
            Mode::Disabled => return None,
            Mode::Static => plain("static", self.static_keep),
            Mode::Dynamic => Plan {
                least: self.dynamic.least,
                target: self.dynamic.target,
                ..plain("dynamic", times(self.static_keep, boost))
            },
            Mode::Reservoir => {
                Plan { summary: self.reservoir_summary, ..plain("reservoir", self.reservoir_keep) }
            }
            Mode::Adaptive => self.adapted(Kind::of(messages)),
        })
    }

    fn adapted(&self, kind: Kind) -> Plan {
        let (label, keep, summary) = match kind {
            // Later turns change earlier code: what is recent matters, and where files are.
            Kind::Code => ("adaptive/code", 1.5, 0.75),
            // Results are long and soon stale; what was found in them is not.
            Kind::Data => ("adaptive/data", 0.75, 1.5),
            // The thread is in what was agreed on, far back too.
            Kind::Chat => ("adaptive/chat", 1.0, 1.25),
            // Each stands for itself.
            Kind::Questions => ("adaptive/questions", 0.5, 0.5),
        };
        Plan {
            label,
            keep: times(self.reservoir_keep, keep),
            least: 0.0,
            target: 1.0,
            summary: share(self.adaptive_summary, summary),
        }
    }

    /// Is there history beyond what the mode keeps, and is it to go even if it fits?
    pub fn always_cuts(&self, messages: &[Message<'_>], plan: &Plan) -> bool {
        let turns = messages.iter().filter(|it| !it.role.instructs()).count();
        self.apply == Apply::Always && turns > plan.keep
    }
}

fn times(count: usize, factor: f64) -> usize {
    usize::try_from(share(count as u64, factor)).unwrap_or(usize::MAX).max(1)
}

/// `factor` times `tokens`.
pub(super) fn share(tokens: u64, factor: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both are positive, and the cast saturates"
    )]
    let product = (float(tokens) * factor) as u64;
    product
}

pub(super) fn float(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact to 2^53, and shares need no more")]
    let float = count as f64;
    float
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_what_was_used() {
        let dynamic = Dynamic { target: 0.8, least: 0.3, most_boost: 1.5 };
        let check = |boost, used, expected: f64| {
            let next = dynamic.next(boost, used, 1_000);
            assert!((next - expected).abs() < 0.001, "{boost} {used}: {next}");
        };
        check(1.0, 800, 1.0);
        check(1.0, 1_000, 0.9);
        check(1.0, 400, 1.25);
        check(1.5, 10, 1.5);
        check(0.7, 1_000_000, 0.683);
        check(1.2, 0, 1.2);
        assert!((dynamic.next(1.1, 5, 0) - 1.1).abs() < 0.001);
    }
}
