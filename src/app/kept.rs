//! The order of asking that somebody has set in a running gateway and that is to outlive it.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::select;
use crate::select::Strategy;

/// The order to begin with: the one that was `kept`, of which the log says so where the settings have
/// another.
pub(super) fn told(kept: Option<select::Params>, settings: select::Params) -> select::Params {
    let order = kept.unwrap_or(settings);
    if order != settings {
        tracing::info!(
            "order: {} among providers, {} among their models, as routing.json in the data directory has \
             it; it overrides the settings",
            order.provider_strategy.name(),
            order.model_strategy.name()
        );
    }
    order
}

/// A small file beside the database: it is written whole, seldom, and by hand if need be.
#[derive(Debug)]
pub(super) struct KeptOrder {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Content {
    provider_strategy: String,
    model_strategy: String,
}

impl KeptOrder {
    pub(super) fn in_directory(dir: &Path) -> Self {
        Self { path: dir.join("routing.json") }
    }

    /// The order that was kept; `None` when there is none that can be read.
    pub(super) fn read(&self) -> Option<select::Params> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return None,
            Err(fault) => {
                tracing::warn!("{}: {fault}; the settings hold", self.path.display());
                return None;
            }
        };
        let order = serde_json::from_str::<Content>(&text).ok().and_then(|it| {
            Some(select::Params {
                provider_strategy: Strategy::parse(&it.provider_strategy)?,
                model_strategy: Strategy::parse(&it.model_strategy)?,
            })
        });
        if order.is_none() {
            tracing::warn!("{} can't be read; the settings hold", self.path.display());
        }
        order
    }

    /// Keeps `order` in place of what was kept before.
    ///
    /// # Errors
    /// The disk's. What was kept before is still there then.
    pub(super) fn keep(&self, order: select::Params) -> io::Result<()> {
        let content = Content {
            provider_strategy: order.provider_strategy.name().to_owned(),
            model_strategy: order.model_strategy.name().to_owned(),
        };
        let text = serde_json::to_string(&content)?;
        let fresh = self.path.with_extension("json.new");
        fs::write(&fresh, text)?;
        fs::File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_and_what_is_torn_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let kept = KeptOrder::in_directory(dir.path());
        assert_eq!(kept.read(), None);
        let order = select::Params {
            provider_strategy: Strategy::Weighted,
            model_strategy: Strategy::Random,
        };
        kept.keep(order).unwrap();
        assert_eq!(kept.read(), Some(order));
        fs::write(&kept.path, "{\"provider_strategy\":\"wei").unwrap();
        assert_eq!(kept.read(), None);
        kept.keep(select::Params::default()).unwrap();
        assert_eq!(kept.read(), Some(select::Params::default()));
    }
}
