//! Making a request's conversation fit a candidate, and adding to its instructions.

use std::sync::Arc;

use crate::catalog::Kind;
use crate::catalog::Model;
use crate::catalog::ModelId;
use crate::context;
use crate::context::Fitted;
use crate::context::Mode;
use crate::context::Plan;
use crate::context::Rules;
use crate::context::Size;
use crate::context::TooLong;
use crate::context::size;
use crate::context::style::HANDOFF;
use crate::context::style::Wish;
use crate::context::tokens;
use crate::dispatch::journey::Travel;
use crate::openai::RequestEdits;
use crate::openai::with_instruction;
use crate::select;
use crate::select::Asked;

/// Bytes that a system message takes around its text.
const AROUND_GUIDE: usize = 48;

/// What is added to the caller's own instructions.
#[derive(Debug, Default)]
pub(super) struct Styled {
    /// The style guide, if it is to be added.
    pub(super) guide: Option<Arc<str>>,
    /// Was it asked for where it would do harm?
    pub(super) refused: bool,
    /// Was it asked for, and is to be added where there is room?
    pub(super) insisted: bool,
    /// Where the session lived before, if its next model is to be told.
    came_from: Option<ModelId>,
}

/// A request's sizes in tokens.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Of each message.
    pub(super) sizes: Vec<Size>,
    /// Of what goes with them and can't be cut: tools, the answer's schema, what is added for it.
    beside: u64,
    has_tools: bool,
    /// Of the style guide, where it is to be added.
    pub(super) guide: u64,
}

impl Measured {
    /// What goes with the messages, by a provider's rules.
    pub(super) fn beside(&self, rules: Rules) -> u64 {
        self.beside + if self.has_tools { rules.tools } else { 0 }
    }

    /// All of it but the guide, by a provider's rules.
    pub(super) fn whole(&self, rules: Rules) -> u64 {
        self.sizes.iter().map(|it| it.by(rules)).sum::<u64>() + self.beside(rules)
    }
}

/// How a provider counts images and tools.
pub(super) fn rules(kind: Kind) -> Rules {
    match kind {
        Kind::Gemini => Rules::GEMINI,
        Kind::Anthropic => Rules::ANTHROPIC,
        // Most that speak OpenAI's wire are not OpenAI.
        Kind::OpenAi | Kind::Ollama | Kind::Cloudflare => Rules::OTHERS,
    }
}

impl Travel {
    /// Tokens the prompt may have at `model`; `None` = no bound is known.
    pub(super) fn budget(&self, model: &Model) -> Option<u64> {
        let reserve = self.core.params.context.answer_reserve;
        Some(select::prompt_budget(self.holds(model)?, self.request.max_tokens, reserve))
    }

    /// Tokens that prompt and answer may have together at `model`; `None` = no bound is known.
    pub(super) fn holds(&self, model: &Model) -> Option<u64> {
        let told = self.core.books.ledger.context(model.id, self.started);
        select::holds(model, told)
    }

    /// The same in tokens as they are counted here: fewer, where the model's answers have shown that
    /// it counts more.
    pub(super) fn counted_budget(&self, model: &Model) -> Option<u64> {
        Some(self.core.memory.counted(model.id, self.budget(model)?))
    }

    /// Whose window follows what its session really uses, and the tokens there are for it.
    pub(super) fn headroom(&self, model: &Model) -> Option<(Arc<str>, u64)> {
        let session = self.session.as_deref()?;
        let dynamic = self.core.params.context.mode == Mode::Dynamic;
        Some((session.into(), self.budget(model).filter(|_| dynamic)?))
    }

    /// Counts the request, away from the threads that serve.
    pub(super) fn measured(&self) -> impl Future<Output = Arc<Measured>> + use<> {
        let (request, memory) = (Arc::clone(&self.request), Arc::clone(&self.core.memory));
        let guide = self.style.guide.clone();
        let note = self.style.came_from.map(|_| HANDOFF);
        let (json, instruction) = (self.wants_json(), self.instruction_bytes());
        let counting = tokio::task::spawn_blocking(move || {
            let counted = |it: &str| request.member(it).map_or(0, tokens::count);
            let format = if json { counted("response_format") } else { 0 };
            let added = |it: &str| tokens::count(it) + size::AROUND_MESSAGE;
            let beside = counted("tools") + counted("functions") + format + note.map_or(0, added);
            Measured {
                sizes: size::sizes(&request.messages(), &memory),
                beside: beside + tokens::estimate(instruction) + size::AROUND_CONVERSATION,
                has_tools: request.has_tools,
                guide: guide.map_or(0, |it| added(&it)),
            }
        });
        async { Arc::new(counting.await.unwrap_or_default()) }
    }

    /// The plan by which the conversation is cut; `None` when it is not.
    pub(super) fn plan(&self) -> Option<Plan> {
        let session = self.session.as_deref();
        let boost = session.map_or(1.0, |it| self.core.memory.boost(it));
        self.core.params.context.plan(&self.request.messages(), boost)
    }

    /// Makes the conversation fit `room` tokens by a provider's rules. A summary that takes too long
    /// is done without.
    pub(super) fn fitted(
        &self,
        measured: &Arc<Measured>,
        (room, rules): (u64, Rules),
        plan: Plan,
    ) -> impl Future<Output = Result<Option<Fitted>, TooLong>> + use<> {
        let (request, memory) = (Arc::clone(&self.request), Arc::clone(&self.core.memory));
        let measured = Arc::clone(measured);
        let unfit = TooLong { needed: measured.whole(rules), budget: room };
        let limit = self.core.params.context.summary_timeout;
        async move {
            let fit = |plan: Plan| {
                let (request, memory) = (Arc::clone(&request), Arc::clone(&memory));
                let costs: Vec<u64> = measured.sizes.iter().map(|it| it.by(rules)).collect();
                tokio::task::spawn_blocking(move || {
                    context::fit(&request.messages(), &costs, (room, &plan), &memory)
                })
            };
            match tokio::time::timeout(limit, fit(plan)).await {
                Ok(done) => done.unwrap_or(Err(unfit)),
                Err(_) => fit(Plan { summary: 0, ..plan }).await.unwrap_or(Err(unfit)),
            }
        }
    }

    /// Takes in what the caller and the settings say of the style guide.
    pub(super) fn take_style(&mut self, asked: Option<bool>) {
        let style = &self.core.params.context.style;
        let wish = Wish {
            asked,
            direct: matches!(self.asked, Asked::Direct { .. }),
            for_programs: self.for_programs(),
        };
        if style.is_for(wish) {
            self.style.guide = Some(Arc::clone(&style.guide));
        }
        self.style.insisted = asked == Some(true) && self.style.guide.is_some();
        self.style.refused = asked == Some(true) && wish.for_programs;
        if style.handoff && !wish.for_programs {
            let session = self.session.as_deref();
            let sessions = &self.core.books.sessions;
            let pin = session.and_then(|it| sessions.get(it, self.core.clock.now()));
            self.style.came_from = pin.map(|it| it.model);
        }
    }

    fn for_programs(&self) -> bool {
        self.request.has_tools || self.wants_json()
    }

    /// Bytes that the guide adds at most.
    pub(super) fn guide_bytes(&self) -> usize {
        self.style.guide.as_deref().map_or(0, |it| it.len() + AROUND_GUIDE)
    }

    /// Bytes that the word to whoever takes the session over adds at most.
    pub(super) fn note_bytes(&self) -> usize {
        self.style.came_from.map_or(0, |_| HANDOFF.len() + AROUND_GUIDE)
    }

    /// The edits for a conversation as it came, with the guide if there is room for it.
    pub(super) fn whole_edits(&self, guided: bool) -> RequestEdits {
        let guide = self.style.guide.as_deref().filter(|_| guided);
        let messages = guide.map(|it| ("messages", self.request.messages_with_instruction(it)));
        RequestEdits { set: messages.into_iter().collect(), ..RequestEdits::default() }
    }

    /// The edits for a conversation made to fit, with the guide if there is room for it.
    pub(super) fn fitted_edits(&self, fitted: Fitted, guided: bool) -> RequestEdits {
        let guide = self.style.guide.as_deref().filter(|_| guided);
        let messages = match guide {
            Some(guide) => with_instruction(&fitted.json, guide),
            None => fitted.json,
        };
        let set = vec![("messages", messages.into())];
        RequestEdits { set, cut: true, ..RequestEdits::default() }
    }

    /// Tells a model that it takes the session over.
    pub(super) fn handed_over(&self, to: ModelId, mut edits: RequestEdits) -> RequestEdits {
        if self.style.came_from.is_none_or(|from| from == to) {
            return edits;
        }
        let edited = edits.set.iter_mut().find(|(key, _)| *key == "messages");
        if let Some((_, messages)) = edited {
            *messages = with_instruction(messages, HANDOFF).into();
        } else {
            let messages = self.request.messages_with_instruction(HANDOFF);
            edits.set.push(("messages", messages));
        }
        edits
    }
}
