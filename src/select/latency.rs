//! How fast models have been: a moving average of the time to the first token, per model.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::catalog::ModelId;

/// Weight of the newest measurement. At 0.2 the last ten calls make up nine tenths of the figure.
const NEWEST: f64 = 0.2;

/// Measured times to the first token. Bounded by the number of models.
#[derive(Debug, Default)]
pub struct Latencies(RwLock<HashMap<ModelId, f64>>);

impl Latencies {
    /// Takes in one measurement.
    pub fn observe(&self, model: ModelId, first_token: Duration) {
        let newest = first_token.as_secs_f64();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(model).and_modify(|it| *it += NEWEST * (newest - *it)).or_insert(newest);
    }

    /// Seconds to the first token; `None` for a model that was never measured.
    pub fn seconds(&self, model: ModelId) -> Option<f64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&model).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_what_is_measured() {
        let all = Latencies::default();
        assert_eq!(all.seconds(ModelId(1)), None);
        all.observe(ModelId(1), Duration::from_secs(1));
        assert_eq!(all.seconds(ModelId(1)), Some(1.0));
        for _ in 0..20 {
            all.observe(ModelId(1), Duration::from_secs(3));
        }
        assert!(all.seconds(ModelId(1)).is_some_and(|it| (2.9..3.0).contains(&it)));
    }
}
