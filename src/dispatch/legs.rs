//! Which candidates take a conversation whole, and which have it cut.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::catalog::Model;
use crate::context::Apply;
use crate::context::Fitted;
use crate::context::Plan;
use crate::context::Rules;
use crate::context::TooLong;
use crate::context::size::AROUND_CONVERSATION;
use crate::context::tokens;
use crate::dispatch::attempt::Attempt;
use crate::dispatch::fitting::Measured;
use crate::dispatch::fitting::rules;
use crate::dispatch::journey::Travel;
use crate::dispatch::outcome::Failure;
use crate::dispatch::whole::Begun;
use crate::openai::ApiError;
use crate::openai::RequestEdits;
use crate::select::Asked;
use crate::select::Eligible;
use crate::structured::INSTRUCTION_BYTES;

/// A guide goes with a conversation that has to be cut only where there is so many times its size.
const GUIDE_SHARE: u64 = 8;

/// Candidates to be tried in the same way.
pub(super) struct Leg {
    pub(super) eligible: Eligible,
    pub(super) edits: RequestEdits,
    pub(super) context: Option<String>,
    /// Tokens of what is sent, where they were counted.
    counted: Option<u64>,
    /// Bytes of what the caller did not write.
    added: usize,
}

impl Leg {
    /// The conversation as the caller wrote it.
    fn as_it_came(eligible: Eligible) -> Self {
        let edits = RequestEdits::default();
        Self { eligible, edits, context: None, counted: None, added: 0 }
    }

    /// Does the style guide go with it?
    pub(super) fn is_guided(&self) -> bool {
        self.added > 0
    }

    /// Tells an attempt what is known of its prompt's size.
    pub(super) fn sizes(&self, attempt: &mut Attempt) {
        attempt.counted_prompt = self.counted;
        attempt.estimated_prompt = match attempt.estimated_prompt {
            // Less is sent than was estimated.
            _ if self.context.is_some() => None,
            estimated => estimated.map(|it| it + tokens::estimate(self.added)),
        };
    }
}

/// A conversation that is cut for everyone, whoever answers.
struct Shortened {
    plan: Plan,
    fitted: Fitted,
}

impl Travel {
    /// Every candidate once: those that take the conversation whole first, then the largest with
    /// the history cut to fit. With [`Apply::Always`] "whole" means cut to what the mode keeps.
    pub(super) async fn round(&mut self) -> Result<Option<Begun>, Failure> {
        if self.requires.strict {
            return self.leg(&Leg::as_it_came(self.eligible.clone())).await;
        }
        let mut done = Eligible::new();
        let always = self.always_cut();
        if always.is_none()
            && let Some(begun) = self.surely_whole(&mut done).await?
        {
            return Ok(Some(begun));
        }
        self.reopen(&mut done);
        if done.len() == self.eligible.len() {
            return Ok(None);
        }
        // Boxed, as all that few requests come to: each would carry the room for it.
        Box::pin(self.counted(done, always)).await
    }

    /// Those whose room is compared with the request's tokens.
    async fn counted(
        &mut self,
        mut done: Eligible,
        always: Option<Plan>,
    ) -> Result<Option<Begun>, Failure> {
        let measured = self.measured().await;
        let shortened = match always {
            Some(plan) => self.shortened(&measured, plan).await,
            None => None,
        };
        for guided in [true, false] {
            let guide = if guided { measured.guide } else { 0 };
            let mut whole = self.fitting(|model, rules| {
                let all = match &shortened {
                    Some(it) => it.fitted.tokens + measured.beside(rules),
                    None => measured.whole(rules),
                };
                self.counted_budget(model).is_none_or(|budget| all + guide <= budget)
            });
            whole.retain(|it| !done.contains(it));
            if whole.is_empty() {
                continue;
            }
            done.extend(&whole);
            let leg = self.whole_leg(whole, (&measured, shortened.as_ref()), guided);
            if let Some(begun) = self.leg(&leg).await? {
                return Ok(Some(begun));
            }
            self.reopen(&mut done);
        }
        self.cut_to_fit(&measured, done).await
    }

    /// Those that take it whole whatever its tokens. Nothing is counted for them.
    async fn surely_whole(&mut self, done: &mut Eligible) -> Result<Option<Begun>, Failure> {
        let said = self.request.prompt_bytes();
        let added = self.instruction_bytes() + self.guide_bytes() + self.note_bytes();
        let most = tokens::most(said + added) + AROUND_CONVERSATION;
        let media = self.request.media;
        // What sounds and files have is guessed.
        let bounded = media.attached == 0;
        let sure = self.fitting(|model, rules| {
            let most = most + rules.media(media) + rules.tools;
            let fits = |budget| bounded && most <= budget;
            self.budget(model).is_none_or(fits)
        });
        if sure.is_empty() || self.prefers_another(&sure) {
            return Ok(None);
        }
        done.clone_from(&sure);
        let (edits, added) = (self.whole_edits(true), self.guide_bytes());
        let leg = Leg { eligible: sure, edits, context: None, counted: None, added };
        self.leg(&leg).await
    }

    /// May somebody who is not among `sure` have to come first? That is worth counting the tokens.
    fn prefers_another(&self, sure: &Eligible) -> bool {
        let elsewhere = || self.home(&self.eligible).is_some_and(|it| !sure.contains(&it));
        sure.len() < self.eligible.len() && (self.asked == Asked::Smart || elsewhere())
    }

    fn whole_leg(
        &self,
        eligible: Eligible,
        (measured, shortened): (&Measured, Option<&Shortened>),
        guided: bool,
    ) -> Leg {
        let added = if guided { self.guide_bytes() } else { 0 };
        match shortened {
            None => {
                let media = !self.request.media.is_none();
                let guide = if guided { measured.guide } else { 0 };
                let counted = Some(measured.whole(Rules::OTHERS) + guide).filter(|_| !media);
                Leg { eligible, edits: self.whole_edits(guided), context: None, counted, added }
            }
            Some(Shortened { plan, fitted }) => Leg {
                eligible,
                context: Some(told(plan, fitted)),
                edits: self.fitted_edits(fitted.clone(), guided),
                counted: None,
                added,
            },
        }
    }

    /// The plan by which the conversation is cut even where it fits.
    fn always_cut(&self) -> Option<Plan> {
        let always = self.core.params.context.apply == Apply::Always;
        let plan = always.then(|| self.plan()).flatten()?;
        plan.cuts(&self.request.messages()).then_some(plan)
    }

    /// The conversation without what the mode does not keep.
    async fn shortened(&mut self, measured: &Arc<Measured>, plan: Plan) -> Option<Shortened> {
        let room = (u64::MAX / 2, Rules::OTHERS);
        // Of so much room no share is ever used up.
        let by_number = Plan { least: 0.0, ..plan };
        let fitted = self.fitted(measured, room, by_number).await.ok()??;
        self.tell_cut(&fitted);
        Some(Shortened { plan, fitted })
    }

    /// The others, by the room they have, with the conversation made to fit each.
    async fn cut_to_fit(
        &mut self,
        measured: &Arc<Measured>,
        mut done: Eligible,
    ) -> Result<Option<Begun>, Failure> {
        let plan = self.plan();
        let mut unfit = None;
        let mut asked = !done.is_empty() || !self.faults.is_empty();
        while let Some(((budget, rules), eligible)) = self.largest(&done) {
            done.extend(&eligible);
            let room = budget.saturating_sub(measured.beside(rules));
            let mut guide = Some(measured.guide).filter(|it| it * GUIDE_SHARE <= room);
            let fitted = match plan {
                Some(plan) => {
                    let beside = guide.unwrap_or(0);
                    let with_it = self.fitted(measured, (room - beside, rules), plan).await;
                    if with_it.is_err() && beside > 0 {
                        // What the caller wrote comes before the guide.
                        guide = None;
                        self.fitted(measured, (room, rules), plan).await
                    } else {
                        with_it
                    }
                }
                None => Err(TooLong { needed: measured.whole(rules), budget }),
            };
            let leg = match (fitted, plan) {
                (Ok(Some(fitted)), Some(plan)) => {
                    self.tell_cut(&fitted);
                    self.cut_leg(eligible, (measured, &plan, rules), (fitted, guide))
                }
                // What its model's answers have shown since has made room for it.
                (Ok(_), _) => self.whole_leg(eligible, (measured, None), guide.is_some()),
                (Err(it), _) => {
                    let needed = it.needed + plan.map_or(0, |_| measured.beside(rules));
                    unfit.get_or_insert((needed, budget));
                    if asked {
                        self.give_up(&eligible);
                    }
                    continue;
                }
            };
            asked = true;
            if let Some(begun) = self.leg(&leg).await? {
                return Ok(Some(begun));
            }
            self.reopen(&mut done);
        }
        match unfit {
            Some((needed, budget)) if !asked => Err(self.failure(too_long(needed, budget))),
            _ => Ok(None),
        }
    }

    fn cut_leg(
        &self,
        eligible: Eligible,
        (measured, plan, rules): (&Measured, &Plan, Rules),
        (fitted, guide): (Fitted, Option<u64>),
    ) -> Leg {
        let media = !self.request.media.is_none();
        let sent = fitted.tokens + measured.beside(rules) + guide.unwrap_or(0);
        Leg {
            eligible,
            context: Some(told(plan, &fitted)),
            edits: self.fitted_edits(fitted, guide.is_some()),
            counted: Some(sent).filter(|_| !media),
            added: guide.map_or(0, |_| self.guide_bytes()),
        }
    }

    fn tell_cut(&self, fitted: &Fitted) {
        if let Some(story) = &self.story {
            story.cut(fitted);
        }
    }

    /// The eligible models that take it.
    fn fitting(&self, takes: impl Fn(&Model, Rules) -> bool) -> Eligible {
        let at = |place: &(usize, usize)| self.model_at(*place);
        let takes = |(model, rules): (&Model, Rules)| takes(model, rules);
        self.eligible.iter().copied().filter(|it| at(it).is_some_and(takes)).collect()
    }

    pub(super) fn model_at(&self, (p, m): (usize, usize)) -> Option<(&Model, Rules)> {
        let provider = self.pool.selector.catalog.providers().get(p)?;
        Some((provider.models.get(m)?, rules(provider.kind)))
    }

    /// Of the models that are not `done` those that hold most, and count alike.
    fn largest(&self, done: &Eligible) -> Option<((u64, Rules), Eligible)> {
        let mut groups: BTreeMap<(u64, Rules), Eligible> = BTreeMap::new();
        for place in self.eligible.iter().filter(|it| !done.contains(it)) {
            let Some((model, rules)) = self.model_at(*place) else { continue };
            if let Some(budget) = self.counted_budget(model) {
                groups.entry((budget, rules)).or_default().push(*place);
            }
        }
        groups.pop_last()
    }

    pub(super) fn instruction_bytes(&self) -> usize {
        if self.wants_json() { INSTRUCTION_BYTES } else { 0 }
    }
}

/// As `X-Relay-Context` says it.
fn told(plan: &Plan, fitted: &Fitted) -> String {
    let Fitted { kept, dropped, .. } = fitted;
    let mut said = format!("mode={}; kept={kept}; dropped={dropped}", plan.label);
    if fitted.summary_tokens > 0 {
        // Writing to a string cannot fail.
        let _ = write!(said, "; summary_tokens={}", fitted.summary_tokens);
    }
    if !fitted.cut.is_empty() {
        let _ = write!(said, "; without_middle={}", fitted.cut.len());
    }
    if let Some(kind) = plan.kind {
        let _ = write!(said, "; kind={kind}");
    }
    said
}

fn too_long(needed: u64, budget: u64) -> ApiError {
    let message = format!(
        "The conversation is too long: what may not be cut has {needed} tokens, and the largest \
         model that could answer has room for {budget}."
    );
    ApiError::invalid(message, Some("messages")).with_code("context_length_exceeded")
}
