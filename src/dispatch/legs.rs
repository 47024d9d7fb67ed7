//! Which candidates take a conversation whole, and how it is cut for those that don't.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::Model;
use crate::context;
use crate::context::tokens;
use crate::dispatch::journey::Travel;
use crate::dispatch::outcome::Failure;
use crate::dispatch::whole::Begun;
use crate::openai::ApiError;
use crate::openai::ChatRequest;
use crate::openai::RequestEdits;
use crate::select;
use crate::select::Eligible;
use crate::structured::INSTRUCTION_BYTES;

/// Candidates to be tried in the same way.
pub(super) struct Leg {
    pub(super) eligible: Eligible,
    pub(super) edits: RequestEdits,
    pub(super) context: Option<String>,
}

impl Leg {
    fn whole(eligible: Eligible) -> Self {
        Self { eligible, edits: RequestEdits::default(), context: None }
    }
}

impl Travel {
    /// Every candidate once: those that take the conversation whole first, then the largest with
    /// the history cut to fit.
    pub(super) async fn round(&mut self) -> Result<Option<Begun>, Failure> {
        if self.requires.strict {
            return self.leg(&Leg::whole(self.eligible.clone())).await;
        }
        let bytes = self.request.prompt_bytes() + self.instruction_bytes();
        let sure = self.fitting(tokens::most(bytes));
        if !sure.is_empty()
            && let Some(answer) = self.leg(&Leg::whole(sure.clone())).await?
        {
            return Ok(Some(answer));
        }
        if sure.len() == self.eligible.len() {
            return Ok(None);
        }
        let counts = count(Arc::clone(&self.request)).await;
        let total = counts.iter().sum::<u64>() + self.beside();
        let mut whole = self.fitting(total);
        whole.retain(|it| !sure.contains(it));
        if !whole.is_empty()
            && let Some(answer) = self.leg(&Leg::whole(whole.clone())).await?
        {
            return Ok(Some(answer));
        }
        let any_whole = !sure.is_empty() || !whole.is_empty();
        for (budget, eligible) in self.by_budget(total) {
            match self.trimmed(&counts, budget, eligible) {
                Ok(leg) => {
                    if let Some(answer) = self.leg(&leg).await? {
                        return Ok(Some(answer));
                    }
                }
                Err(_) if any_whole => break,
                Err(error) if self.faults.is_empty() => return Err(self.failure(error)),
                Err(_) => break,
            }
        }
        Ok(None)
    }

    /// The eligible models that have room for `tokens`.
    fn fitting(&self, tokens: u64) -> Eligible {
        let fits = |it: &Model| self.budget(it).is_none_or(|budget| tokens <= budget);
        let at = |(p, m): &(usize, usize)| {
            let provider = self.pool.selector.catalog.providers().get(*p);
            provider.and_then(|it| it.models.get(*m))
        };
        self.eligible.iter().copied().filter(|it| at(it).is_some_and(fits)).collect()
    }

    fn budget(&self, model: &Model) -> Option<u64> {
        let reserve = self.core.params.context.answer_reserve;
        select::prompt_budget(model, self.request.max_tokens, reserve)
    }

    /// The models without room for `tokens`, by how much they have, largest first.
    fn by_budget(&self, tokens: u64) -> Vec<(u64, Eligible)> {
        let mut groups: BTreeMap<u64, Eligible> = BTreeMap::new();
        let providers = self.pool.selector.catalog.providers();
        for &(p, m) in &self.eligible {
            let model = providers.get(p).and_then(|it| it.models.get(m));
            if let Some(budget) = model.and_then(|it| self.budget(it)).filter(|it| *it < tokens) {
                groups.entry(budget).or_default().push((p, m));
            }
        }
        groups.into_iter().rev().collect()
    }

    /// Tokens of what goes with the messages and can't be cut: tools and the answer's schema.
    fn beside(&self) -> u64 {
        let bytes = |it: &str| self.request.member(it).map_or(0, str::len);
        let format = if self.wants_json() { bytes("response_format") } else { 0 };
        tokens::estimate(bytes("tools") + format + self.instruction_bytes())
    }

    fn instruction_bytes(&self) -> usize {
        if self.wants_json() { INSTRUCTION_BYTES } else { 0 }
    }

    fn trimmed(&self, counts: &[u64], budget: u64, eligible: Eligible) -> Result<Leg, ApiError> {
        let params = self.core.params.context;
        let messages = self.request.messages();
        let keep = if params.enabled { params.recent_keep } else { usize::MAX };
        let room = if params.enabled { budget } else { u64::MAX };
        let beside = self.beside();
        let trimmed = context::trim(&messages, counts, room.saturating_sub(beside), keep);
        match trimmed {
            Ok(it) if params.enabled => Ok(Leg {
                eligible,
                context: Some(format!("mode=static; kept={}; dropped={}", it.kept, it.dropped)),
                edits: RequestEdits { set: vec![("messages", it.json)], leave_out: Vec::new() },
            }),
            Ok(it) => Err(too_long(it.tokens + beside, budget)),
            Err(it) => Err(too_long(it.needed + beside, budget)),
        }
    }
}

/// Exact tokens of every message.
async fn count(request: Arc<ChatRequest>) -> Vec<u64> {
    let counting = tokio::task::spawn_blocking(move || {
        request.messages().iter().map(|it| tokens::count(it.json)).collect()
    });
    counting.await.unwrap_or_default()
}

fn too_long(needed: u64, budget: u64) -> ApiError {
    let message = format!(
        "The conversation is too long: what may not be cut has {needed} tokens, and the largest \
         model that could answer has room for {budget}."
    );
    ApiError::invalid(message, Some("messages")).with_code("context_length_exceeded")
}
