//! On what terms one target is asked: how long it may take, and how its answer is to be given.

use std::sync::Arc;
use std::time::Duration;

use memchr::memchr2_iter;
use secrecy::SecretString;

use crate::catalog::TargetView;
use crate::dispatch::journey::Travel;
use crate::dispatch::legs::Leg;
use crate::dispatch::outcome::Route;
use crate::dispatch::outcome::RouteReason;
use crate::dispatch::relay;
use crate::dispatch::relay::Hold;
use crate::dispatch::structured::json_root;
use crate::dispatch::whole;
use crate::normalize::Mode;
use crate::normalize::leaves_code_open;
use crate::openai::ApiError;
use crate::openai::JsonMode;
use crate::openai::More;
use crate::openai::Role;
use crate::provider::fault::Fault;
use crate::provider::fault::Waited;
use crate::provider::masking::struck;
use crate::select::Asked;
use crate::select::JsonWay;

/// Longest text that is gone on with when it is cut, in bytes: some 64,000 tokens, more than most models could be
/// shown of it.
const MOST_SENT: usize = 256 * 1024;

impl Travel {
    pub(super) fn whole_terms(&self, target: &TargetView<'_>, way: JsonWay) -> whole::Terms {
        whole::Terms {
            model: Arc::clone(&target.model.routable),
            mode: match way {
                JsonWay::Native => self.text_mode(),
                JsonWay::AnyObject | JsonWay::Instructed => Mode::Json(json_root(&self.request)),
            },
            wanted: self.wanted.clone(),
            created: self.core.clock.now().unix_ms / 1000,
        }
    }

    pub(super) fn stream_terms(
        &self,
        (target, way): (&TargetView<'_>, JsonWay),
        deadline: tokio::time::Instant,
        late: Fault,
    ) -> relay::Terms {
        let until = tokio::time::Instant::now() + self.time_left();
        let wanted = self.wanted.clone().filter(|_| way != JsonWay::Native);
        let hold = wanted.map(|wanted| Hold { wanted, until });
        relay::Terms {
            model: Arc::clone(&target.model.routable),
            mode: match hold {
                Some(_) => Mode::JsonAtOnce(json_root(&self.request)),
                None => self.text_mode(),
            },
            hold,
            sent: self.goes_on().then(|| self.core.texts.text(MOST_SENT)),
            texts: self.core.texts.clone(),
            goal: self.goal.clone().map(|goal| (goal, until)),
            include_usage: self.request.include_usage,
            first_content_by: deadline,
            late,
            silence: self.silence(target),
            created: self.core.clock.now().unix_ms / 1000,
        }
    }

    /// How an answer is treated that needs no more than what the caller and the settings want.
    fn text_mode(&self) -> Mode {
        let json = self.wants_json().then(|| json_root(&self.request));
        match self.core.params.normalizer.mode(json) {
            _ if !self.normalize => Mode::Off,
            Mode::Text if self.may_end_in_code() => Mode::TextLeftOpen,
            wanted => wanted,
        }
    }

    /// Is a code fence that is open at the answer's end none of its mistakes? It may end at the
    /// caller's own stop sequence, or close what an earlier answer (or its beginning, written by the
    /// caller) has opened.
    fn may_end_in_code(&self) -> bool {
        let request = &self.request;
        if request.member("stop").is_some() {
            return true;
        }
        let said = request.last_answer().unwrap_or_default().as_bytes();
        let fence = |at: usize| said.get(at..at + 3).is_some_and(|it| it == b"```" || it == b"~~~");
        // Few conversations have any code in them.
        memchr2_iter(b'`', b'~', said).any(fence)
            && request
                .messages()
                .iter()
                .rfind(|it| it.role == Role::Assistant)
                .is_some_and(|it| leaves_code_open(&it.text()))
    }

    pub(super) fn wants_json(&self) -> bool {
        self.request.json_mode != JsonMode::Off
    }

    /// The provider's own error, for the caller to mend.
    pub(super) fn given_back(&self) -> ApiError {
        if self.requires.strict {
            return self.as_it_came();
        }
        let Some((_, fault)) = self.faults.last() else { return ApiError::invalid("", None) };
        let mut error = ApiError::invalid(fault.message.clone(), fault.param.as_deref());
        error.code = fault.code.as_deref().map(str::to_owned);
        error
    }

    /// The same error without any key of the pool's or of the gateway's own: what a provider knows of
    /// them is not for callers. The key it was asked with is struck out as soon as it has answered.
    pub(super) fn masked(&self, mut error: ApiError) -> ApiError {
        let providers = self.pool.selector.catalog.providers();
        let keys = providers.iter().flat_map(|it| &it.keys).filter_map(|it| it.secret.as_ref());
        let keys: Vec<&SecretString> = keys.chain(&self.core.params.own_keys).collect();
        let mask = |text: &mut String| {
            if let Some(struck) = struck(text, None, keys.iter().copied()) {
                *text = struck;
            }
        };
        mask(&mut error.message);
        error.code.as_mut().map(mask);
        error.param.as_mut().map(mask);
        if let Some(More::Verbatim(it)) = error.more.as_deref_mut() {
            mask(&mut it.body);
            mask(&mut it.content_type);
        }
        error
    }

    /// How long this target may take until its first content (or its whole answer). What others have left of the
    /// request's time may be too little to say anything of it.
    pub(super) fn patience(&self, target: &TargetView<'_>) -> (Duration, Waited) {
        let params = &self.core.params;
        let own = target.model.first_token_timeout;
        let (limit, waited) = if self.request.stream {
            (own.unwrap_or(params.first_token_timeout), Waited::FirstToken)
        } else {
            (self.silence(target), Waited::Answer)
        };
        let left = self.time_left();
        if left < limit.min(params.deadline) / 2 {
            return (left, Waited::WhatWasLeft);
        }
        (limit.min(left), waited)
    }

    /// A model that is known to need long for its first token gets as long for the rest.
    pub(super) fn silence(&self, target: &TargetView<'_>) -> Duration {
        let own = target.model.first_token_timeout.unwrap_or_default();
        self.core.params.timeout.max(own)
    }

    pub(super) fn route(&self, target: &TargetView<'_>, affinity: bool, leg: &Leg) -> Route {
        let reason = match &self.asked {
            _ if self.attempts > 1 => RouteReason::Failover,
            Asked::Direct { .. } => RouteReason::Direct,
            _ if affinity => RouteReason::Affinity,
            _ => RouteReason::Meta,
        };
        let mut warnings = Vec::new();
        if let Asked::Direct { instead_of: Some(name), .. } = &self.asked {
            warnings.push(format!("retired={name}; served={}", target.model.routable));
        }
        let no_room = self.style.insisted && !leg.is_guided() && !self.requires.strict;
        if self.style.refused || no_room {
            warnings.push("style-guide-left-out".to_owned());
        }
        Route {
            provider: Arc::clone(&target.provider.name),
            model: Arc::clone(&target.model.name),
            requested: Arc::clone(&self.requested),
            reason,
            attempts: self.attempts,
            context: leg.context.clone(),
            warnings,
            upstream_id: None,
        }
    }
}
