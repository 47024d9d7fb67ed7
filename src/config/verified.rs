//! How long ago somebody saw that an entry of the limits file is true.

use jiff::civil::Date;

use crate::catalog::Catalog;
use crate::catalog::Provider;

/// After so many days an entry is named at start: free tiers and terms change within months.
const STALE_DAYS: i32 = 90;

/// One line that names the providers with entries that nobody has looked at for long.
pub(super) fn note(catalog: &Catalog, today: Date) -> Option<String> {
    let stale: Vec<String> = catalog.providers().iter().filter_map(|it| said(it, today)).collect();
    (!stale.is_empty()).then(|| {
        format!(
            "not verified for {STALE_DAYS} days (limits, models, what is done with prompts): {}",
            stale.join(", ")
        )
    })
}

fn said(provider: &Provider, today: Date) -> Option<String> {
    let dates = provider.models.iter().filter_map(|it| it.last_verified.as_deref());
    let dates: Vec<&str> = dates.filter(|it| is_stale(it, today)).collect();
    let oldest = dates.iter().min()?;
    let entries = if dates.len() == 1 { "entry" } else { "entries" };
    Some(format!("{} ({} {entries}, the oldest of {oldest})", provider.name, dates.len()))
}

fn is_stale(date: &str, today: Date) -> bool {
    let Ok(date) = Date::strptime("%Y-%m-%d", date) else { return false };
    today.since(date).is_ok_and(|it| it.get_days() > STALE_DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_stale_after_ninety_days() {
        let check = |date: &str, expected: bool| {
            assert_eq!(is_stale(date, jiff::civil::date(2026, 11, 21)), expected, "{date}");
        };
        check("2026-11-21", false);
        check("2026-08-23", false);
        check("2026-08-22", true);
        check("2025-11-21", true);
        check("2027-01-01", false);
        check("soon", false);
    }
}
