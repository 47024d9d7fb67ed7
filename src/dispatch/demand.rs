//! What a request asks of the gates: how much quota, at what time.

use crate::catalog::Model;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::context::tokens;
use crate::dispatch::Core;
use crate::openai::ChatRequest;
use crate::quota::Demand;
use crate::select::Gates;

/// What a request takes of a model's quota: its prompt by estimate, in tokens as the model's answers
/// have shown it to count, and the answer by what it is allowed or likely to have. `added` bytes go with the prompt that the caller did not write.
pub(super) fn demand<'a>(
    core: &'a Core,
    request: &'a ChatRequest,
    added: usize,
) -> impl Fn(&Model) -> Demand + use<'a> {
    let estimated = tokens::estimate(request.prompt_bytes() + added);
    let reserve = core.params.context.answer_reserve;
    move |model| {
        let ledger = &core.books.ledger;
        let prompt = model.targets.first().map_or(estimated, |it| ledger.tokens(*it, estimated));
        let answer = match request.max_tokens {
            Some(most) if model.reserves_max_tokens => most,
            Some(most) => most.min(reserve),
            None => reserve,
        };
        let windows = model.limits.iter().filter(|it| it.unit == Unit::Tokens);
        let window = windows.map(|it| it.max).min().unwrap_or(u64::MAX);
        let tokens = prompt.saturating_add(answer.saturating_mul(request.n)).min(window);
        Demand { requests: 1, tokens }
    }
}

/// The gates as they stand at `now`.
pub(super) fn gates<'a>(
    core: &'a Core,
    demand: &'a dyn Fn(&Model) -> Demand,
    now: Now,
) -> Gates<'a> {
    Gates {
        ledger: &core.books.ledger,
        breakers: &core.books.breakers,
        latencies: &core.books.latencies,
        demand,
        pardoned: None,
        now,
    }
}
