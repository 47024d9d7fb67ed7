//! Who calls, apart from the gateway's owner: virtual keys with what each allows and has used, limits
//! for each user of an app, and how long they wait who show a wrong key.

mod counts;
pub mod identifiers;
mod key;
mod lru;
mod registry;
mod tab;
mod terms;
mod tries;

pub use counts::SavedCounts;
pub use key::Digest;
pub use key::Standing;
pub use key::VirtualKey;
pub use registry::Ambiguous;
pub use registry::Callers;
pub use registry::Declared;
pub use registry::Full;
pub use registry::IsDeclared;
pub use registry::SavedKey;
pub use tab::Tab;
pub use terms::Draft;
pub use terms::Problem;
pub use terms::Terms;
pub use tries::FailedTries;

/// What every key that is made here begins with. Nothing else that begins so is ever a key.
pub const PREFIX: &str = "sk-relay-";
