//! Tool call ids for providers that have rules for them. An id of somebody else's is replaced by one
//! made of it, so that the same id becomes the same wherever it stands, in this turn and the next.

use std::collections::HashMap;
use std::collections::HashSet;

use ring::digest::SHA256;
use ring::digest::digest;

use crate::openai::json_string;
use crate::provider::openai_compatible::messages::calls::Calls;
use crate::provider::openai_compatible::messages::draft::Draft;
use crate::provider::quirks::Ids;

/// Characters of an id that is made here.
const LENGTH: usize = 9;

/// Gives calls and results ids of the form the provider wants; those that have it stay.
pub(super) fn fit(drafts: &mut [Draft<'_>], form: Ids) {
    if form == Ids::Free {
        return;
    }
    let mut ids = Mapped::new(form, drafts);
    for draft in drafts {
        if let Some(id) = draft.text("tool_call_id") {
            draft.set("tool_call_id", json_string(&ids.of(&id)));
        }
        let Some(mut calls) = draft.get("tool_calls").and_then(Calls::read) else { continue };
        for at in 0..calls.list.len() {
            if let Some(id) = calls.id(at) {
                calls.set(at, "id", json_string(&ids.of(&id)));
            }
        }
        if let Some(written) = calls.written() {
            draft.set("tool_calls", written);
        }
    }
}

/// Nine letters and digits that stand for `text`; other ones for every `attempt`.
pub(super) fn made_of(text: &str, attempt: u32) -> String {
    const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = digest(&SHA256, format!("{attempt} {text}").as_bytes());
    let digits = hash.as_ref().iter().take(LENGTH);
    // 256 is no multiple of 62: some characters come a little more often, which does no harm.
    digits
        .filter_map(|it| ALPHABET.get(usize::from(*it) % ALPHABET.len()))
        .map(|it| char::from(*it))
        .collect()
}

/// The ids of one request.
struct Mapped {
    form: Ids,
    /// Ids that go out, so that no two calls get the same.
    taken: HashSet<String>,
    made: HashMap<String, String>,
}

impl Mapped {
    fn new(form: Ids, drafts: &[Draft<'_>]) -> Self {
        let taken = drafts.iter().flat_map(ids_of).filter(|it| fits(form, it)).collect();
        Self { form, taken, made: HashMap::new() }
    }

    fn of(&mut self, id: &str) -> String {
        if fits(self.form, id) {
            return id.to_owned();
        }
        if let Some(made) = self.made.get(id) {
            return made.clone();
        }
        let free = (0..64).map(|it| made_of(id, it)).find(|it| !self.taken.contains(it));
        let made = free.unwrap_or_default();
        self.taken.insert(made.clone());
        self.made.insert(id.to_owned(), made.clone());
        made
    }
}

fn fits(form: Ids, id: &str) -> bool {
    match form {
        Ids::Free => true,
        Ids::Nine => id.len() == LENGTH && id.bytes().all(|it| it.is_ascii_alphanumeric()),
        Ids::AtMost(most) => id.len() <= most,
    }
}

fn ids_of(draft: &Draft<'_>) -> Vec<String> {
    let calls = draft.get("tool_calls").and_then(Calls::read);
    let calls = calls.iter().flat_map(|it| (0..it.list.len()).filter_map(|at| it.id(at)));
    calls.chain(draft.text("tool_call_id")).collect()
}
