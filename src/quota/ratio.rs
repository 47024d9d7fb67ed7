//! How many tokens a model's own tokenizer makes of one that is estimated here.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// No tokenizer is further off than this, either way; what seems to be is a provider's mistake, or
/// a prompt with images in it.
const BOUNDS: (f32, f32) = (0.25, 4.0);
/// How much a long prompt moves the ratio.
const WEIGHT: f32 = 0.2;
/// A prompt of so many tokens moves it half as much. What a provider wraps around every prompt
/// says a lot of short ones and nothing of long ones.
const HALF_WEIGHT_TOKENS: f32 = 256.0;

/// A moving average of real tokens over estimated ones. Updates that meet may lose one of them,
/// which an average does not mind.
#[derive(Debug)]
pub(crate) struct Ratio(AtomicU32);

impl Default for Ratio {
    fn default() -> Self {
        Self(AtomicU32::new(1.0_f32.to_bits()))
    }
}

impl Ratio {
    /// `estimated` tokens in the model's own.
    pub(crate) fn of(&self, estimated: u64) -> u64 {
        let ratio = self.get();
        // Most models are never far from one, and exact figures are easier to reason about.
        if (ratio - 1.0).abs() < f32::EPSILON { estimated } else { scaled(estimated, ratio) }
    }

    /// What was estimated at `estimated` tokens turned out to be `real` ones.
    pub(crate) fn learn(&self, estimated: u64, real: u64) {
        if estimated == 0 || real == 0 {
            return;
        }
        let (estimated, real) = (float(estimated), float(real));
        let sample = (real / estimated).clamp(BOUNDS.0, BOUNDS.1);
        let weight = WEIGHT * estimated / (estimated + HALF_WEIGHT_TOKENS);
        let ratio = self.get();
        self.0.store((ratio + (sample - ratio) * weight).to_bits(), Ordering::Relaxed);
    }

    /// The ratio, where anything was learned.
    pub(crate) fn learned(&self) -> Option<f64> {
        let ratio = self.get();
        (ratio.to_bits() != 1.0_f32.to_bits()).then(|| f64::from(ratio))
    }

    /// What an earlier process had learned.
    pub(crate) fn restore(&self, ratio: f64) {
        if ratio.is_finite() {
            #[expect(clippy::cast_possible_truncation, reason = "clamped")]
            let ratio = ratio.clamp(BOUNDS.0.into(), BOUNDS.1.into()) as f32;
            self.0.store(ratio.to_bits(), Ordering::Relaxed);
        }
    }

    fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }
}

fn float(tokens: u64) -> f32 {
    // Exact below 2^24, and nobody minds the rest.
    #[expect(clippy::cast_precision_loss, reason = "an average needs no more")]
    let float = tokens as f32;
    float
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both factors are positive, and the cast saturates"
)]
fn scaled(tokens: u64, ratio: f32) -> u64 {
    (float(tokens) * ratio).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: impl IntoIterator<Item = (u64, u64)>) -> f32 {
        let ratio = Ratio::default();
        samples.into_iter().for_each(|(estimated, real)| ratio.learn(estimated, real));
        ratio.get()
    }

    #[test]
    fn it_converges_and_stays_within_bounds() {
        let check = |estimated, real, expected: f32| {
            let ratio = after(std::iter::repeat_n((estimated, real), 200));
            assert!((ratio - expected).abs() < 0.01, "{real}/{estimated}: {ratio}");
        };
        check(1_000, 1_300, 1.3);
        check(1_000, 700, 0.7);
        check(1_000, 1_000_000, 4.0);
        check(1_000, 1, 0.25);
        check(0, 50, 1.0);
        check(50, 0, 1.0);
    }

    #[test]
    fn short_prompts_hardly_count() {
        let ratio = after(std::iter::repeat_n((5, 70), 10));
        assert!(ratio < 1.15, "{ratio}");
        let ratio = after((0..200).flat_map(|_| [(5, 70), (4_000, 4_400)]));
        assert!((1.0..1.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn it_is_restored_within_bounds() {
        let check = |saved: f64, expected: Option<f64>| {
            let ratio = Ratio::default();
            ratio.restore(saved);
            assert_eq!(ratio.learned(), expected, "{saved}");
        };
        check(1.0, None);
        check(1.25, Some(1.25));
        check(-3.0, Some(0.25));
        check(1e300, Some(4.0));
        check(f64::NAN, None);
        check(f64::INFINITY, None);
    }

    #[test]
    fn estimates_are_scaled_and_never_fall_to_zero() {
        let ratio = Ratio::default();
        assert_eq!(ratio.of(1_234_567_891), 1_234_567_891);
        (0..200).for_each(|_| ratio.learn(1_000, 500));
        assert_eq!(ratio.of(1), 1);
        assert_eq!(ratio.of(0), 0);
        assert!((500..=510).contains(&ratio.of(1_000)));
        assert!(ratio.of(u64::MAX) > u64::MAX / 4);
    }
}
