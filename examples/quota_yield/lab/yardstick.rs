//! What can be had without knowing what will be asked: whoever is asked here sees into the providers'
//! own counts, so it is never refused and never late, and always takes what would expire first.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use relayfreellm::openai::ChatRequest;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::provider::Simulated;
use super::scenario::Asking;

/// How often whoever is first in line looks again: an answer may have given tokens back.
const LOOK: Duration = Duration::from_millis(100);

/// Sight of all counts, and a line of those who wait.
pub(super) struct Yardstick {
    providers: Vec<Arc<Simulated>>,
    /// Fair: whoever came first is let in first.
    line: Arc<Semaphore>,
    patience: Duration,
}

impl Yardstick {
    pub(super) fn new(providers: &[Arc<Simulated>], patience: Duration) -> Self {
        Self { providers: providers.to_vec(), line: Arc::new(Semaphore::new(1)), patience }
    }
}

impl Asking for Yardstick {
    fn ask(&self, request: ChatRequest) -> BoxFuture<'static, Result<(), Option<Duration>>> {
        let (providers, line) = (self.providers.clone(), Arc::clone(&self.line));
        let give_up = Instant::now() + self.patience;
        Box::pin(async move {
            let bytes = request.prompt_bytes();
            let wait = || providers.iter().map(|it| it.opens_in(bytes)).min();
            let admitted = async {
                let _first = line.acquire().await;
                loop {
                    let best = providers
                        .iter()
                        .max_by(|a, b| a.urgency(bytes).total_cmp(&b.urgency(bytes)));
                    if let Some(begun) = best.and_then(|it| it.begin(bytes)) {
                        return Some(begun);
                    }
                    let rest = wait().unwrap_or(LOOK).min(LOOK).max(Duration::from_millis(1));
                    if Instant::now() + rest > give_up {
                        return None;
                    }
                    tokio::time::sleep(rest).await;
                }
            };
            let admitted = tokio::time::timeout_at(give_up, admitted).await;
            match admitted.ok().flatten() {
                Some(answer) => {
                    answer.await;
                    Ok(())
                }
                None => Err(wait()),
            }
        })
    }
}
