//! How much of a demo goes wrong.

use super::faults::Faults;
use super::flags::Flags;

/// How often simulated providers fail, and which requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chaos {
    /// The share of requests that meets a fault, 0 to 1.
    pub rate: f64,
    /// The same seed gives the same faults; `None` = any.
    pub seed: Option<u64>,
}

/// What `--chaos` says.
pub(super) fn chaos(flags: &Flags, faults: &Faults) -> Option<Chaos> {
    let text = flags.chaos.as_deref()?;
    let place = "command line";
    if !flags.demo {
        faults.add(place, "--chaos", text, "--demo beside it: real providers fail by themselves");
    }
    let read = parse(text);
    if read.is_none() {
        let wanted = "RATE or RATE,SEED: a share of requests from 0 to 1, and a whole number, such \
                      as 0.3,7";
        faults.add(place, "--chaos", format!("{text:?}"), wanted);
    }
    read
}

fn parse(text: &str) -> Option<Chaos> {
    let (rate, seed) = match text.split_once(',') {
        Some((rate, seed)) => (rate, Some(seed.trim().parse().ok()?)),
        None => (text, None),
    };
    let rate: f64 = rate.trim().parse().ok()?;
    (0.0..=1.0).contains(&rate).then_some(Chaos { rate, seed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, demo: bool) -> Result<Option<Chaos>, usize> {
        let faults = Faults::default();
        let flags = Flags { chaos: Some(text.to_owned()), demo, ..Flags::default() };
        let read = chaos(&flags, &faults);
        match faults.into_list() {
            list if list.is_empty() => Ok(read),
            list => Err(list.len()),
        }
    }

    #[test]
    fn a_share_and_a_seed_are_read_in_a_demo_alone() {
        let check = |text: &str, rate, seed| {
            assert_eq!(read(text, true), Ok(Some(Chaos { rate, seed })), "{text}");
        };
        check("0.3", 0.3, None);
        check("1,7", 1.0, Some(7));
        check("0, 18446744073709551615", 0.0, Some(u64::MAX));
        for text in ["", "1.1", "-0.1", "NaN", "0.3,", "0.3,-1", "0.3,7,8", "often"] {
            assert_eq!(read(text, true), Err(1), "{text}");
        }
        assert_eq!(read("0.3", false), Err(1));
        assert_eq!(read("3", false), Err(2));
    }
}
