//! What is out of the ordinary in a conversation, so that nobody has to look twice: providers differ
//! in what they take, and most conversations have none of it.

use super::message::Message;
use super::message::Role;

/// One thing a conversation may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// A message whose content is missing or `null`.
    NoContent,
    /// A message whose content is a list of parts.
    Parts,
    /// A message with a `name`.
    Name,
    /// A message with the model's reasoning.
    Reasoning,
    /// A message with a member not named here.
    Extra,
    /// An assistant's turn with neither content nor calls.
    EmptyTurn,
    /// A message by `developer`.
    Developer,
    /// Instructions that are not the first message.
    LateSystem,
    /// Two neighbours of one role, results of calls aside.
    SameRole,
    /// An assistant's turn at the end, for the model to go on with.
    Prefill,
    /// Calls of tools, or results of them.
    Calls,
    /// A turn with more than one call.
    ParallelCalls,
    /// `tool_calls` that are `null` or empty.
    VoidCalls,
    /// A call without an id, or a result that does not say of which call.
    LostIds,
    /// A call with members not every API has, or whose arguments are no string.
    OddCalls,
    /// A user's turn right after the result of a call.
    UserAfterResult,
    /// A message with what a provider's model alone can read: `extra_content`, `reasoning_details`.
    Echoed,
    /// Calls or results in OpenAI's older form: `function_call`, the role `function`.
    OlderCalls,
    /// An assistant's turn before any of the user.
    AssistantFirst,
}

/// The traits a conversation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Traits(u32);

impl Traits {
    /// Those of the messages in a list as JSON text.
    pub fn in_list(json: &str) -> Self {
        Self::of(&Message::list(json))
    }

    /// Those of these messages.
    pub(super) fn of(messages: &[Message<'_>]) -> Self {
        let mut traits = Self::default();
        let mut before: Option<Role> = None;
        let mut begun = false;
        for message in messages {
            traits.0 |= message.traits.0;
            let role = message.role;
            traits.add_if(Trait::Developer, role == Role::Developer);
            traits.add_if(Trait::LateSystem, role.instructs() && before.is_some());
            let neighbours = before == Some(role) && !role.answers_call();
            traits.add_if(Trait::SameRole, neighbours);
            let after_result = before.is_some_and(Role::answers_call) && role == Role::User;
            traits.add_if(Trait::UserAfterResult, after_result);
            traits.add_if(Trait::AssistantFirst, !begun && role == Role::Assistant);
            begun |= !role.instructs();
            before = Some(role);
        }
        traits.add_if(Trait::Prefill, before == Some(Role::Assistant));
        traits
    }

    /// Does it have this one?
    pub fn has(self, wanted: Trait) -> bool {
        self.0 & (1 << wanted as u16) != 0
    }

    /// Does it have one of these?
    pub fn has_any(self, wanted: &[Trait]) -> bool {
        wanted.iter().any(|it| self.has(*it))
    }

    pub(super) fn add_if(&mut self, found: Trait, is_so: bool) {
        if is_so {
            self.0 |= 1 << found as u16;
        }
    }
}
