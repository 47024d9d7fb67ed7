//! The keys in a variable's value: `key1,key2`, or `group:key1,group:key2` where several keys
//! belong to one account and share its quota.
//!
//! A group is made of letters, digits, `-` and `_`, up to the first colon. A key that has a colon
//! of its own and begins like a group is written with a group in front: `mine:begins-like:rest`.

use std::collections::HashSet;
use std::sync::Arc;

use secrecy::SecretString;

use super::environment::Variable;
use super::faults::Faults;

use crate::catalog::IdBook;
use crate::catalog::Key;

/// Variables that hold keys of the gateway itself.
pub(super) const MASTER: &str = "RELAY_API_KEY";
pub(super) const ADMIN: &str = "RELAY_ADMIN_KEY";

/// The keys of `provider` in `variable`, faulty ones left out.
pub(super) fn keys(
    provider: &str,
    variable: &Variable,
    faults: &Faults,
    notes: &mut Vec<String>,
    ids: &mut IdBook,
) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut seen = HashSet::new();
    let written = written_keys(variable);
    for (index, (group, secret)) in written.iter().enumerate() {
        let name = &variable.name;
        let which = format!("key {} of {}", index + 1, written.len());
        if is_placeholder(secret) {
            notes.push(format!("{name}: {which} is still the example's text, left out"));
        } else if let Some(problem) = problem(secret) {
            faults.add(&variable.place, name, format!("{problem} in {which}"), WANTED);
        } else if !seen.insert(secret) {
            notes.push(format!("{name}: {which} stands there before, counted once"));
        } else {
            keys.push(Key {
                id: ids.key(provider, secret),
                account: ids.account(provider, group.unwrap_or(secret)),
                group: group.map(Arc::from),
                secret: Some(SecretString::from(*secret)),
                label: label(secret),
            });
        }
    }
    if written.is_empty() {
        faults.add(&variable.place, &variable.name, "a list without a key", WANTED);
    }
    keys
}

/// The one nameless key of a provider that asks for none.
pub(super) fn no_key(provider: &str, ids: &mut IdBook) -> Key {
    Key {
        id: ids.key(provider, ""),
        account: ids.account(provider, ""),
        group: None,
        secret: None,
        label: "no key".into(),
    }
}

/// A key that this gateway itself asks for, if `variable` holds a sound one.
pub(super) fn own_key(variable: &Variable, faults: &Faults) -> Option<SecretString> {
    match problem(&variable.value) {
        None => Some(SecretString::from(variable.value.as_str())),
        Some(problem) => {
            faults.add(&variable.place, &variable.name, problem, "a key of printable ASCII");
            None
        }
    }
}

/// What people may see of a secret: its last four characters, and of a short one nothing.
pub(super) fn label(secret: &str) -> Arc<str> {
    const SHORTEST_SHOWN: usize = 12;
    let chars = secret.chars().count();
    let hidden = if chars < SHORTEST_SHOWN { chars } else { chars - 4 };
    std::iter::once('…').chain(secret.chars().skip(hidden)).collect::<String>().into()
}

const WANTED: &str = "one key, or several with commas between, of printable ASCII without blanks";

/// Each entry as (group, secret). An empty entry, as after a last comma, is none.
fn written_keys(variable: &Variable) -> Vec<(Option<&str>, &str)> {
    let entries = variable.value.split(',').map(str::trim).filter(|it| !it.is_empty());
    entries
        .map(|entry| match entry.split_once(':') {
            Some((group, secret)) if is_group(group.trim_end()) => {
                (Some(group.trim_end()), secret.trim_start())
            }
            _ => (None, entry),
        })
        .collect()
}

fn is_group(text: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
    !text.is_empty() && text.bytes().all(allowed)
}

/// `<groq-apikey>`, as examples write it.
fn is_placeholder(secret: &str) -> bool {
    secret.starts_with('<') && secret.ends_with('>')
}

fn problem(secret: &str) -> Option<&'static str> {
    if secret.is_empty() {
        Some("nothing after the group's name")
    } else if secret.chars().any(char::is_whitespace) {
        Some("a blank")
    } else if secret.chars().any(char::is_control) {
        Some("a control character")
    } else if !secret.is_ascii() {
        Some("a character that is not ASCII")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(value: &str) -> (Vec<Key>, Vec<String>, Vec<String>) {
        let variable =
            Variable { name: "X_APIKEY".into(), value: value.into(), place: "environment".into() };
        let faults = Faults::default();
        let mut notes = Vec::new();
        let keys = keys("X", &variable, &faults, &mut notes, &mut IdBook::default());
        let faults = faults.into_list().iter().map(|it| it.got.clone()).collect();
        (keys, notes, faults)
    }

    /// `wanted`: each secret with the position of the first key of its account.
    fn check(value: &str, wanted: &[(&str, usize)]) {
        let (keys, _, faults) = read(value);
        assert_eq!(faults, [""; 0], "{value}");
        let got: Vec<_> = keys
            .iter()
            .map(|key| {
                let first = keys.iter().position(|it| it.account == key.account).unwrap();
                (key.secret.as_ref().unwrap().expose_secret(), first)
            })
            .collect();
        assert_eq!(got, wanted, "{value}");
    }

    #[test]
    fn lists_and_groups_are_read() {
        check("a", &[("a", 0)]);
        check("a, b,,c,", &[("a", 0), ("b", 1), ("c", 2)]);
        check("one:a,one:b,two:c,d", &[("a", 0), ("b", 0), ("c", 2), ("d", 3)]);
        check("one : a", &[("a", 0)]);
        check("id.x:rest", &[("id.x:rest", 0)]);
        check("g:id:rest", &[("id:rest", 0)]);
        check("a,b,a", &[("a", 0), ("b", 1)]);
        check("<groq-apikey>", &[]);
    }

    #[test]
    fn a_bad_key_is_told_by_its_place_and_never_shown() {
        for (value, wanted) in [
            ("sk-good,sk-ba d", "a blank in key 2 of 2"),
            ("sk-ba\u{7}d", "a control character in key 1 of 1"),
            ("sk-bäd", "a character that is not ASCII in key 1 of 1"),
            ("team:", "nothing after the group's name in key 1 of 1"),
            (" , ", "a list without a key"),
        ] {
            assert_eq!(read(value).2, [wanted]);
        }
        assert_eq!(read("a,a").1, ["X_APIKEY: key 2 of 2 stands there before, counted once"]);
        let example = "X_APIKEY: key 1 of 1 is still the example's text, left out";
        assert_eq!(read("<x-apikey>").1, [example]);
    }

    #[test]
    fn a_label_shows_four_characters_at_most() {
        assert_eq!(&*label("gsk_0123456789"), "…6789");
        assert_eq!(&*label("gsk_01234567"), "…4567");
        assert_eq!(&*label("gsk_0123456"), "…");
        assert_eq!(&*label(""), "…");
    }
}
