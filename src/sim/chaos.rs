//! Chaos: a share of a provider's requests meets a fault of any kind, the same ones for the same seed.

use std::time::Duration;

use bytes::Bytes;

use super::fault::Fault;
use super::weave::fingerprint;

/// Which requests of a provider fail, and how: decided by the seed, the provider's name and the
/// request's number alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chaos {
    /// The share of requests that meets a fault, 0 to 1.
    pub rate: f64,
    /// Another seed, other faults.
    pub seed: u64,
}

impl Chaos {
    /// The fault that request `number` of `provider` meets.
    pub(super) fn draw(self, provider: &str, number: u64) -> Option<Fault> {
        let mut rng = fastrand::Rng::with_seed(
            self.seed ^ fingerprint(provider) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
        (rng.f64() < self.rate).then(|| fault(&mut rng))
    }
}

/// Offsets at which bodies are cut: early more often than late, since answers differ in length.
const OFFSETS: [usize; 4] = [200, 1_000, 4_000, 16_000];

/// Any fault a provider was seen to have, but for a refused key: that rests the key for minutes, and
/// a provider that is not asked shows nothing more.
fn fault(rng: &mut fastrand::Rng) -> Fault {
    let range = rng.choice(OFFSETS).unwrap_or(200);
    let bytes = rng.usize(..range);
    let chunks = rng.usize(..40);
    match rng.u8(..26) {
        0 => Fault::Reset,
        1 => Fault::Down,
        2 => Fault::Status(500),
        3 => Fault::Status(502),
        4 => Fault::Status(503),
        5 => unavailable(rng.u64(1..=3)),
        6 => Fault::RateLimited { retry_after: Some(Duration::from_secs(rng.u64(1..=3))) },
        7 => Fault::EmptyAnswer,
        8 => Fault::Garbage,
        9 => Fault::Html,
        10 => Fault::ErrorIn200Stream,
        11 => Fault::Hang,
        12 => Fault::SlowFirstToken(Duration::from_millis(rng.u64(200..3_000))),
        13 | 14 => Fault::ErrorAfterChunks(chunks),
        15 => Fault::NoDone,
        16 => Fault::StallAfterChunks(chunks),
        17 => Fault::StallAfterBytes(bytes),
        18 | 19 => Fault::CutAfterChunks(chunks),
        _ => Fault::CutAfterBytes(bytes),
    }
}

/// 503 that says until when.
fn unavailable(seconds: u64) -> Fault {
    Fault::RawResponse {
        status: 503,
        headers: vec![("retry-after".to_owned(), seconds.to_string())],
        body: Bytes::from_static(br#"{"error":{"message":"The server is overloaded."}}"#),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::mem::discriminant;

    use super::*;

    #[test]
    fn faults_are_repeatable_of_every_kind_and_near_their_rate() {
        let run = |provider: &str, seed| -> Vec<_> {
            let chaos = Chaos { rate: 0.3, seed };
            (0..10_000).map(|number| chaos.draw(provider, number)).collect()
        };
        let first = run("a", 1);
        assert_eq!(first, run("a", 1));
        assert_ne!(first, run("b", 1));
        assert_ne!(first, run("a", 2));
        let failed = first.iter().flatten().count();
        assert!((2_800..3_200).contains(&failed), "{failed} of 10000");
        let kinds: HashSet<_> = first.iter().flatten().map(discriminant).collect();
        assert_eq!(kinds.len(), 17);
    }

    #[test]
    fn the_rate_may_be_nothing_or_all() {
        let drawn =
            |rate| (0..1_000).filter_map(|it| Chaos { rate, seed: 3 }.draw("a", it)).count();
        assert_eq!((drawn(0.0), drawn(1.0)), (0, 1_000));
    }
}
